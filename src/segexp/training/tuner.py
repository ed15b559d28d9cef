"""What `auto` stands for: the batch size that the memory holds, the learning rate at which the loss falls.

Both are found by training itself, for a moment, on the run's own network, loss, optimizer and number format. The answers lie
in the run directory (`found.json`) and in its checkpoints, so that a resumed run goes on with them.
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

from segexp.atomic import atomic_write
from segexp.config.learned import AUTO, LR
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
"""Exit codes of a process that its own bound, or the system, has ended for its memory."""


@dataclass(frozen=True)
class BatchSizeTrial:
    """What became of some sizes.

    Attributes:
        done: the sizes with which steps were taken, and the most bytes used by then.
        free: bytes of free memory at the start; None where the process did not get as far.
    """

    done: dict[int, int]
    free: int | None = None


Try = Callable[[Sequence[int]], BatchSizeTrial]


def find_batch_size(config: TrainConfig, data: SegmentationDataModule) -> tuple[int, str]:
    """Return the batch size, and a sentence about it.

    Args:
        config: of the run.
        data: set up.

    Raises:
        ConfigError: there is no memory for a single picture.
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
    """Return what was tried in all, and the smallest size that was too large, None where `most` was not.

    Args:
        run: takes steps with sizes in rising order, until one is too large.
        most: the largest size that is of use.
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
    """Take steps with these sizes in a new process, until it has no memory for one.

    Raises:
        SegexpError: it ends for another reason.
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
    """Return a batch of one training sample: of crops any, of whole pictures the largest, to which others are padded."""
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
"""Standard deviation of the Gaussian that smooths the losses, in steps; centred, so that nothing is late."""
FALL = 0.02
"""How much of the first loss the smoothed curve must fall by at least."""
NOISE = 2.0
"""And by how many times the scatter of the losses about it."""


@dataclass(frozen=True)
class Curve:
    """Losses of steps with rising learning rates.

    Attributes:
        rates: (N,), rising by the same factor from step to step.
        losses: (N,), finite.
    """

    rates: np.ndarray
    losses: np.ndarray

    @property
    def smooth(self) -> np.ndarray:
        """The losses (N,) as a weighted mean of their neighbours; fewer of them at the ends."""
        steps = np.arange(len(self.losses))
        weights = np.exp(-0.5 * ((steps[:, None] - steps[None]) / SMOOTH) ** 2)
        return np.asarray((weights @ self.losses) / weights.sum(axis=1))

    @property
    def suggestion(self) -> float | None:
        """The rate at which the smoothed loss falls most steeply per decade, before its minimum; None where it does not fall.

        The loss must have fallen by `FALL` of what it was at first, and by more than its scatter.
        """
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
    """Write a drawing of the curve as PNG, with the suggestion where there is one."""
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
    """Return the range of losses that is drawn: a divergence at the end does not flatten the rest."""
    smooth: Sequence[float] = curve.smooth.tolist()
    first = max(float(np.percentile(curve.losses[: max(1, len(curve.losses) // 4)], 95)), smooth[0])
    low = float(curve.losses.min())
    room = max(first - low, 1e-6)
    return low - 0.1 * room, first + 0.5 * room


LOWEST, HIGHEST, STEPS = 1e-7, 1.0, 100
PICTURE = "learning_rate.png"
DIVERGED = 4.0
"""The test ends where the mean loss of late is so many times its lowest."""
MEMORY = 0.8
"""Weight of what was before in that mean."""


class RangeTest(pl.Callback):
    """Sets the learning rate of each step, notes its loss, and ends the training when the rates are used up or it diverges.

    A group whose rate is a factor of the others' keeps that factor.
    """

    def __init__(self) -> None:
        self.rates, self.losses = np.geomspace(LOWEST, HIGHEST, STEPS), list[float]()
        self.recent, self.lowest = 0.0, math.inf
        self.factors: list[list[float]] = []

    @property
    def curve(self) -> Curve:
        """What was found."""
        return Curve(self.rates[: len(self.losses)], np.asarray(self.losses))

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note how the groups' rates are related."""
        self.factors = [
            [group.get("initial_lr", group["lr"]) / LR for group in optimizer.param_groups] for optimizer in trainer.optimizers
        ]

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int) -> None:
        """Set the rate of this step; with gathered gradients it is that of several batches."""
        rate = float(self.rates[min(len(self.losses), STEPS - 1)])
        for optimizer, factors in zip(trainer.optimizers, self.factors, strict=True):
            for group, factor in zip(optimizer.param_groups, factors, strict=True):
                group["lr"] = rate * factor

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note the loss."""
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
    """Return the learning rate, and a sentence about it; the curve is drawn into the run directory.

    Args:
        config: of the run, with a batch size.
        data: set up.
        components: of the run; not changed.
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
        "Type optimizer.lr=1e-3, a larger data.batch_size, or python -m segexp.check … fit=true to see whether the network "
        "can learn these data at all",
    )


def range_test(config: TrainConfig, data: SegmentationDataModule, components: Components) -> Curve:
    """Return the losses of a training with rising learning rates."""
    trial = replace(components, network=copy.deepcopy(components.network), loss=copy.deepcopy(components.loss))
    test = RangeTest()
    callbacks: list[pl.Callback] = [test]
    if config.trainer.freeze_encoder:  # as at the start of the run; nothing here counts as progress
        callbacks.append(FreezeEncoder(encoder_modules(config, trial.network), Milestone(1.0, by_share=True)))
    with torch.random.fork_rng(), tempfile.TemporaryDirectory() as scratch:
        trainer = short_trainer(config, Path(scratch), callbacks, accumulate=1, epochs=-1)
        task = SegmentationTask.from_components(config, trial, build_segmenter(config, trial.network, data))
        try:
            loader = data.train_dataloader()
            trainer.fit(task, loader, loader)  # the second is asked for, and never read
        except SegexpError:  # the loss is not finite for the second time
            if len(test.losses) < STEPS // 10:
                raise
    return test.curve


FILE = "found.json"
KEYS = ("data.batch_size", "optimizer.lr")
"""The keys that can be `auto`."""


def load_cached_auto_values(config: TrainConfig, directory: Path) -> TrainConfig:
    """Return a configuration in which each `auto` is the answer that the run directory has, if it has one."""
    found, section = _read(directory), config.plain()
    asked = {key for key in KEYS if section[key.partition(".")[0]].get(key.partition(".")[2]) == AUTO}
    return config.updated({key: value for key, value in found.items() if key in asked})


def save_auto_value(directory: Path, key: str, value: float) -> None:
    """Put an answer into the run directory."""
    with atomic_write(directory / FILE) as part:
        part.write_text(json.dumps(_read(directory) | {key: value}, indent=1) + "\n", encoding="utf-8")


def _read(directory: Path) -> dict[str, Any]:
    path = directory / FILE
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def resolve_auto_values(
    config: TrainConfig,
    directory: Path,
    data: SegmentationDataModule,
    components: Components,
    say: Callable[[str], None],
) -> TrainConfig:
    """Return a configuration in which each `auto` is what is found; it is kept in the run directory, and said.

    Args:
        config: `data.batch_size` and `optimizer.lr` may be auto.
        directory: of the run.
        data: set up; gets the batch size.
        components: of the run; not changed.
        say: takes a sentence.

    Raises:
        ConfigError: nothing is found; with what to type.
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
