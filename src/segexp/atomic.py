"""Nothing half-written ever carries its final name: write beside it, then rename."""

import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a name to write to; the file gets its own name when the block ends well, and is gone when it does not.

    The name differs between processes and threads, so that two writers of one file do not meet.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Give a folder to fill; it gets its own name when the block ends well.

    Where another process was faster its folder stays: both wrote the same. Missing parents are made.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".part-", dir=folder.parent))
    try:
        yield draft
        draft.chmod(0o755)  # mkdtemp gives a folder that only its owner may read
        try:
            draft.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
