"""Automatic batch size (the largest that fits into memory) and learning rate (from a range test).

Both are determined by short trials with the run's own network, loss, optimizer and precision. The results are stored in the run
directory (`found.json`) and in the checkpoints, so that a resumed run reuses them.
"""

import copy
import json
import math
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from json import loads
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

from segexp.atomic import atomic_write, write_json
from segexp.config.learned import AUTO, LR
from segexp.config.naming import AUTO_VALUES
from segexp.config.schema import TrainConfig
from segexp.data.datamodule import SegmentationDataModule
from segexp.data.dataset import collate_train
from segexp.devices import choose_devices
from segexp.errors import ConfigError, SegexpError
from segexp.milestones import Milestone
from segexp.training.build import Components, build_segmenter
from segexp.training.callbacks.freeze_encoder import FreezeEncoder
from segexp.training.memory import HEADROOM, SHORT
from segexp.training.memory_trial import JOB, REPORTS, TrialJob, short_trainer
from segexp.training.optimizers import encoder_modules
from segexp.training.task import SegmentationTask
from segexp.types import Batch

KILLED = (SHORT, -9, 137)
"""Exit codes of a process that ran out of memory."""


@dataclass(frozen=True)
class BatchSizeTrial:
    """Result of trying some batch sizes.

    Attributes:
        done: peak memory in bytes by successful batch size.
        free: free memory in bytes at the start; None if the process failed earlier.
    """

    done: dict[int, int]
    free: int | None = None


Try = Callable[[Sequence[int]], BatchSizeTrial]


def find_batch_size(config: TrainConfig, data: SegmentationDataModule) -> tuple[int, str]:
    """Return the batch size, and a message about it.

    Args:
        config: of the run.
        data: set up.

    Raises:
        ConfigError: not even one image fits into memory.
        SegexpError: the steps fail for another reason.
    """
    most = len(data.members("train"))
    with tempfile.TemporaryDirectory(prefix="segexp-batch-") as folder:
        sample = largest_sample(data)
        with (Path(folder) / JOB).open("wb") as file:
            pickle.dump(TrialJob(config, sample, data.spec, data.preprocessing), file)
        tried, refused = search_batch_size(lambda sizes: try_batch_size(Path(folder), sizes), most)
    if not tried.done:
        raise _none(config, sample, tried)
    size = max(tried.done)
    shape = "x".join(str(n) for n in sample["image"].shape[1:])
    room = f" of {tried.free / 1e9:.2f} GB free" if tried.free else ""
    why = f"{refused} did not fit into {1 - HEADROOM:.0%} of it" if refused else "that is the whole training split"
    took = f"steps with {size} images of {shape} took {_gb(tried.done[size])}{room}"
    return size, f"data.batch_size=auto: {size} ({took}; {why})"


