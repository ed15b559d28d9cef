"""Flip single bits of a checkpoint, an image cache, exported files and their sidecars, and count how many are found on reading.

    python benchmarks/bit_flips.py [--flips 60]

Exits with 1 if one is not found.
"""

import argparse
import contextlib
import io
import os
import random
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import segexp
from segexp.checkpoint import load_segmenter
from segexp.data.cache import open_intact
from segexp.data.synthetic.datasets import make_demo
from segexp.deployment.runtime import load_exported
from segexp.errors import SegexpError

TINY = {"model": {"width": 4, "depth": 2}, "trainer": {"gpus": 0, "max_epochs": 1}, "callbacks": "none"}


def material(folder: Path) -> Path:
    """Return a run of a tiny network, trained from a cache in folder/cache, with exports beside it."""
    data = {
        "root": str(make_demo(folder / "pictures", "organ", count=10, size=64)),
        "size": 64,
        "batch_size": 2,
        "num_workers": 0,
    }
    os.environ["SEGEXP_CACHE"] = str(folder / "cache")
    with contextlib.redirect_stdout(io.StringIO()):
        run = segexp.train("liver", data={**data, "cache": "disk"}, run_dir=str(folder / "run"), **TINY)
        for name, kind in (("net.onnx", "onnx"), ("net.pt2", "torch_export")):
            segexp.export(run, output=str(folder / name), format=kind)
    return run.directory


def count_found(file: Path, refuses: Callable[[], bool], flips: int) -> int:
    """Return how many of some flipped bits, spread over the file with a fixed seed, make reading refuse it."""
    content, draw, found = file.read_bytes(), random.Random(0), 0
    for _ in range(flips):
        damaged = bytearray(content)
        damaged[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        file.write_bytes(damaged)
        found += refuses()
    file.write_bytes(content)
    if refuses():
        raise SystemExit(f"{file} is refused without a flip")
    return found


def refused(read: Callable[[], object]) -> bool:
    """Return whether reading raises an error for users."""
    try:
        read()
    except SegexpError:
        return True
    return False


def main() -> int:
    """Print a line per kind of file; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flips", type=int, default=60)
    flips = parser.parse_args().flips
    warnings.simplefilter("ignore")
    missed = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = material(folder)
        cache = next((folder / "cache").iterdir())

        def cache_refused() -> bool:
            copy = shutil.copytree(cache, folder / "copy")  # a damaged cache is removed
            intact = open_intact(copy) is not None
            shutil.rmtree(copy, ignore_errors=True)
            return not intact

        kinds = {
            run / "checkpoints" / "best.ckpt": lambda: refused(lambda: load_segmenter(run)),
            cache / "pictures.bin": cache_refused,
            cache / "index.json": cache_refused,
            **{folder / each: _exported(folder / each) for each in ("net.onnx", "net.pt2")},
            **{folder / f"{each}.json": _exported(folder / each) for each in ("net.onnx", "net.pt2")},
        }
        for file, refuses in kinds.items():
            found = count_found(file, refuses, flips)
            missed += flips - found
            sys.stdout.write(f"{file.name:14} {file.stat().st_size:>8} bytes: {found} of {flips} flipped bits found\n")
    return 1 if missed else 0


def _exported(file: Path) -> Callable[[], bool]:
    return lambda: refused(lambda: load_exported(file))


if __name__ == "__main__":
    sys.exit(main())
