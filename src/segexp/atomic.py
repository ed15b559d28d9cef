"""Writing files and folders: test that it is possible, write under a temporary name, flush to the disk, then rename.

After a power cut a file has its whole content, that of before, or is not there. Sealed JSON carries a checksum of itself.
"""

import errno
import json
import os
import re
import shutil
import tempfile
import threading
import time
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

SEAL = "crc32"
"""The entry of sealed JSON that holds the CRC-32 of the others."""

PART = re.compile(r"\..+\.(\d+)\.\d+\.part", re.DOTALL)
"""Name of a temporary file of `atomic_write`; its group is the process."""
STARTED = time.time()


def make_writable(folder: Path) -> None:
    """Create a folder and test that files can be written there.

    Raises:
        OSError: it cannot be created or written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    probe = folder / ".segexp-probe"
    probe.touch()
    probe.unlink(missing_ok=True)  # another process that tests the same folder deletes it, too


@contextmanager
def atomic_write(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path; the file is renamed to `path` at the end of the block, or deleted after an error.

    The content is on the disk before the file gets its name. The temporary name is unique for processes and threads.

    Args:
        path: of the file.
        durable: the name is on the disk at the end of the block, too. False for files that are written by the thousand:
            `sync_folders` does it once for all of them.

    Raises:
        OSError: the file cannot be written; its `filename` is set.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.part")
    try:
        yield part
        _sync(part)
        part.replace(path)
        if durable:
            _sync(path.parent)
    except OSError as error:
        if error.errno is not None and error.filename in (None, str(part)):  # a full disk is reported without a name
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def sweep_parts(folder: Path, alive: Collection[int] = ()) -> int:
    """Delete the temporary files of killed processes in a folder and below, see `atomic_write`; return their number.

    Args:
        folder: where files are written.
        alive: processes on other hosts that write there; those of this host are found.
    """
    swept = 0
    for where, _, names in os.walk(folder):
        for name in names:
            found = PART.fullmatch(name) if name.endswith(".part") else None
            path = Path(where, name)
            if found and int(found[1]) not in alive and not _is_writing(int(found[1]), path):
                path.unlink(missing_ok=True)
                swept += 1
    return swept


def _is_writing(process: int, part: Path) -> bool:
    """Return whether the process of a temporary file runs on this host; one of the same number may have been here before it."""
    try:
        if process == os.getpid():
            return part.stat().st_mtime >= STARTED
        if os.name == "nt":  # where os.kill has another meaning
            return True
        os.kill(process, 0)
    except (ProcessLookupError, FileNotFoundError, OverflowError):
        return False
    except OSError:  # a process of another user
        return True
    return True


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder that is renamed to `folder` at the end of the block; missing parents are created.

    If another process has already created the folder, that one is kept.

    Raises:
        OSError: it cannot be written; its `filename` is set.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".part-", dir=folder.parent))
    try:
        yield draft
        draft.chmod(0o755)  # mkdtemp creates a folder readable only by its owner
        for path in (*draft.rglob("*"), draft):
            _sync(path)
        try:
            draft.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
        _sync(folder.parent)
    except OSError as error:
        if error.filename is None:
            error.filename = str(folder)
        raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def sync_folders(folders: Iterable[Path]) -> None:
    """Write the names in some folders to the disk; see `atomic_write(durable=False)`."""
    for folder in set(folders):
        if folder.is_dir():
            _sync(folder)


def write_json(path: Path, content: Mapping[str, Any] | list[Any], *, indent: int | None = 1, sort_keys: bool = False) -> None:
    """Write plain values as JSON, atomically."""
    plain = content if isinstance(content, list) else dict(content)
    with atomic_write(path) as part:
        part.write_text(json.dumps(plain, indent=indent, sort_keys=sort_keys) + "\n", encoding="utf-8")


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return plain values of JSON with a checksum of them as a further entry."""
    plain = {key: value for key, value in content.items() if key != SEAL}
    return {**plain, SEAL: _checksum(plain)}


def is_intact(content: Mapping[str, Any]) -> bool:
    """Return whether sealed values are as they were written."""
    return bool(content.get(SEAL) == sealed(content)[SEAL])


def _checksum(content: Mapping[str, Any]) -> str:
    plain = json.loads(json.dumps(content))  # tuples and keys as they are read back
    return f"{zlib.crc32(json.dumps(plain, sort_keys=True).encode()):08x}"


def _sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk, where the system can tell."""
    if path.is_dir() and os.name != "posix":
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system without it
            raise
    finally:
        os.close(handle)