def search_batch_size(run: Try, most: int) -> tuple[BatchSizeTrial, int | None]:
    """Return all trials, and the smallest size that was too large (None if `most` fits).

    Args:
        run: tries batch sizes in ascending order until one is too large.
        most: the largest useful size.
    """
    sizes = [1 << n for n in range(most.bit_length()) if 1 << n < most] + [most]
    tried = run(sizes)
    low = max(tried.done, default=0)
    if low == most:
        return tried, None
    high = sizes[sizes.index(low) + 1] if low else 1
    done = dict(tried.done)
    while low and high - low > max(1, low // 8):
        middle = (low + high) // 2
        new = run([middle])
        done |= new.done
        low, high = (middle, high) if new.done else (low, middle)
    return BatchSizeTrial(done, tried.free), high


def try_batch_size(folder: Path, sizes: Sequence[int]) -> BatchSizeTrial:
    """Try batch sizes in a new process until it runs out of memory.

    Raises:
        SegexpError: it fails for another reason.
    """
    reports = folder / REPORTS
    reports.unlink(missing_ok=True)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-m", "segexp.training.memory_trial", str(folder), *map(str, sizes)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    lines = [loads(line) for line in reports.read_text(encoding="utf-8").splitlines()] if reports.is_file() else []
    told: dict[str, Any] = {key: value for line in lines for key, value in line.items()}
    if "failed" in told or ended.returncode not in (0, *KILLED):
        last = (ended.stderr.strip().splitlines() or ["no message"])[-1]
        raise SegexpError(
            f"data.batch_size=auto cannot take a training step: {told.get('failed', last)}",
            do="Type a number, such as data.batch_size=4, to see where it happens",
        )
    return BatchSizeTrial({line["done"]: line["used"] for line in lines if "done" in line}, told.get("free"))


def largest_sample(data: SegmentationDataModule) -> Batch:
    """Return a batch of one training sample: any crop, or the largest image if whole images are used."""
    loader: Any = data.train_dataloader()
    keys = iter(loader.sampler)
    best = loader.dataset[next(keys)]
    if data.data.crop is None:
        best = max((loader.dataset[key] for key in keys), key=lambda drawn: drawn[0].numel(), default=best)
    return collate_train([best])


def _none(config: TrainConfig, sample: Batch, tried: BatchSizeTrial) -> ConfigError:
    accelerator, _ = choose_devices(config.trainer.gpus)
    where = "on the GPU" if accelerator == "cuda" else "of main memory"
    shape = "x".join(str(n) for n in sample["image"].shape[1:])
    free = f" of the {_gb(tried.free)} that are free {where}" if tried.free else f" of what is free {where}"
    width = config.model.arguments.get("width")
    ways = [f"data.crop={max(16, min(sample['image'].shape[-2:]) // 2)}"]
    ways += [f"model.width={max(1, width // 2)}"] if isinstance(width, int) else []
    ways += [] if config.trainer.checkpoint_activations else ["trainer.checkpoint_activations=true"]
    return ConfigError(
        f"data.batch_size=auto finds no size: a training step with one image of {shape} does not fit into {1 - HEADROOM:.0%}"
        + free,
        "Memory for at least one image was expected",
        f"Type {', or '.join(ways)}; or end what else uses the memory",
    )


def _gb(size: int | None) -> str:
    return f"{(size or 0) / 1e9:.2f} GB"


SMOOTH = 4.0
"""Standard deviation, in steps, of the centred Gaussian that smooths the losses."""
FALL = 0.02
"""Minimum fall of the smoothed curve, relative to the first loss."""
NOISE = 2.0
"""Minimum fall as a multiple of the scatter around the smoothed curve."""


@dataclass(frozen=True)
class Curve:
    """Losses of steps with increasing learning rates.

    Attributes:
        rates: (N,), increasing by a constant factor.
        losses: (N,), finite.
    """

    rates: np.ndarray
    losses: np.ndarray

    @property
    def smooth(self) -> np.ndarray:
        """The smoothed losses (N,)."""
        steps = np.arange(len(self.losses))
        weights = np.exp(-0.5 * ((steps[:, None] - steps[None]) / SMOOTH) ** 2)
        return np.asarray((weights @ self.losses) / weights.sum(axis=1))

    @property
    def suggestion(self) -> float | None:
        """The rate of the steepest descent of the smoothed loss before its minimum; None if it does not fall significantly."""
        if len(self.losses) < 3:
            return None
        smooth = self.smooth
        lowest = int(smooth.argmin())
        fall = smooth[: lowest + 1].max() - smooth[lowest]
        scatter = float(np.std(self.losses[: lowest + 1] - smooth[: lowest + 1]))
        if lowest == 0 or fall < FALL * abs(smooth[0]) or fall < NOISE * scatter:
            return None
        steep = int(np.gradient(smooth)[: lowest + 1].argmin())
        return float(f"{self.rates[steep]:.2g}")


def draw_lr_curve(curve: Curve, path: Path, title: str = "") -> None:
    """Save a plot of the curve and its suggestion as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot(curve.rates, curve.losses, ".", color="0.65", markersize=4, label="loss of a step")
    axes.plot(curve.rates, curve.smooth, color="C0", label="smoothed")
    found = curve.suggestion
    if found is not None:
        axes.axvline(found, color="C3", linestyle="--", label=f"steepest fall: {found:g}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="training loss", title=title)
    low, high = _shown(curve)
    axes.set_ylim(low, high)
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left" if found is None else "best")
    with atomic_write(path) as part:
        figure.savefig(part, format="png")


def _shown(curve: Curve) -> tuple[float, float]:
    """Return the loss range of the plot, in which a final divergence is cut off."""
    smooth: Sequence[float] = curve.smooth.tolist()
    first = max(float(np.percentile(curve.losses[: max(1, len(curve.losses) // 4)], 95)), smooth[0])
    low = float(curve.losses.min())
    room = max(first - low, 1e-6)
    return low - 0.1 * room, first + 0.5 * room


LOWEST, HIGHEST, STEPS = 1e-7, 1.0, 100
PICTURE = "learning_rate.png"
DIVERGED = 4.0
"""The test ends when the running mean of the loss exceeds its minimum by this factor."""
MEMORY = 0.8
"""Decay of that running mean."""


class RangeTest(pl.Callback):
    """Increases the learning rate at each step, records the losses, and stops at the last rate or on divergence.

    The ratios between parameter groups are kept.
    """

    def __init__(self) -> None:
        self.rates, self.losses = np.geomspace(LOWEST, HIGHEST, STEPS), list[float]()
        self.recent, self.lowest = 0.0, math.inf
        self.factors: list[list[float]] = []

    @property
    def curve(self) -> Curve:
        """The recorded curve."""
        return Curve(self.rates[: len(self.losses)], np.asarray(self.losses))

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Store the rate of each group relative to the base rate."""
        self.factors = [
            [group.get("initial_lr", group["lr"]) / LR for group in optimizer.param_groups] for optimizer in trainer.optimizers
        ]

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int) -> None:
        """Set the rate of this step."""
        rate = float(self.rates[min(len(self.losses), STEPS - 1)])
        for optimizer, factors in zip(trainer.optimizers, self.factors, strict=True):
            for group, factor in zip(optimizer.param_groups, factors, strict=True):
                group["lr"] = rate * factor

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Record the loss."""
        loss = float(outputs["loss"].detach()) if outputs is not None else math.nan
        if not math.isfinite(loss):
            trainer.should_stop = True
            return
        self.losses.append(loss)
        self.recent = MEMORY * self.recent + (1 - MEMORY) * loss
        mean = self.recent / (1 - MEMORY ** len(self.losses))
        self.lowest = min(self.lowest, mean)
        if len(self.losses) == STEPS or (len(self.losses) > STEPS // 10 and mean > DIVERGED * self.lowest):
            trainer.should_stop = True


def find_learning_rate(
    config: TrainConfig, data: SegmentationDataModule, components: Components, directory: Path
) -> tuple[float, str]:
    """Return the learning rate, and a message about it; save the curve in the run directory.

    Args:
        config: of the run, with a batch size.
        data: set up.
        components: of the run; not modified.
        directory: of the run.

    Raises:
        ConfigError: the loss does not fall at any rate.
    """
    curve = range_test(config, data, components)
    path = directory / PICTURE
    draw_lr_curve(curve, path, f"{config.model.target.rpartition('.')[2]}, batches of {data.batch_size}")
    found = curve.suggestion
    if found is not None:
        return found, f"optimizer.lr=auto: {found:g} (where the loss of a range test falls most steeply; {path})"
    raise ConfigError(
        f"optimizer.lr=auto finds no learning rate: the training loss does not fall between {LOWEST:g} and {HIGHEST:g} by more "
        f"than it scatters, see {path}",
        "A loss was expected that falls at some rate",
        "Type optimizer.lr=1e-3, a larger data.batch_size, or python -m segexp.check data=NAME fit=true to see whether the "
        "network can learn these data at all",
    )


def range_test(config: TrainConfig, data: SegmentationDataModule, components: Components) -> Curve:
    """Return the losses of a training with increasing learning rates."""
    trial = replace(components, network=copy.deepcopy(components.network), loss=copy.deepcopy(components.loss))
    test = RangeTest()
    callbacks: list[pl.Callback] = [test]
    if config.trainer.freeze_encoder:  # as at the start of the run, throughout the test
        callbacks.append(FreezeEncoder(encoder_modules(config, trial.network), Milestone(1.0, by_share=True)))
    with torch.random.fork_rng(), tempfile.TemporaryDirectory() as scratch:
        trainer = short_trainer(config, Path(scratch), callbacks, accumulate=1, epochs=-1)
        task = SegmentationTask.from_components(config, trial, build_segmenter(config, trial.network, data))
        try:
            loader = data.train_dataloader()
            trainer.fit(task, loader, loader)  # the validation loader is required but not used
        except SegexpError:  # the loss is not finite for the second time
            if len(test.losses) < STEPS // 10:
                raise
    return test.curve


KEYS = ("data.batch_size", "optimizer.lr")
"""The keys that can be `auto`."""


def load_cached_auto_values(config: TrainConfig, directory: Path) -> TrainConfig:
    """Return the configuration with stored values for the keys that are `auto`."""
    found, section = _read(directory), config.plain()
    asked = {key for key in KEYS if section[key.partition(".")[0]].get(key.partition(".")[2]) == AUTO}
    return config.updated({key: value for key, value in found.items() if key in asked})


def save_auto_value(directory: Path, key: str, value: float) -> None:
    """Store a value in the run directory."""
    write_json(directory / AUTO_VALUES, _read(directory) | {key: value})


def _read(directory: Path) -> dict[str, Any]:
    path = directory / AUTO_VALUES
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def resolve_auto_values(
    config: TrainConfig,
    directory: Path,
    data: SegmentationDataModule,
    components: Components,
    say: Callable[[str], None],
) -> TrainConfig:
    """Replace each `auto` by a determined value, which is stored in the run directory and reported.

    Args:
        config: `data.batch_size` and `optimizer.lr` may be auto.
        directory: of the run.
        data: set up; its batch size is updated.
        components: of the run; not modified.
        say: prints a message.

    Raises:
        ConfigError: no value can be determined.
    """
    if config.data.batch_size == AUTO:
        say("data.batch_size=auto: looking for the largest batch whose training step the memory holds …")
        size, told = find_batch_size(config, data)
        config = config.updated({"data.batch_size": size})
        save_auto_value(directory, "data.batch_size", size)
        say(told)
    data.batch_size = int(config.data.batch_size)
    if config.optimizer.arguments.get("lr") == AUTO:
        say("optimizer.lr=auto: trying learning rates from the smallest to the largest …")
        rate, told = find_learning_rate(config, data, components, directory)
        config = config.updated({"optimizer.lr": rate})
        save_auto_value(directory, "optimizer.lr", rate)
        say(told)
    return config
