"""Where decoded pictures wait: decoded once, kept in the files' own uint8/uint16, shared by all workers.

`ram` keeps arrays that forked workers share copy-on-write; `disk` keeps one memory-mapped file that every process, also of
later runs, reads through the page cache; `none` decodes each time.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from segexp import __version__
from segexp.atomic import atomic_folder
from segexp.data.statistics import Picture
from segexp.types import Case


class Store(Protocol):
    """Pictures by position."""

    def __getitem__(self, position: int) -> Picture:
        """Return one picture."""


class RamStore:
    """Pictures held in memory."""

    def __init__(self, pictures: Iterable[Picture]) -> None:
        self.pictures = list(pictures)

    def __getitem__(self, position: int) -> Picture:
        return self.pictures[position]


class ReadingStore:
    """Pictures decoded anew at each look."""

    def __init__(self, reader: Callable[[Case], Picture], cases: Sequence[Case]) -> None:
        self.reader, self.cases = reader, list(cases)

    def __getitem__(self, position: int) -> Picture:
        return self.reader(self.cases[position])


class DiskStore:
    """Pictures in one memory-mapped file, opened by each process at its first look."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.entries: list[list[tuple[int, list[int], str]]] = json.loads((folder / "index.json").read_text())
        self._bytes: np.ndarray | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_bytes": None}

    def __getitem__(self, position: int) -> Picture:
        if self._bytes is None:
            self._bytes = np.memmap(self.folder / "pictures.bin", mode="r")
        image, mask = (self._array(*entry) for entry in self.entries[position])
        return Picture(image, mask)

    def _array(self, start: int, shape: list[int], dtype: str) -> np.ndarray:
        assert self._bytes is not None, "opened by __getitem__"
        kind = np.dtype(dtype)
        length = int(np.prod(shape)) * kind.itemsize
        return np.asarray(self._bytes[start : start + length]).view(kind).reshape(shape)

    @classmethod
    def write(cls, folder: Path, pictures: Iterable[Picture]) -> "DiskStore":
        """Write all pictures below a temporary name, then give the folder its own."""
        with atomic_folder(folder) as part:
            entries, position = [], 0
            with (part / "pictures.bin").open("wb") as file:
                for picture in pictures:
                    entry = []
                    for array in (picture.image, picture.mask):
                        data = np.ascontiguousarray(array)
                        entry.append((position, list(data.shape), data.dtype.str))
                        file.write(data.tobytes())
                        file.write(bytes(-data.nbytes % 8))  # keeps the next array aligned
                        position += data.nbytes + -data.nbytes % 8
                    entries.append(entry)
            (part / "index.json").write_text(json.dumps(entries))
        return cls(folder)


def store_key(cases: Sequence[Case], reading: object) -> str:
    """Name the decoded form of these files: it changes with any file's path, size or time, and how they are read."""
    digest = hashlib.sha256(f"{__version__} {reading!r}".encode())
    for case in cases:
        for source in (case.image, *case.masks):
            stat = source.path.stat()
            digest.update(f"{source}|{stat.st_size}|{stat.st_mtime_ns}\n".encode())
        digest.update("\n".join(case.classes).encode())  # which file is of which class
    return digest.hexdigest()[:16]


def cache_folder() -> Path:
    """Return where decoded pictures are kept on disk: SEGEXP_CACHE, or segexp/ in the user's cache folder."""
    named = os.environ.get("SEGEXP_CACHE")
    return Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "segexp"


def choose_cache(cache: str, needed: int) -> str:
    """Resolve `auto`: ram when the decoded pictures (bytes needed) take less than a third of the free memory, else disk."""
    if cache != "auto":
        return cache
    return "ram" if needed < available_memory() / 3 else "disk"


def available_memory() -> int:
    """Return the bytes of memory that can be had without swapping, as far as the system tells (else 4 GiB)."""
    try:
        with Path("/proc/meminfo").open() as file:
            free = next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        pages, size = os.sysconf_names.get("SC_AVPHYS_PAGES"), os.sysconf_names.get("SC_PAGE_SIZE")
        free = os.sysconf(pages) * os.sysconf(size) if pages and size else 4 << 30
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.is_file() else "max"
    return free if text == "max" else min(free, int(text))
