"""Progress display: a bar in a terminal; elsewhere one line per validation."""

import time
from typing import Any

import pytorch_lightning as pl

from segexp.console import is_terminal
from segexp.training.callbacks.time_budget import TimeBudget


def progress_callback() -> pl.Callback:
    """Return the progress callback for the current output."""
    return Bar(leave=False) if is_terminal() else EpochLines()


class Bar(pl.callbacks.RichProgressBar):
    """Progress bar that shows the time budget if the number of epochs is open."""

    def _get_train_description(self, current_epoch: int) -> str:
        if self.trainer.max_epochs != -1:
            return str(super()._get_train_description(current_epoch))
        budgets = [each for each in self.trainer.callbacks if isinstance(each, TimeBudget)]  # type: ignore[attr-defined]
        time_used = "".join(f" ({each.elapsed / 60:.1f} of {each.minutes:g} min)" for each in budgets)
        return f"Epoch {current_epoch}{time_used}"


class EpochLines(pl.Callback):
    """Prints epoch, losses, Dice and minutes after each validation."""

    def __init__(self) -> None:
        self.started = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the line of an epoch that was validated."""
        scores = trainer.callback_metrics
        if not trainer.is_global_zero or (trainer.current_epoch + 1) % (trainer.check_val_every_n_epoch or 1):
            return
        values = {
            name: f"{float(scores[name]):.4f}" for name in ("loss/train", "loss/val", "val/dice", "val/iou") if name in scores
        }
        minutes = (time.monotonic() - self.started) / 60
        text = "  ".join(f"{name} {value}" for name, value in values.items())
        print(f"epoch {trainer.current_epoch:4d}  {text}  {minutes:.1f} min", flush=True)  # noqa: T201  # this is the console


class Speed(pl.Callback):
    """Logs `speed/images_per_second` of the training and `speed/data_wait`, the share of the time spent waiting for data.

    Attributes:
        started: of this process, by `time.perf_counter`.
        earlier: seconds of the processes before a resume, each up to its last checkpoint.
    """

    def __init__(self) -> None:
        self.started, self.earlier = time.perf_counter(), 0.0
        self.images, self.waited, self.worked = 0, 0.0, 0.0
        self.seconds, self.total_images = 0.0, 0
        self.mark = time.perf_counter()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Reset the counters of the epoch."""
        self.images, self.waited, self.worked = 0, 0.0, 0.0
        self.mark = time.perf_counter()

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int) -> None:
        """Count the time since the last step as waiting."""
        now = time.perf_counter()
        self.waited, self.mark = self.waited + now - self.mark, now

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the time of the step (on a GPU: until it is queued)."""
        now = time.perf_counter()
        self.worked, self.mark = self.worked + now - self.mark, now
        self.images += len(batch["image"]) * trainer.world_size

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the figures of the epoch."""
        seconds = max(1e-9, self.waited + self.worked)
        self.seconds, self.total_images = self.seconds + seconds, self.total_images + self.images
        pl_module.log("speed/images_per_second", self.images / seconds)
        pl_module.log("speed/data_wait", self.waited / seconds)

    @property
    def images_per_second(self) -> float:
        """Mean over all epochs."""
        return self.total_images / self.seconds if self.seconds else 0.0

    @property
    def elapsed(self) -> float:
        """Seconds of the run, without what was lost between its last checkpoint and a resume."""
        return self.earlier + time.perf_counter() - self.started

    def state_dict(self) -> dict[str, Any]:
        """Return the counts, so that a resumed run reports all of its epochs."""
        return {"images": self.total_images, "seconds": self.seconds, "elapsed": self.elapsed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the counts."""
        self.total_images, self.seconds = int(state_dict["images"]), float(state_dict["seconds"])
        self.earlier = float(state_dict["elapsed"])
