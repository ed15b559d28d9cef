"""What large images cost: windows of ours against MONAI's, and against one forward pass over the same pixels.

A small U-Net is trained for a minute on drawn membranes, so that masks and seams mean something. What is compared takes
turns in one process, so that a machine whose speed drifts slows all alike; the tables give medians, and ratios pair by pair.

1. Ours and MONAI's `sliding_window_inference`: the same network, windows, overlap, weights and batch, on the CPU and on CUDA
   where there is one. MONAI is given the map of weights ready-made.
2. A large image in one pass, in our windows, and in windows of 256 pixels at half overlap: time, Dice, and what is left of
   the windows' borders. "step at borders" is the mean change of the probability from one pixel to the next across the borders
   of windows, over that of the whole pass at the same places: 1.00 is no seam. Windows put side by side show what a seam is.
3. One image of 10,000 x 10,000 in a process of its own: time and peak memory.

    python benchmarks/inference.py                                         # about 20 minutes on two CPU cores
    python benchmarks/inference.py --sizes 2304 --huge 0 --pairs 1         # a short look
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from drawn import Picture, mosaic, tiles, trained
from monai.inferers import sliding_window_inference
from rich.console import Console
from rich.table import Table

from segexp.data.labels.modes import softmax_
from segexp.data.preprocessing import Preprocessing
from segexp.inference import Axis, plan_windows, segment, window_positions
from segexp.inference.predictor import Predictor
from segexp.inference.segmenter import Segmenter
from segexp.inference.sliding_window import window_cost
from segexp.models import UNet
from segexp.types import DataSpec


def in_turns(ways: list[Callable[[], torch.Tensor]], pairs: int, device: str) -> tuple[list[list[float]], list[torch.Tensor]]:
    """Return the seconds of each way in each round, and what each gave last; a round before that is warm-up."""
    seconds: list[list[float]] = [[] for _ in ways]
    given = [torch.empty(0) for _ in ways]
    for turn in range(pairs + 1):
        for n, way in enumerate(ways):
            start = time.perf_counter()
            given[n] = way()
            if device == "cuda":
                torch.cuda.synchronize()
            if turn:
                seconds[n].append(time.perf_counter() - start)
    return seconds, [result.cpu() for result in given]


def ratio(one: list[float], other: list[float]) -> str:
    """Return the median of the ratios pair by pair."""
    return f"{statistics.median(a / b for a, b in zip(one, other, strict=True)):.3f}"


def beside_monai(segmenter: Segmenter, size: int, window: int, overlap: int, batch: int, pairs: int) -> list[str]:
    """Return a row: ours and MONAI's over an image of about `size` that the windows cover exactly."""
    device, step = segmenter.device, window - overlap
    side = window + max(1, (size - window) // step) * step
    image = torch.randn(1, side, side, device=device)
    grid = window_positions(side, window, overlap), window_positions(side, window, overlap)
    away = (torch.arange(window) + 0.5 - window / 2).abs() - (window / 2 - overlap)
    flank = torch.exp(-((away.clamp_min(0) * 4 / overlap) ** 2) / 2).to(device)
    weights = flank[:, None] * flank

    def ours() -> torch.Tensor:
        return segment(segmenter.forward, lambda r, c: image[:, r, c], (side, side), (side, side), grid=grid, batch=batch)

    def monai() -> torch.Tensor:
        settings = {"overlap": overlap / window, "mode": "gaussian", "roi_weight_map": weights}
        out: torch.Tensor = sliding_window_inference(image[None], (window, window), batch, segmenter.forward, **settings)[0]
        return out

    with torch.no_grad():
        seconds, (one, other) = in_turns([ours, monai], pairs, device.type)
    median = [f"{statistics.median(s):.3f}" for s in seconds]
    away_from = float((softmax_(one) - softmax_(other)).abs().max())
    names = [device.type, f"{side}²", f"{window}²", str(overlap), str(batch)]
    return [*names, *median, ratio(*seconds), f"{away_from:.1e}"]


def side_by_side(length: int) -> Axis:
    """Return windows of at most 1024 pixels that do not overlap."""
    window = -(-length // -(-length // 1024) // 32) * 32
    return Axis(length, window, tuple(range(0, length, window)))


def dice(one: torch.Tensor, other: torch.Tensor) -> float:
    """Return the Dice of two masks of zeros and ones."""
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def step_at_borders(found: torch.Tensor, whole: torch.Tensor, grid: tuple[Axis, Axis]) -> float:
    """Return how much larger than in the whole pass the change of a probability (H, W) is across borders of windows."""
    changes = []
    for one in (found, whole):
        total = 0.0
        for axis, laid in enumerate(grid):
            lines = {line for start in laid.starts for line in (start, start + laid.window) if 0 < line < laid.length}
            here = torch.tensor(sorted(lines), dtype=torch.long)
            total += float((one.index_select(axis, here) - one.index_select(axis, here - 1)).abs().sum())
        changes.append(total)
    return changes[0] / changes[1]


def large(segmenter: Segmenter, pictures: list[Picture], size: int, pairs: int) -> list[list[str]]:
    """Return the rows of one size: one pass, our windows, windows of 256 at half overlap, and windows without overlap."""
    image, mask = mosaic(pictures, size)
    truth, prepared = torch.from_numpy(mask), segmenter.preprocessing.prepare(image).to(segmenter.device)
    own = plan_windows(size, size, min(2048**2, size * size // 2))
    grids = {
        "one pass": None,
        f"ours, {own[0].window} x {own[1].window}": own,
        "256², half overlap": (window_positions(size, 256, 128), window_positions(size, 256, 128)),
        "side by side": (side_by_side(size), side_by_side(size)),
    }

    def way(grid: tuple[Axis, Axis] | None) -> Callable[[], torch.Tensor]:
        def read(rows: slice, columns: slice) -> torch.Tensor:
            return prepared[:, rows, columns]

        return lambda: softmax_(segment(segmenter.forward, read, (size, size), (size, size), grid=grid))[1]

    with torch.no_grad():
        seconds, found = in_turns([way(grid) for grid in grids.values()], pairs, segmenter.device.type)
    rows = []
    for (name, grid), spent, probability in zip(grids.items(), seconds, found, strict=True):
        classes = (probability > 0.5).to(torch.uint8)
        row = [f"{size}²", name, "-", f"{statistics.median(spent):.2f}", ratio(spent, seconds[0])]
        row += [f"{dice(classes, truth):.4f}", f"{dice(classes, (found[0] > 0.5).to(torch.uint8)):.5f}", "-", "-"]
        if grid is not None:
            row[2] = f"{window_cost(grid):.3f}"
            row[7:] = [
                f"{float((probability - found[0]).abs().max()):.3f}",
                f"{step_at_borders(probability, found[0], grid):.3f}",
            ]
        rows.append(row)
    return rows


def peak_memory() -> float:
    """Return the most memory that this process has held, in GiB; `getrusage` would count the parent's."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 2**20


def huge(size: int, width: int) -> dict[str, float]:
    """Return the seconds and the peak resident memory (GiB) of one prediction with an untrained network, and of the start."""
    torch.manual_seed(0)
    network = UNet(3, 2, width=width).to(memory_format=torch.channels_last).eval()
    spec = DataSpec("huge", ("background", "thing"), 3, ((0, 0, 0), (255, 255, 255)))
    segmenter = Segmenter(network, Preprocessing(3, mean=(0.5,) * 3, std=(0.2,) * 3), spec, max_pixels=2048**2)
    tile = np.random.default_rng(0).integers(0, 256, (1000, 1000, 3), np.uint8)
    image = np.tile(tile, (-(-size // 1000), -(-size // 1000), 1))[:size, :size]
    before = peak_memory()
    start = time.perf_counter()
    found = Predictor([segmenter])(image)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "peak": peak_memory(), "before": before, "entropy": found.scores["entropy"]}


def table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """Print a table."""
    made = Table(title=title)
    for name in columns:
        made.add_column(name)
    for row in rows:
        made.add_row(*row)
    Console(width=140).print(made)


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=16, help="of the U-Net's first level")
    parser.add_argument("--steps", type=int, default=150, help="of its training")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--beside", type=int, default=1024, help="size of the image of the first table")
    parser.add_argument("--sizes", type=int, nargs="*", default=[2048, 3072], help="of the images of the second table")
    parser.add_argument("--huge", type=int, default=10_000, help="size of the last image; 0 leaves it out")
    parser.add_argument("--huge-width", type=int, default=16)
    parser.add_argument("--one-huge", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one_huge:
        print(json.dumps(huge(arguments.huge, arguments.huge_width)))
        return
    pictures = tiles(6)
    segmenter = trained(arguments.width, arguments.steps, pictures[:4])
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    network = f"U-Net of width {arguments.width}"
    rows = [
        beside_monai(segmenter.to(device), arguments.beside, *setting, arguments.pairs)
        for device in devices
        for setting in ((256, 128, 4), (256, 32, 4), (512, 64, 1))
    ]
    names = ["device", "image", "window", "overlap", "batch", "ours s", "MONAI s", "ours / MONAI", "largest |Δp|"]
    table(f"The same windows, {network} (medians of {arguments.pairs})", names, rows)
    rows = [row for size in arguments.sizes for row in large(segmenter, pictures[3:], size, max(1, arguments.pairs // 2))]
    names = [
        "image",
        "windows",
        "pixels seen",
        "s",
        "/ one pass",
        "Dice",
        "Dice to one pass",
        "largest |Δp|",
        "step at borders",
    ]
    table(f"A large image on {segmenter.device.type}, {network}", names, rows)
    if arguments.huge:
        command = [sys.executable, __file__, "--one-huge", f"--huge={arguments.huge}", f"--huge-width={arguments.huge_width}"]
        made = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
        rate = made["seconds"] / arguments.huge**2 * 1e6
        row = [f"{arguments.huge}²", f"{made['seconds']:.0f}", f"{rate:.2f}", f"{made['before']:.2f}", f"{made['peak']:.2f}"]
        names = ["image", "s", "s per megapixel", "GiB at the start", "peak GiB"]
        table(f"One image on the CPU, U-Net of width {arguments.huge_width}, RGB", names, [row])


if __name__ == "__main__":
    main()
