"""Time budget of a training, and validation of its last epoch."""

from datetime import timedelta
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks.timer import Interval


class TimeBudget(pl.callbacks.Timer):
    """Lightning's timer: ends the training when the minutes are used up, including those before a resume."""

    def __init__(self, minutes: float) -> None:
        super().__init__(timedelta(minutes=minutes), Interval.step, verbose=False)
        self.minutes = minutes

    @property
    def elapsed(self) -> float:
        """Seconds of training so far, including those before a resume."""
        return float(self.time_elapsed("train"))

    @property
    def progress(self) -> float:
        """The used share of the budget, 0 to 1."""
        return min(1.0, self.elapsed / (60 * self.minutes))


class ValidateLastEpoch(pl.Callback):
    """Validates the last epoch even if `check_val_every_n_epoch` would skip it (end by epochs, steps or time)."""

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Validate the last of a known number of epochs."""
        if trainer.max_epochs is not None and trainer.current_epoch == trainer.max_epochs - 1:
            trainer.check_val_every_n_epoch = 1

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Validate if this step was the last one."""
        if 0 <= trainer.max_steps <= trainer.global_step:
            trainer.should_stop = True
        if trainer.should_stop:
            trainer.check_val_every_n_epoch = 1
