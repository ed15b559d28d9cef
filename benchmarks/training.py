"""What the framework costs: images per second of `segexp.train` against the bare step, and of our defaults against fp32.

The two take turns in one process (an epoch of the framework, then as many bare steps), so that a machine whose speed drifts
slows both; the table gives the median of the ratios pair by pair. The bare step is the same network, loss, optimizer,
precision and memory format on one batch that is already in memory. The framework's epoch has its loader, augmentation,
logging, callbacks and progress; validation is left out of both.

    python benchmarks/training.py                       # the CPU, 256x256
    python benchmarks/training.py trainer.gpus=1 data.num_workers=16 --sizes 256 512
"""

import argparse
import copy
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from configured import configured
from rich.console import Console
from rich.table import Table
from torch import nn

from segexp.config.schema import TrainConfig
from segexp.console import silence_libraries
from segexp.data.io.images import write_png
from segexp.inference.segmenter import Segmenter
from segexp.training import build
from segexp.training.callbacks.checkpoint import Checkpoints
from segexp.training.loggers import make_loggers
from segexp.training.optimizers import make_optimizer
from segexp.training.task import SegmentationTask

IMAGES = 16
"""Training images; an epoch has several crops of each."""


def pictures(folder: Path, size: int, count: int) -> None:
    """Write `count` noisy pictures with a bright disc and its mask, for training, and two for validation."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:size, :size]
    for split, n in (("train", count), ("val", 2)):
        (folder / split).mkdir(parents=True)
        for number in range(n):
            y, x, r = (*rng.uniform(0.3, 0.7, 2).tolist(), rng.uniform(0.1, 0.25))
            disc = (rows / size - y) ** 2 + (columns / size - x) ** 2 < r**2
            image = np.clip(rng.normal(90, 30, (size, size)) + 60 * disc, 0, 255).astype(np.uint8)
            write_png(folder / split / f"{number:03d}.png", image[..., None])
            write_png(folder / split / f"{number:03d}_mask.png", (disc * 255).astype(np.uint8))


def config_for(folder: Path, steps: int, overrides: list[str]) -> TrainConfig:
    """Return the checked configuration of a run on `IMAGES` of these pictures, with so many steps an epoch."""
    own = [f"data.root={folder}", "data.groups=null", "data.size=null", "trainer.max_epochs=1000"]
    config = configured(["data=liver", *own, *overrides])
    batch = config.data.batch_size
    if batch == "auto":
        raise SystemExit("data.batch_size=auto: a number was expected, such as data.batch_size=8")
    return config.updated({"data.repeat": max(1, steps * batch // IMAGES), "trainer.check_val_every_n_epoch": 10**6})


class Bare:
    """The same step without the framework."""

    def __init__(
        self, config: TrainConfig, segmenter: Segmenter, loss: nn.Module, batch: dict[str, Any], precision: str, layout: Any
    ) -> None:
        self.network = copy.deepcopy(segmenter.network).to(memory_format=layout)
        self.device = next(self.network.parameters()).device
        self.loss, self.optimizer = loss, make_optimizer(config, self.network)
        self.image = batch["image"].to(self.device).contiguous(memory_format=layout)
        self.mask = batch["mask"].to(self.device)
        self.dtype = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(precision)
        self.scaler = torch.amp.GradScaler(enabled=self.dtype is torch.float16)

    def run(self, steps: int) -> float:
        """Return images per second over some steps."""
        self.network.train()
        self._wait()
        start = time.perf_counter()
        for _ in range(steps):
            with torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype is not None):
                loss = self.loss(self.network(self.image), self.mask)
            self.optimizer.zero_grad()
            self.scaler.scale(loss).backward()
            self.scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            self.scaler.step(self.optimizer)
            self.scaler.update()
        self._wait()
        return steps * len(self.image) / (time.perf_counter() - start)

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


class Pairs(pl.Callback):
    """After each epoch of the framework, the same number of bare steps."""

    def __init__(self, config: TrainConfig, segmenter: Segmenter, loss: nn.Module, pairs: int) -> None:
        self.config, self.segmenter, self.loss, self.pairs = config, segmenter, loss, pairs
        self.framework: list[float] = []
        self.bare: list[float] = []
        self.plain: list[float] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take one batch into memory and make the two bare loops."""
        batch = next(iter(trainer.datamodule.train_dataloader()))  # type: ignore[attr-defined]
        parts = self.config, self.segmenter, self.loss, batch
        self.own = Bare(*parts, self.segmenter.precision, torch.channels_last)
        self.fp32 = Bare(*parts, "32", torch.contiguous_format)
        self.images = len(batch["image"])

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self.own._wait()
        self.start = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the clock, run the bare steps; the first epoch of each is warm-up."""
        self.own._wait()
        steps = trainer.num_training_batches
        framework = steps * self.images / (time.perf_counter() - self.start)
        bare = self.own.run(int(steps))
        if trainer.current_epoch:
            self.framework.append(framework)
            self.bare.append(bare)
            self.plain.append(self.fp32.run(max(2, int(steps) // 4)))
        if len(self.framework) >= self.pairs:
            trainer.should_stop = True


def measure(size: int, steps: int, pairs: int, overrides: list[str]) -> list[str]:
    """Return one row of the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = config_for(folder / "data", steps, overrides)
        pictures(folder / "data", size, IMAGES)
        data = build.build_datamodule(config)
        data.setup()
        components = build.build_components(config)
        segmenter = build.build_segmenter(config, components.network, data)
        task = SegmentationTask.from_components(config, components, segmenter)
        both = Pairs(config, segmenter, components.loss, pairs)
        chosen = [both, *build.build_callbacks(config, components, Checkpoints(folder / "checkpoints", "val/dice"))]
        chosen = [c for c in chosen if not isinstance(c, Checkpoints)]  # saved once an epoch, and these epochs are short
        trainer = build.build_trainer(config, folder, chosen, make_loggers(config.logger, folder, data.spec))
        trainer.fit(task, datamodule=data)
    middle = statistics.median
    return [
        f"{size}x{size}",
        segmenter.precision,
        f"{middle(both.framework):.2f}",
        f"{middle(both.bare):.2f}",
        f"{middle([a / b for a, b in zip(both.framework, both.bare, strict=True)]):.3f}",
        f"{middle(both.plain):.2f}",
        f"{middle([a / b for a, b in zip(both.bare, both.plain, strict=True)]):.2f}",
    ]


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", help="as for segexp.cli.train: model=unet model.width=16 trainer.gpus=0")
    parser.add_argument("--sizes", type=int, nargs="+", default=[256])
    parser.add_argument("--steps", type=int, default=16, help="steps of an epoch")
    parser.add_argument("--pairs", type=int, default=5)
    arguments = parser.parse_args()
    silence_libraries()
    table = Table(title=f"Training, {' '.join(arguments.overrides) or 'defaults'} (images per second, medians)")
    for name in ("size", "precision", "segexp", "bare step", "segexp / bare", "bare fp32 contiguous", "defaults / fp32"):
        table.add_column(name)
    for size in arguments.sizes:
        table.add_row(*measure(size, arguments.steps, arguments.pairs, arguments.overrides))
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
