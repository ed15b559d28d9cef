"""`optimizer.lr=auto`: the range test of Smith ("Cyclical learning rates for training neural networks", WACV 2017).

A copy of the network is trained on real batches, with the run's loss, optimizer, clipping and number format, while the
learning rate rises from step to step by the same factor. The suggestion is where the smoothed loss falls most steeply per
decade. The run's own network, and every random number that it will draw, stay as they are.
"""

import copy
import math
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

from segexp import build
from segexp.callbacks.freezing import FreezeEncoder
from segexp.config.auto import RATE
from segexp.data.datamodule import SegmentationDataModule
from segexp.errors import ConfigError, SegexpError
from segexp.finding.curve import Curve, draw
from segexp.finding.trial import short_trainer
from segexp.moments import Moment

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
        self.factors = [[group["lr"] / RATE for group in optimizer.param_groups] for optimizer in trainer.optimizers]

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
    config: dict[str, Any], data: SegmentationDataModule, made: build.Parts, directory: Path
) -> tuple[float, str]:
    """Return the learning rate, and a sentence about it; the curve is drawn into the run directory.

    Args:
        config: of the run, resolved, with a batch size.
        data: set up.
        made: the parts of the run; not changed.
        directory: of the run.

    Raises:
        ConfigError: the loss does not fall at any rate.
    """
    curve = range_test(config, data, made)
    path = directory / PICTURE
    draw(curve, path, f"{str(config['model']['_target_']).rpartition('.')[2]}, batches of {data.batch_size}")
    found = curve.suggestion
    if found is not None:
        return found, f"optimizer.lr=auto: {found:g} (where the loss of a range test falls most steeply; {path})"
    raise ConfigError(
        f"optimizer.lr=auto finds no learning rate: the training loss does not fall between {LOWEST:g} and {HIGHEST:g} by more "
        f"than it scatters, see {path}",
        "A loss was expected that falls at some rate",
        "Type optimizer.lr=1e-3, a larger trainer.batch_size, or python -m segexp.check … fit=true to see whether the network "
        "can learn these data at all",
    )


def range_test(config: dict[str, Any], data: SegmentationDataModule, made: build.Parts) -> Curve:
    """Return the losses of a training with rising learning rates."""
    trial = replace(made, network=copy.deepcopy(made.network), loss=copy.deepcopy(made.loss))
    test, settings = RangeTest(), config["trainer"]
    callbacks: list[pl.Callback] = [test]
    if settings["freeze_encoder"]:  # as at the start of the run; nothing here counts as progress
        callbacks.append(FreezeEncoder(build.own_encoder(config, trial.network), Moment(1.0, by_share=True)))
    with torch.random.fork_rng(), tempfile.TemporaryDirectory() as scratch:
        trainer = short_trainer(config, Path(scratch), callbacks, accumulate=1, epochs=-1)
        module = build.module(config, trial, build.segmenter(config, trial.network, data))
        try:
            loader = data.train_dataloader()
            trainer.fit(module, loader, loader)  # the second is asked for, and never read
        except SegexpError:  # the loss is not finite for the second time
            if len(test.losses) < STEPS // 10:
                raise
    return test.curve
