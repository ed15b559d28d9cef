"""Remove or mistype each entry of a checkpoint, then load the network and resume the run: no error may be an unexpected one.

    python benchmarks/checkpoint_entries.py

Prints each unexpected exception and the counts; exits with 1 if there is one.
"""

import contextlib
import copy
import io
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bit_flips import TINY, make_demo

import segexp
from segexp.checkpoint.files import read_checkpoint, write_checkpoint
from segexp.errors import SegexpError

WRONG = (None, 7, "text", [], {})
Path_ = tuple[str | int, ...]


def entries(values: Any, depth: int = 3, path: Path_ = ()) -> Iterator[Path_]:
    """Yield the place of every entry down to a depth; the weights and the configuration count as one each."""
    for key, value in values.items():
        yield (*path, key)
        if isinstance(value, dict) and depth > 1 and key not in ("state_dict", "config"):
            yield from entries(value, depth - 1, (*path, key))


def variants(values: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield a name and values for each entry: without it, and with one of another type."""
    for number, path in enumerate(entries(values)):
        for wrong in ("removed", WRONG[number % len(WRONG)]):
            changed = copy.deepcopy(values)
            inner = changed
            for key in path[:-1]:
                inner = inner[key]
            if wrong == "removed":
                del inner[path[-1]]
            elif type(wrong) is type(inner[path[-1]]):
                continue
            else:
                inner[path[-1]] = wrong
            yield f"{'.'.join(map(str, path))} {'removed' if wrong == 'removed' else f'= {wrong!r}'}", changed


def outcome(work: Callable[[], object]) -> str:
    """Return "fine", "refused", or the unexpected exception."""
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            work()
    except SegexpError:
        return "refused"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "fine"


def main() -> int:
    """Try all variants; return the exit code."""
    warnings.simplefilter("ignore")
    counts: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = {"root": str(make_demo(folder / "pictures", "organ", count=10, size=64)), "size": 64, "batch_size": 2}
        with contextlib.redirect_stdout(io.StringIO()):
            run = segexp.train("liver", data={**data, "num_workers": 0}, run_dir=str(folder / "run"), **TINY)
        last = read_checkpoint(run.last)
        for what, file, work in (
            ("load", run.best, lambda: segexp.load(run)),
            ("resume", run.last, lambda: run.resume(trainer={"max_epochs": 1})),
        ):
            before = file.read_bytes()
            for title, values in variants(last):
                write_checkpoint(file, values)
                found = outcome(work)
                counts[f"{what}: {found if found in ('fine', 'refused') else 'unexpected'}"] = (
                    counts.get(f"{what}: {found if found in ('fine', 'refused') else 'unexpected'}", 0) + 1
                )
                if found not in ("fine", "refused"):
                    sys.stdout.write(f"{what}, {title}: {' '.join(found.split())[:150]}\n")
            file.write_bytes(before)
    sys.stdout.writelines(f"{key} {count}\n" for key, count in sorted(counts.items()))
    return int(any("unexpected" in key for key in counts))


if __name__ == "__main__":
    sys.exit(main())
