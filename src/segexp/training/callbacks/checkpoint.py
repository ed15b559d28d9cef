"""Checkpoint callback: `best.ckpt` and `last.ckpt`, written atomically and self-describing."""

import math
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.plugins.io import TorchCheckpointIO

from segexp.checkpoint.files import read_checkpoint, write_checkpoint


class CheckedCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints atomically beside their final name, with a checksum that is compared on reading."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint; its folder is created."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_checkpoint(Path(path), checkpoint)

    def load_checkpoint(self, path: str | Path, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Return the values of a checkpoint on the CPU.

        Raises:
            CheckpointError: the file is damaged, contains code, or was not written by segexp.
        """
        return read_checkpoint(Path(path))


class Checkpoints(pl.callbacks.Checkpoint):
    """Saves `last.ckpt` at the start and after every epoch, `best.ckpt` whenever the monitored score improves.

    With `CheckedCheckpointIO` as a plugin of the trainer an interruption keeps the previous file.
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
            trainer.save_checkpoint(self.last_path)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remember that this epoch was validated."""
        self.validated = not trainer.sanity_checking

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the last and, if improved, the best checkpoint."""
        value = float(trainer.callback_metrics.get(self.monitor, math.nan))
        if self.validated and value > (-math.inf if self.best is None else self.best):
            self.best, self.best_epoch = value, trainer.current_epoch
            trainer.save_checkpoint(self.best_path)
        trainer.save_checkpoint(self.last_path)
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
