"""The learning rate follows the share of the training that is done, whether that is counted in epochs or in minutes."""

import time
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl


class Schedule(pl.Callback):
    """Sets the learning rate before each step and ends the training when its minutes are used up.

    `factor(progress)` gives the factor on each base learning rate, progress from 0 to 1. A factor that has `observe` is
    told the monitored score after each validation. With a budget in minutes the time already used is kept in the
    checkpoint, so that a resumed run uses the rest. From the progress `hold` on the factor stays as it is there.
    """

    def __init__(self, factor: Callable[[float], float], minutes: float | None, monitor: str, hold: float = 1.0) -> None:
        self.factor, self.minutes, self.monitor, self.hold = factor, minutes, monitor, hold
        self.before = self.used = 0.0
        self.started = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds of training so far, those before a resume included."""
        return self.before + time.monotonic() - self.started

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock and remember the base learning rates."""
        self.started, self.used = time.monotonic(), self.before
        for optimizer in trainer.optimizers:
            for group in optimizer.param_groups:
                group.setdefault("base_lr", group["lr"])

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int) -> None:
        """Set the learning rate of this step."""
        factor = self.factor(min(self.progress(trainer), self.hold))
        for optimizer in trainer.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["base_lr"] * factor

    def progress(self, trainer: pl.Trainer) -> float:
        """Return the share of the training that is done, 0 to 1."""
        if self.minutes is not None:
            return min(1.0, self.used / (60 * self.minutes))
        steps = max(1, int(trainer.estimated_stepping_batches))
        return min(1.0, trainer.global_step / steps)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop when the time is up; Lightning then validates once more."""
        if self.minutes is None:
            return
        # All processes go by one clock: else each would have its own learning rate, and stop at a step of its own.
        self.used = self.elapsed if trainer.world_size == 1 else trainer.strategy.broadcast(self.elapsed)
        if self.used >= 60 * self.minutes:
            trainer.should_stop = True
            trainer.check_val_every_n_epoch = 1  # the last epoch is always validated

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Tell the module how far the training is, and let the last epoch be validated, whatever the rhythm."""
        pl_module.share = self.progress(trainer)  # type: ignore[assignment]  # torch admits tensors and modules only
        if trainer.max_epochs is not None and trainer.current_epoch == trainer.max_epochs - 1:
            trainer.check_val_every_n_epoch = 1

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the learning rate of the epoch's last step."""
        pl_module.log("lr", float(trainer.optimizers[0].param_groups[0]["lr"]))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Tell a schedule that waits for a plateau the new score."""
        if not trainer.sanity_checking and hasattr(self.factor, "observe") and self.monitor in trainer.callback_metrics:
            self.factor.observe(float(trainer.callback_metrics[self.monitor]))

    def state_dict(self) -> dict[str, Any]:
        """Return the seconds used and the state of the schedule."""
        inner = self.factor.state_dict() if hasattr(self.factor, "state_dict") else {}
        return {"elapsed": self.elapsed, "factor": inner}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where the checkpoint stopped."""
        self.before = float(state_dict["elapsed"])
        if state_dict["factor"] and hasattr(self.factor, "load_state_dict"):
            self.factor.load_state_dict(state_dict["factor"])
