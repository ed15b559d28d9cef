"""Locks on output folders: one process writes into a folder, another one gets a sentence instead."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from segexp.errors import SegexpError

LOCK_FILE = ".segexp.lock"
"""The lock's file inside a folder. It holds the owner's process and host while the lock is held and may stay behind."""

WAIT = "Wait until that process has ended"
"""What to do where no other folder can be chosen."""


def is_main_process() -> bool:
    """Return whether this process writes files; for several GPUs Lightning repeats the command in processes that do not."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


class LockedError(SegexpError):
    """Another process is writing into the same folder."""


@contextmanager
def folder_lock(folder: Path, purpose: str, do: str = "", name: str = LOCK_FILE) -> Iterator[None]:
    """Hold the lock of a folder for the length of the block. The operating system releases the lock of a dead process.

    Args:
        folder: the folder; it is created.
        purpose: what the folder is for the user, such as "run folder"; part of the message.
        do: what to type instead; by default to wait or to choose another folder.
        name: the name of the lock's file; parts of a folder that are locked one by one have names of their own.

    Raises:
        LockedError: another process, or another place in this one, holds the lock.
        OSError: the folder cannot be created or written.
    """
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    lock = FileLock(path, timeout=0, thread_local=False, preserve_lock_file=True)
    try:
        lock.acquire()
    except Timeout:
        raise LockedError(
            f"The {purpose} {folder} is in use by {owner(path)}",
            do=do or f"{WAIT}, or choose another folder",
        ) from None
    try:
        with suppress(OSError):
            path.write_text(f"process {os.getpid()} on {platform.node()}\n", encoding="utf-8")
        yield
    finally:
        lock.release()


@contextmanager
def mutex(path: Path) -> Iterator[None]:
    """Hold a lock for a moment: others wait for it. If its file is deleted inside of the block, they create a new one.

    Raises:
        OSError: the file cannot be created.
    """
    from filelock import FileLock

    with FileLock(path, thread_local=False, poll_interval=0.002):
        yield


def owner(path: Path) -> str:
    """Who holds a lock, as its file says: "process 123 on HOST", or "another process"."""
    with suppress(OSError, UnicodeDecodeError):
        return path.read_text(encoding="utf-8").strip() or "another process"
    return "another process"
