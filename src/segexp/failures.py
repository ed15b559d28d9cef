"""Failures of the machine (disk, memory, worker processes) as errors that say what to do."""

import errno
import re
import shlex
from pathlib import Path

from segexp import errors
from segexp.errors import SegexpError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)
HANDLES = (errno.EMFILE, errno.ENFILE)
AGAIN = "Then type the same command again"

WORKER = re.compile(r"Caught (\w+) in DataLoader worker process \d+\.\n.*\n(?:\w+\.)*\1: (.*)", re.DOTALL)
"""How a DataLoader passes an error of a worker on: the class, and its message after the worker's traceback."""
ERRNO = re.compile(r"\[Errno (\d+)\] ([^:]*)(?:: '(.*?)')?$")
"""The text of an OSError."""


class MachineError(SegexpError):
    """The disk, the memory or a process of the machine fails; the data and the settings may be right."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error is caused by lack of memory, of the machine or of a device."""
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    told = ("allocate memory", "can't start new thread", "could not create a primitive", "std::bad_alloc")
    return named or (isinstance(error, RuntimeError) and any(text in str(error) for text in told))


def explain(error: BaseException, where: Path | None = None, again: str = "", lighter: str = "") -> SegexpError | None:
    """Return an error as one that the user can act on; None if its cause is not known, which is a fault of segexp.

    Args:
        error: any exception.
        where: the folder that is written, for errors of the disk that name no file.
        again: what to type when the cause is gone.
        lighter: what to type to need less memory.
    """
    again = again or AGAIN
    if isinstance(error, SegexpError | OSError) and (passed_on := WORKER.match(str(error))):
        error = _restored(passed_on.group(1), passed_on.group(2).strip(), error)
    if isinstance(error, SegexpError):
        return error
    if is_out_of_memory(error):
        return MachineError(
            f"The memory does not suffice ({_first_line(error)})",
            "More free memory was expected",
            f"{lighter or 'End other programs, or choose smaller images or batches'}. {again}",
        )
    if isinstance(error, OSError) and error.errno is not None:
        return storage_error(error, where, again)
    return _explain_worker(error, again)


def storage_error(error: OSError, where: Path | None = None, again: str = AGAIN) -> MachineError:
    """Return an error of the file system with the file, the reason, and what to type.

    Args:
        error: with `errno`.
        where: for errors that name no file.
        again: what to type when the cause is gone.
    """
    path = Path(error.filename) if isinstance(error.filename, str) else where
    name, reason = path or "A file", error.strerror or str(error)
    there = shlex.quote(str(next((place for place in (path, *path.parents) if place.exists()), path)) if path else ".")
    if error.errno in FULL:
        return MachineError(
            f"{name} cannot be written ({reason})",
            "A disk with room was expected; nothing half-written is left under a final name",
            f"Make room (df -h {there} shows how much there is), or name another folder. {again}",
        )
    if error.errno in REFUSED:
        return MachineError(
            f"{name} cannot be opened ({reason})",
            "The right to read and write there was expected",
            f"Look at its owner and rights (ls -ld {there}), or name another folder. {again}",
        )
    if error.errno == errno.ENOENT:
        expected = "A file that stays where it is while it is needed was expected"
        return MachineError(f"{name} is not there", expected, f"Bring it back. {again}")
    if error.errno in HANDLES:
        return MachineError(
            f"{name} cannot be opened ({reason})",
            "Fewer open files, or a higher limit, were expected",
            f"Type ulimit -n 4096, or data.num_workers=0. {again}",
        )
    return MachineError(
        f"{name} cannot be read or written ({reason})",
        "A disk that works was expected",
        f"Look at what the system says of it (dmesg), or name a folder on another disk. {again}",
    )


def _restored(kind: str, text: str, carrier: BaseException) -> BaseException:
    """Return the error of a worker as it was raised there."""
    if isinstance(carrier, SegexpError):
        found = getattr(errors, kind, type(carrier))(text)
        found.exit_code = carrier.exit_code
        return found
    parts = ERRNO.search(text)
    return OSError(int(parts.group(1)), parts.group(2), parts.group(3)) if parts else carrier


def _explain_worker(error: BaseException, again: str) -> SegexpError | None:
    """Return an error about a DataLoader's worker that died, or that could not pass its samples on."""
    text = str(error)
    if "DataLoader worker" in text and ("exited unexpectedly" in text or "is killed by signal" in text):
        return MachineError(
            f"A process that reads images was ended from outside ({_first_line(error)})",
            "It lives as long as the training; the system ends processes where memory runs out",
            f"Type data.num_workers=0, or end other programs. {again}",
        )
    if "shared memory" in text or "torch_shm_manager" in text:
        return MachineError(
            f"The shared memory between processes does not suffice ({_first_line(error)})",
            "Room in /dev/shm was expected",
            f"Type data.num_workers=0, or give a container more: docker run --shm-size=8g. {again}",
        )
    return None


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # torch begins with the place in its own source; the sentence comes after it
    text = re.sub(r"^\[enforce fail at [^\]]*\]\s*[^.]*\.\s*", "", lines[0]) if lines else type(error).__name__
    return text[:160].rstrip(".")
