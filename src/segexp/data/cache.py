"""Caches of decoded cases, in the dtype of the files, shared by all workers.

`ram` keeps arrays in memory (shared copy-on-write with forked workers), `disk` one memory-mapped file that later runs reuse,
`none` decodes every time.
"""

import hashlib
import json
import os
import shlex
import shutil
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from segexp import __version__
from segexp.atomic import atomic_folder, is_intact, sealed, write_json
from segexp.data.statistics import DecodedCase, read_all
from segexp.errors import DataError
from segexp.types import Case


class Store(Protocol):
    """Decoded cases by position."""

    def __getitem__(self, position: int) -> DecodedCase:
        """Return one case."""


class RamStore:
    """Cases held in memory."""

    def __init__(self, pictures: Iterable[DecodedCase]) -> None:
        self.pictures = list(pictures)

    def __getitem__(self, position: int) -> DecodedCase:
        return self.pictures[position]


class UncachedStore:
    """Cases decoded at every access."""

    def __init__(self, reader: Callable[[Case], DecodedCase], cases: Sequence[Case]) -> None:
        self.reader, self.cases = reader, list(cases)

    def __getitem__(self, position: int) -> DecodedCase:
        return self.reader(self.cases[position])


class DiskStore:
    """Cases in one memory-mapped file, opened lazily per process."""

    def __init__(self, folder: Path) -> None:
        """Open the cases of a folder.

        Raises:
            DataError: index or arrays are missing, or are not what was written (checksums).
        """
        self.folder = folder
        self.entries: list[list[tuple[int, list[int], str]]] = read_index(folder)
        self._bytes: np.ndarray | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_bytes": None}

    def __getitem__(self, position: int) -> DecodedCase:
        if self._bytes is None:
            self._bytes = np.memmap(self.folder / "pictures.bin", mode="r")
        return DecodedCase(*(self._array(*entry) for entry in self.entries[position]))

    def _array(self, start: int, shape: list[int], dtype: str) -> np.ndarray:
        assert self._bytes is not None, "opened by __getitem__"
        kind = np.dtype(dtype)
        length = int(np.prod(shape)) * kind.itemsize
        return np.asarray(self._bytes[start : start + length]).view(kind).reshape(shape)

    @classmethod
    def write(cls, folder: Path, pictures: Iterable[DecodedCase]) -> "DiskStore":
        """Write all cases to a folder, atomically."""
        with atomic_folder(folder) as part:
            entries, position, checksum = [], 0, 0
            with (part / "pictures.bin").open("wb") as file:
                for picture in pictures:
                    entry = []
                    for array in picture.arrays:
                        data = np.ascontiguousarray(array)
                        entry.append((position, list(data.shape), data.dtype.str))
                        content = data.tobytes() + bytes(-data.nbytes % 8)  # keeps the next array aligned
                        file.write(content)
                        checksum = zlib.crc32(content, checksum)
                        position += len(content)
                    entries.append(entry)
            write_json(part / "index.json", sealed({"entries": entries, "arrays": checksum}), indent=None)
        return cls(folder)


def read_index(folder: Path) -> list[list[tuple[int, list[int], str]]]:
    """Return the index of a `DiskStore` after a comparison of index and arrays with their checksums.

    Raises:
        DataError: they differ, or a file is missing.
    """
    checksum, entries = 0, None
    try:
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        with (folder / "pictures.bin").open("rb") as file:
            while block := file.read(1 << 20):
                checksum = zlib.crc32(block, checksum)
        if is_intact(index) and index["arrays"] == checksum:
            entries = index["entries"]
    except (OSError, ValueError, AttributeError):
        pass
    if entries is None:
        raise DataError(
            f"The image cache {folder} is damaged",
            "The files that were written, with their checksums, were expected",
            f"Type rm -r {shlex.quote(str(folder))}; the next training writes it anew",
        )
    return list(entries)


def open_store(
    reader: Callable[[Case], DecodedCase],
    cases: Sequence[Case],
    cache: str,
    visit: Callable[[Iterator[DecodedCase]], Iterator[DecodedCase]] | None = None,
    samples: int = 8,
) -> Store:
    """Return the decoded cases, cached as `data.cache` says.

    Args:
        reader: decodes a case.
        cases: all cases.
        cache: "ram", "disk", "none" or "auto".
        visit: wraps one pass over all cases, to measure them; None skips a pass that the cache does not need.
        samples: number of cases decoded to estimate the memory for "auto".

    Raises:
        DataError: a case cannot be read, or the cache folder cannot be written.
    """
    few = [reader(case) for case in cases[:: max(1, len(cases) // samples)]] if cache == "auto" else []
    mode = choose_cache(cache, sum(array.nbytes for one in few for array in one.arrays) * len(cases) // max(1, len(few)))
    wrap = visit or iter
    if mode == "ram":
        return RamStore(wrap(read_all(reader, cases)))
    if mode == "none":
        store: Store = UncachedStore(reader, cases)
        decoded = read_all(reader, cases)
    else:
        folder = cache_folder() / store_key(cases, reader)
        try:
            known = open_intact(folder)
            if known is None:
                return DiskStore.write(folder, wrap(read_all(reader, cases)))
        except OSError as problem:
            raise DataError(
                f"The image cache cannot be written in {folder.parent} ({problem.strerror})",
                "A folder that can be written and has room was expected",
                "Type data.cache=ram or data.cache=none, or name another folder with SEGEXP_CACHE=DIR",
            ) from problem
        store = known
        decoded = (known[n] for n in range(len(cases)))
    for _ in visit(decoded) if visit else ():
        pass
    return store


def open_intact(folder: Path) -> DiskStore | None:
    """Return the cache in a folder; None if there is none. A damaged one is removed, with a warning.

    Raises:
        OSError: it cannot be removed.
    """
    if not folder.exists():
        return None
    try:
        return DiskStore(folder)
    except DataError as problem:
        warnings.warn(f"{problem.found}. It is written anew.", stacklevel=2)
        shutil.rmtree(folder) if folder.is_dir() else folder.unlink()
        return None


def store_key(cases: Sequence[Case], reading: object) -> str:
    """Return a key of the decoded files that changes with path, size or time of any file and with the reader."""
    digest = hashlib.sha256(f"{__version__} {reading!r}".encode())
    for case in cases:
        for source in (case.image, *case.masks):
            stat = source.path.stat()
            digest.update(f"{source!r}|{stat.st_size}|{stat.st_mtime_ns}\n".encode())
        digest.update("\n".join(case.classes).encode())  # which file is of which class
    return digest.hexdigest()[:16]


def cache_folder() -> Path:
    """Return the cache folder: SEGEXP_CACHE, or segexp/ in the user's cache folder."""
    named = os.environ.get("SEGEXP_CACHE")
    return Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "segexp"


def choose_cache(cache: str, needed: int) -> str:
    """Resolve `auto`: ram if the `needed` bytes are less than a third of the available memory, else disk."""
    if cache != "auto":
        return cache
    return "ram" if needed < available_memory() / 3 else "disk"


def available_memory() -> int:
    """Return the available memory in bytes, respecting the cgroup limit (4 GiB if unknown)."""
    try:
        with Path("/proc/meminfo").open() as file:
            free = next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        pages, size = os.sysconf_names.get("SC_AVPHYS_PAGES"), os.sysconf_names.get("SC_PAGE_SIZE")
        free = os.sysconf(pages) * os.sysconf(size) if pages and size else 4 << 30
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.is_file() else "max"
    return free if text == "max" else min(free, int(text))
