"""What each loss of conf/loss costs: milliseconds per call, forward and backward, on logits (4, 2, 256, 256).

The losses take turns, so that a machine whose speed drifts slows all alike; the table gives each one's median, and how many
times that of ce_dice it is. The mask has twelve discs in each picture. Losses on distances work on the CPU wherever the
logits are.

    python benchmarks/losses.py                    # the CPU
    python benchmarks/losses.py --device cuda --size 512 --classes 6
"""

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table

from segexp.config.composition import conf_dir


def example(size: int, classes: int, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits (4, classes, size, size) that are half right, and their mask of discs."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:size, :size]
    mask = np.zeros((4, size, size), np.int64)
    for picture in mask:
        for number in range(12):
            y, x, r = (*rng.uniform(0.1, 0.9, 2).tolist(), rng.uniform(0.03, 0.12))
            picture[(rows / size - y) ** 2 + (columns / size - x) ** 2 < r**2] = 1 + number % (classes - 1)
    truth = torch.from_numpy(mask)
    logits = torch.randn(4, classes, size, size, generator=torch.Generator().manual_seed(0))
    logits += torch.nn.functional.one_hot(truth, classes).movedim(-1, 1)
    return logits.to(device).requires_grad_(), truth.to(device)


def milliseconds(loss: Any, logits: torch.Tensor, mask: torch.Tensor) -> float:
    """Return the wall time of one forward and backward pass."""
    logits.grad = None
    if logits.is_cuda:
        torch.cuda.synchronize()
    start = time.perf_counter()
    loss(logits, mask).backward()
    if logits.is_cuda:
        torch.cuda.synchronize()
    return 1000 * (time.perf_counter() - start)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--classes", type=int, default=2)
    parser.add_argument("--runs", type=int, default=30)
    given = parser.parse_args()
    logits, mask = example(given.size, given.classes, given.device)
    files = sorted(Path(conf_dir()).glob("loss/*.yaml"))
    losses = {file.stem: instantiate(OmegaConf.load(file), _convert_="all") for file in files}
    times: dict[str, list[float]] = {name: [] for name in losses}
    for _ in range(given.runs + 1):
        for name, loss in losses.items():
            times[name].append(milliseconds(loss, logits, mask))
    medians = {name: statistics.median(values[1:]) for name, values in times.items()}
    table = Table("loss", "ms per call", "times ce_dice", title=f"{tuple(logits.shape)} on {given.device}")
    for name, median in sorted(medians.items(), key=lambda item: item[1]):
        table.add_row(name, f"{median:.1f}", f"{median / medians['ce_dice']:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
