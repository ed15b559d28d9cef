"""Free and used memory of a process."""

import os
import threading
import time
from pathlib import Path

import torch

HEADROOM = 0.12
"""Share of the free memory kept free for fragmentation, other processes and larger images."""
SHORT = 77
"""Exit code of a process that exceeded its memory limit."""
EVERY = 0.01
"""Seconds between two measurements of the process's memory."""


def free_memory(root: Path = Path("/")) -> int:
    """Return the bytes of main memory available to a new process, within its control group.

    Args:
        root: of the file system, for tests.
    """
    known = [_available(root), _left_in_group(root)]
    return min([size for size in known if size is not None], default=_physical() // 2)


def peak_memory() -> int:
    """Return the peak main memory of this process in bytes.

    On Linux not from `ru_maxrss`, which a new process inherits from its parent.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    unit = 1 if os.uname().sysname == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def memory_limit(accelerator: str, device: int = 0) -> tuple[int, int]:
    """Limit this process to the free memory minus the headroom; return both in bytes.

    Exceeding it raises OutOfMemoryError on a GPU; elsewhere the process exits with `SHORT`.
    """
    if accelerator == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        most = int((1 - HEADROOM) * free)
        torch.cuda.set_per_process_memory_fraction(most / total, device)
        return free, most
    free = free_memory()
    most = int((1 - HEADROOM) * free)

    def watch() -> None:
        while peak_memory() <= most:
            time.sleep(EVERY)
        os._exit(SHORT)

    threading.Thread(target=watch, daemon=True).start()
    return free, most


def used_memory(accelerator: str, device: int = 0) -> int:
    """Return the peak memory of the training in bytes: reserved by torch on a GPU, else of the whole process."""
    return torch.cuda.max_memory_reserved(device) if accelerator == "cuda" else peak_memory()


def _available(root: Path) -> int | None:
    file = root / "proc/meminfo"
    if not file.is_file():
        return None
    lines = dict(line.split(":", 1) for line in file.read_text(encoding="utf-8").splitlines() if ":" in line)
    return int(lines["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in lines else None


def _left_in_group(root: Path) -> int | None:
    group = root / "sys/fs/cgroup"
    try:
        limit = (group / "memory.max").read_text(encoding="utf-8").strip()
        now = (group / "memory.current").read_text(encoding="utf-8").strip()
    except OSError:
        return None
    return max(0, int(limit) - int(now)) if limit.isdigit() and now.isdigit() else None


def _physical() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
