"""What speaks for a class in cases of the validation while training runs, in TensorBoard."""

from typing import Any

import numpy as np
import pytorch_lightning as pl

from segexp.callbacks.panels import watched
from segexp.explaining.explainer import Explainer
from segexp.explaining.watching import explain_cases
from segexp.pictures import explanation


class Explanations(pl.Callback):
    """Logs `validation/explained` as an image every few epochs: Seg-Grad-CAM of the weights as they are.

    It changes no weight, statistic, mode or random state.
    """

    def __init__(self, explainer: Explainer, cases: int, every: int) -> None:
        self.explainer, self.cases, self.every = explainer, cases, every
        self.predicted: dict[int, np.ndarray] = {}
        self.rounds = 0

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,  # the predicted classes (H, W) by case
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the predictions of the watched cases."""
        wanted = watched(len(trainer.datamodule.members("val")), self.cases)  # type: ignore[attr-defined]
        self.predicted |= {n: classes.cpu().numpy() for n, classes in outputs.items() if n in wanted}

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Explain, draw and log."""
        predicted, self.predicted = self.predicted, {}
        if trainer.sanity_checking:
            return
        last = trainer.should_stop or trainer.current_epoch == (trainer.max_epochs or 0) - 1
        due, self.rounds = last or self.rounds % self.every == 0, self.rounds + 1
        boards = [log.experiment for log in trainer.loggers if isinstance(log, pl.loggers.TensorBoardLogger)]
        if not due or not boards or not trainer.is_global_zero:
            return
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        cases = list(explain_cases(self.explainer, data.scoring_set("val"), data.cases_of("val"), predicted))
        if not cases:
            return
        spec, name = data.spec, data.spec.classes[self.explainer.target]
        outline = f"predicted as {name}, or what the title says"
        sheet = explanation(
            cases, spec.palette, spec.classes, name, "share of the highest", outline, overlapping=spec.overlapping
        )
        for board in boards:
            board.add_image("validation/explained", sheet, trainer.global_step, dataformats="HWC")

    def state_dict(self) -> dict[str, Any]:
        """Return how many validations have passed."""
        return {"rounds": self.rounds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self.rounds = state_dict["rounds"]
