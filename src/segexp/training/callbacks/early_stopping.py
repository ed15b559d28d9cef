"""Early stopping that a resumed run remembers."""

import math
from typing import Any

import pytorch_lightning as pl


class EarlyStopping(pl.callbacks.EarlyStopping):
    """Ends the training after `patience` validations without a better score. One that is undefined (NaN) does not count.

    Lightning restores the count of these validations, but neither the stop itself nor the patience of the current command.
    """

    def __init__(self, monitor: str, patience: int) -> None:
        super().__init__(monitor, patience=patience, mode="max", strict=False)

    def _run_early_stopping_check(self, trainer: pl.Trainer) -> None:
        if not math.isnan(float(trainer.callback_metrics.get(self.monitor, math.nan))):
            super()._run_early_stopping_check(trainer)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the count and the best score; the patience is that of the current command."""
        super().load_state_dict(state_dict | {"patience": self.patience})

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Do not train on if the training had stopped."""
        if self.wait_count < self.patience:
            return
        trainer.should_stop = True
        pl_module.print(
            f"The training had stopped early: no better {self.monitor} in {self.wait_count} validations. To train on, type "
            f"trainer.early_stopping={2 * self.wait_count}, say, or trainer.early_stopping=null beside resume=."
        )
