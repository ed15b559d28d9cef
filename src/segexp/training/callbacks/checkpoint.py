"""Checkpoint callback: `best.ckpt` and `last.ckpt`, written atomically and self-describing."""

import math
import shutil
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.plugins.io import TorchCheckpointIO

from segexp.atomic import atomic_write
from segexp.checkpoint.content import find_mismatch, unusable_state
from segexp.checkpoint.files import read_checkpoint, write_checkpoint

VALIDATED = ("val/", "loss/val")
"""Start of the names of validation scores, which are logged at the end of the validation."""


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

    A score that is undefined (NaN) is no improvement. If it is undefined in every epoch, `best.ckpt` is the last state.

    With `CheckedCheckpointIO` as a plugin of the trainer an interruption keeps the previous file.
    """

    def __init__(self, folder: Path, monitor: str) -> None:
        self.folder, self.monitor = folder, monitor
        self.best: float | None = None
        self.best_epoch: int | None = None
        self.validated = False
        self.logged: dict[str, Any] = {}

    @property
    def last_path(self) -> Path:
        """The state after the last complete epoch."""
        return self.folder / "last.ckpt"

    @property
    def best_path(self) -> Path:
        """The state with the best validation score."""
        return self.folder / "best.ckpt"

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the training values of the epoch before a resume again: Lightning writes them after the checkpoint."""
        for logger in trainer.loggers if self.logged else ():
            if isinstance(logger, pl.loggers.CSVLogger):
                logger.log_metrics(self.logged, step=int(self.logged["step"]))
                logger.save()

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
        scores = {name: float(value) for name, value in trainer.callback_metrics.items() if not name.startswith(VALIDATED)}
        self.logged = scores | {"epoch": trainer.current_epoch, "step": trainer.global_step - 1}
        trainer.save_checkpoint(self.last_path)
        self.validated = False

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the last weights where no epoch had a score."""
        if self.best is None and trainer.is_global_zero and self.last_path.is_file():
            with atomic_write(self.best_path) as part:
                shutil.copyfile(self.last_path, part)

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the best score so far."""
        checkpoint.setdefault("segexp", {}).update(best=self.best, monitor=self.monitor)

    def on_load_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Require the state of the loops and callbacks to be whole: Lightning would fail over it much later.

        Raises:
            CheckpointError: naming the entry that is missing or of another kind.
        """
        states = {each.state_key: each.state_dict() for each in trainer.callbacks}  # type: ignore[attr-defined]
        stored = checkpoint.get("callbacks", {})
        expected = {
            "loops": {"fit_loop": trainer.fit_loop.state_dict()},
            "callbacks": {k: v for k, v in states.items() if k in stored},
        }
        if wrong := find_mismatch(checkpoint, expected, "entries"):
            raise unusable_state(self.last_path, wrong.partition(".")[2])

    def state_dict(self) -> dict[str, Any]:
        """Return the best score, its epoch, and the values of the last epoch; no path, so that a run directory can be moved."""
        return {"best": self.best, "best_epoch": self.best_epoch, "logged": self.logged}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state."""
        best, epoch = state_dict["best"], state_dict["best_epoch"]
        self.best, self.best_epoch = None if best is None else float(best), None if epoch is None else int(epoch)
        self.logged = dict(state_dict.get("logged", {}))
