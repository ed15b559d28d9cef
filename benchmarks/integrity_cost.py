"""What checksums and waiting for the disk cost: each with and without, by turns in one process.

The ratios are of the shortest times, which other programs disturb least: of the processor for checksums, of the
clock for fsync.

    python benchmarks/integrity_cost.py
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch

from segexp.atomic import sync_folders
from segexp.checkpoint import describe, files, load_segmenter, loading
from segexp.config.composition import compose, to_plain
from segexp.config.validation import validate
from segexp.data import cache
from segexp.data.io.images import write_png
from segexp.data.labels.modes import MULTICLASS
from segexp.data.preprocessing import Preprocessing
from segexp.data.statistics import DecodedCase, Statistics, image_stats
from segexp.models import UNet
from segexp.types import DataSpec


def compare(title: str, work: Callable[[], object], *without: tuple[object, str, object], runs: int = 9) -> None:
    """Print the shortest time of `work` as it is and with some attributes replaced, by turns."""
    clock = time.perf_counter if "fsync" in title else time.process_time
    seconds: dict[bool, list[float]] = {True: [], False: []}
    for turn in range(2 * runs + 2):
        with ExitStack() as stack:
            for owner, name, value in without if turn % 2 else ():
                stack.enter_context(patch.object(owner, name, value))
            start = clock()
            work()
            if turn > 1:
                seconds[not turn % 2].append(clock() - start)
    with_, without_ = (min(seconds[key]) for key in (True, False))
    sys.stdout.write(f"{title}: {without_ * 1e3:.1f} ms without, {with_ * 1e3:.1f} ms with, ratio {with_ / without_:.2f}\n")


def checkpoint(folder: Path, width: int, depth: int) -> tuple[Path, dict[str, object]]:
    """Write the checkpoint of a U-Net; return its path and values."""
    words = [f"model.width={width}", f"model.depth={depth}", "model.in_channels=1", "model.num_classes=2", "data=liver"]
    words.append("data.root=x")
    config = validate(to_plain(compose("train", words)))
    network = UNet(1, 2, width=width, depth=depth)
    spec = DataSpec("toy", ("background", "thing"), 1, ((0, 0, 0), (255, 128, 0)))
    content = describe(config, spec, Preprocessing(1), "ab12", "32", {})
    weights = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    path = folder / f"{width}.ckpt"
    files.write_checkpoint(path, stored := {"state_dict": weights, "segexp": content})
    return path, stored


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    draw = np.random.default_rng(0)
    nothing: Callable[..., None] = lambda *_: None  # noqa: E731
    with tempfile.TemporaryDirectory(dir=".") as name:
        folder = Path(name)
        for width, depth in ((16, 3), (116, 4)):
            path, stored = checkpoint(folder, width, depth)
            size = f"checkpoint of {path.stat().st_size / 1e6:.1f} MB"
            checks = ((files, "check_bytes", nothing), (loading, "check_finite", nothing))
            compare(f"{size}, checksum: read_checkpoint", lambda p=path: files.read_checkpoint(p), checks[0])
            compare(f"{size}, both checks: load_segmenter", lambda p=path: load_segmenter(p), *checks)
            compare(f"{size}, fsync: write", lambda p=path, s=stored: files.write_checkpoint(p, s), (os, "fsync", nothing))
        pictures = [
            DecodedCase(draw.integers(0, 255, (512, 512, 1), np.uint8), draw.integers(0, 2, (512, 512), np.uint8))
            for _ in range(60)
        ]
        cache.DiskStore.write(folder / "cache", pictures)
        unchecked = lambda at: cache.json.loads((at / "index.json").read_text())["entries"]  # noqa: E731

        def opened() -> None:
            store, statistics = cache.open_intact(folder / "cache"), Statistics(1, 2, MULTICLASS)
            for n in range(len(pictures)):
                image_stats(store[n])
                statistics.add(store[n])

        compare("cache of 31 MB, checksum: open and measure, once per training", opened, (cache, "read_index", unchecked))
        mask = (draw.random((256, 256)) > 0.5).astype(np.uint8)
        masks = [folder / "masks" / f"{n}.png" for n in range(200)]

        def written() -> None:
            for each in masks:
                write_png(each, mask)
            sync_folders(each.parent for each in masks)

        compare("200 masks of 256 pixels, fsync: write, one thread", written, (os, "fsync", nothing), runs=5)


if __name__ == "__main__":
    main()
