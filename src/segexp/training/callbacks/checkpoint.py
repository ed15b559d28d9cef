"""Two checkpoints, `best` and `last`, each whole at every moment and able to rebuild everything."""

import math
from pathlib import Path
from typing import Any

import pytorch_lightning as pl


class Checkpoints(pl.callbacks.Checkpoint):
    """Saves `last.ckpt` at the start and after every epoch, `best.ckpt` whenever the monitored score rises.

    A file is written under another name and then renamed, so that an interruption leaves the one before it. The task puts in
    what makes the file self-describing.
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
        """Leave something to go on from, should the first epoch be interrupted."""
        if trainer.is_global_zero:
            self.folder.mkdir(parents=True, exist_ok=True)
        if not self.last_path.is_file():
            self._save(trainer, self.last_path)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note that this epoch has a score of its own."""
        self.validated = not trainer.sanity_checking

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the epoch, and the best one so far under its own name."""
        value = float(trainer.callback_metrics.get(self.monitor, math.nan))
        if self.validated and value > (-math.inf if self.best is None else self.best):
            self.best, self.best_epoch = value, trainer.current_epoch
            self._save(trainer, self.best_path)
        self._save(trainer, self.last_path)
        self.validated = False

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Put in the best score so far, beside what the task says."""
        checkpoint.setdefault("segexp", {}).update(best=self.best, monitor=self.monitor)

    def state_dict(self) -> dict[str, Any]:
        """Return the best score and its epoch: no path, so that a run directory can be moved."""
        return {"best": self.best, "best_epoch": self.best_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember the best score of before."""
        self.best, self.best_epoch = state_dict["best"], state_dict["best_epoch"]

    def _save(self, trainer: pl.Trainer, path: Path) -> None:
        part = path.with_suffix(".part")
        try:
            trainer.save_checkpoint(part)
            if trainer.is_global_zero:
                part.replace(path)
        finally:
            if trainer.is_global_zero:  # another process would take the file away before it is renamed
                part.unlink(missing_ok=True)
