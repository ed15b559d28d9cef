"""What speaks for a class in cases of the validation while training runs, in TensorBoard."""

from typing import Any

import pytorch_lightning as pl

from segexp.callbacks.averaging import as_scored
from segexp.callbacks.watching import Watched
from segexp.explaining.explainer import Explainer
from segexp.explaining.watching import explain_cases
from segexp.pictures import explanation


class Explanations(pl.Callback):
    """Logs `validation/explained` as an image every few epochs: Seg-Grad-CAM of the weights that are scored.

    Those are the average, where one is taken. It changes no weight, statistic, mode or random state.
    """

    def __init__(self, explainer: Explainer, cases: int, every: int) -> None:
        self.explainer, self.watched = explainer, Watched(cases, every)

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
        self.watched.keep(trainer, outputs)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Explain, draw and log."""
        predicted, boards = self.watched.taken(trainer)
        if not boards:
            return
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        with as_scored(trainer, pl_module):
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
        return self.watched.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self.watched.load_state_dict(state_dict)
