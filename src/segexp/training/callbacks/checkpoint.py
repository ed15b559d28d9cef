"""Checkpoint callback: `best.ckpt` and `last.ckpt`, written atomically and self-describing."""

import math
from pathlib import Path
from typing import Any

import pytorch_lightning as pl


class Checkpoints(pl.callbacks.Checkpoint):
    """Saves `last.ckpt` at the start and after every epoch, `best.ckpt` whenever the monitored score improves.

    Files are written under a temporary name and renamed, so that an interruption keeps the previous one.
    """

    def __init__(self, folder: Path, monitor: str) -> None:
        self.folder, self.monitor = folder, monitor
        self.best: float | None = None
        self.best_epoch: int | None = None
        self.validated = False

    @property
    def last_path(self) -> Path:
        """The state after the last complete epoch."""
        return self.folder / "last.ckpt"

    @property
    def best_path(self) -> Path:
        """The state with the best validation score."""
        return self.folder / "best.ckpt"

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save an initial checkpoint, so that a run interrupted in the first epoch can be resumed."""
        if trainer.is_global_zero:
            self.folder.mkdir(parents=True, exist_ok=True)
        if not self.last_path.is_file():
            self._save(trainer, self.last_path)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remember that this epoch was validated."""
        self.validated = not trainer.sanity_checking

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the last and, if improved, the best checkpoint."""
        value = float(trainer.callback_metrics.get(self.monitor, math.nan))
        if self.validated and value > (-math.inf if self.best is None else self.best):
            self.best, self.best_epoch = value, trainer.current_epoch
            self._save(trainer, self.best_path)
        self._save(trainer, self.last_path)
        self.validated = False

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the best score so far."""
        checkpoint.setdefault("segexp", {}).update(best=self.best, monitor=self.monitor)

    def state_dict(self) -> dict[str, Any]:
        """Return the best score and its epoch; no path, so that a run directory can be moved."""
        return {"best": self.best, "best_epoch": self.best_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best score."""
        self.best, self.best_epoch = state_dict["best"], state_dict["best_epoch"]

    def _save(self, trainer: pl.Trainer, path: Path) -> None:
        part = path.with_suffix(".part")
        try:
            trainer.save_checkpoint(part)
            if trainer.is_global_zero:
                part.replace(path)
        finally:
            if trainer.is_global_zero:  # another process would delete the file before the rename
                part.unlink(missing_ok=True)
