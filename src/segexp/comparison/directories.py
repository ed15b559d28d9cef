"""Which directories are runs, and whether they finished."""

from collections.abc import Iterator
from pathlib import Path

from segexp.errors import DataError, listed, nearest

DEEP = 3
"""Folders below a given one in which runs are looked for."""

MARKS = ("metrics.json", ".hydra", "checkpoints")
"""A folder with one of these is a run directory."""


def find_runs(path: Path) -> list[Path]:
    """Return the run directories that a path means: itself, or those in it in alphabetical order.

    Raises:
        DataError: it does not exist, is a file, or holds none.
    """
    if not path.is_dir():
        found = "is a file" if path.is_file() else "does not exist"
        beside = [p.name for p in path.parent.iterdir() if p.is_dir()] if path.parent.is_dir() and not path.exists() else []
        hint = f" {nearest(path.name, beside)}" if beside else ""
        raise DataError(
            f"{path} {found}",
            f"The directory of a run or of a study was expected.{hint}",
            "Type the directory that training printed, as in python -m segexp.compare runs/liver/unet/DATE_TIME",
        )
    found_runs = list(_below(path, DEEP))
    if not found_runs:
        inside = listed(sorted(p.name for p in path.iterdir() if not p.name.startswith("."))) or "nothing"
        raise DataError(
            f"{path} holds no run: there is {inside}",
            "A run directory (with metrics.json and cases.csv), or a folder of them, was expected",
            "Type the directory that training printed, as in python -m segexp.compare runs/liver/unet/DATE_TIME",
        )
    return found_runs


def _below(folder: Path, deep: int) -> Iterator[Path]:
    if any((folder / name).exists() for name in MARKS):
        yield folder
    elif deep:
        for inner in sorted(folder.iterdir()):
            if inner.is_dir() and not inner.name.startswith("."):
                yield from _below(inner, deep - 1)


def unfinished(directory: Path) -> str:
    """Return why a run is not finished, in a few words; nothing when it is."""
    if (directory / "metrics.json").is_file():
        return ""
    failed = directory / "failed.txt"
    if failed.is_file():
        reason = failed.read_text(encoding="utf-8").partition("\n\n")[0].strip().removeprefix("segexp: ")
        return f"failed: {reason[:160].rstrip('.')}{' …' * (len(reason) > 160)}"
    if (directory / "checkpoints" / "last.ckpt").is_file():
        return "stopped, or still running"
    return "stopped before the first epoch ended"
