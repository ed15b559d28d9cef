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
from hydra import compose, initialize_config_dir
from rich.console import Console
from rich.table import Table

from segexp.api.configuration import completed
from segexp.config import conf_dir, register_resolvers
from segexp.console import quieten
from segexp.data.io.images import write_png
from segexp.inference.segmenter import Segmenter
from segexp.training import build
from segexp.training.callbacks.checkpoint import Checkpoints
from segexp.training.loggers import make_loggers
from segexp.training.module import SegmentationModule


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


def composed(folder: Path, overrides: list[str]) -> dict[str, Any]:
    """Return the checked config of a run on these pictures."""
    register_resolvers()
    own = [f"data.root={folder}", "data.groups=null", "data.size=null", "trainer.max_epochs=1000"]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = compose("train", ["data=liver", *own, *overrides])
    return completed(config)[0]


class Bare:
    """The same step without the framework."""

    def __init__(
        self, segmenter: Segmenter, module: SegmentationModule, batch: dict[str, Any], precision: str, layout: Any
    ) -> None:
        self.network = copy.deepcopy(segmenter.network).to(memory_format=layout)
        self.device = next(self.network.parameters()).device
        self.loss, self.optimizer = module.loss, module.make_optimizer(self.network)
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

    def __init__(self, pairs: int, precision: str) -> None:
        self.pairs, self.precision = pairs, precision
        self.framework: list[float] = []
        self.bare: list[float] = []
        self.plain: list[float] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: SegmentationModule) -> None:
        """Take one batch into memory and make the two bare loops."""
        batch = next(iter(trainer.datamodule.train_dataloader()))  # type: ignore[attr-defined]
        self.own = Bare(pl_module.segmenter, pl_module, batch, self.precision, torch.channels_last)
        self.fp32 = Bare(pl_module.segmenter, pl_module, batch, "32", torch.contiguous_format)
        self.images = len(batch["image"])

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: SegmentationModule) -> None:
        """Start the clock."""
        self.own._wait()
        self.start = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: SegmentationModule) -> None:
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
        base = composed(folder / "data", overrides)
        pictures(folder / "data", size, 16)
        base["data"]["repeat"] = max(1, steps * base["trainer"]["batch_size"] // 16)
        data = build.datamodule(base)
        data.setup()
        made = build.parts(base)
        parts = build.segmenter(base, made.network, data)
        module = build.module(base, made, parts)
        both = Pairs(pairs, parts.precision)
        chosen = [both, *build.callbacks(base, made, Checkpoints(folder / "checkpoints", {}, "val/dice"))]
        chosen = [c for c in chosen if not isinstance(c, Checkpoints)]  # saved once an epoch, and these epochs are short
        base["trainer"]["validate_every"] = 10**6
        trainer = build.trainer(base, folder, chosen, make_loggers(base["logger"], folder, data.spec))
        trainer.fit(module, datamodule=data)
    middle = statistics.median
    return [
        f"{size}x{size}",
        parts.precision,
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
    quieten()
    table = Table(title=f"Training, {' '.join(arguments.overrides) or 'defaults'} (images per second, medians)")
    for name in ("size", "precision", "segexp", "bare step", "segexp / bare", "bare fp32 contiguous", "defaults / fp32"):
        table.add_column(name)
    for size in arguments.sizes:
        table.add_row(*measure(size, arguments.steps, arguments.pairs, arguments.overrides))
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
