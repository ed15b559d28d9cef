"""The end of a training: a budget in minutes, and a validation of the last epoch whatever the rhythm."""

from datetime import timedelta
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks.timer import Interval


class TimeBudget(pl.callbacks.Timer):
    """Lightning's timer: ends the training when its minutes are used up. A resumed run uses the rest of them."""

    def __init__(self, minutes: float) -> None:
        super().__init__(timedelta(minutes=minutes), Interval.step, verbose=False)
        self.minutes = minutes

    @property
    def elapsed(self) -> float:
        """Seconds of training so far, those before a resume included."""
        return float(self.time_elapsed("train"))

    @property
    def progress(self) -> float:
        """The share of the budget that is used, 0 to 1."""
        return min(1.0, self.elapsed / (60 * self.minutes))


class ValidateLastEpoch(pl.Callback):
    """Lets the last epoch be validated, also where `check_val_every_n_epoch` leaves it out: by epochs, steps or time."""

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look whether this is the last of a known number of epochs."""
        if trainer.max_epochs is not None and trainer.current_epoch == trainer.max_epochs - 1:
            trainer.check_val_every_n_epoch = 1

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look whether this step was the last one."""
        if 0 <= trainer.max_steps <= trainer.global_step:
            trainer.should_stop = True
        if trainer.should_stop:
            trainer.check_val_every_n_epoch = 1
