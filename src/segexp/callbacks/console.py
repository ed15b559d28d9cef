"""What a person sees while training runs, where a progress bar cannot be drawn: one line per validation."""

import time

import pytorch_lightning as pl


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
