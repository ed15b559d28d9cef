"""Log validation images to TensorBoard: a panel of cases, the confusion matrix and explanations."""

from typing import Any

import numpy as np
import pytorch_lightning as pl

from segexp.data.dataset import ScoringCases
from segexp.data.preprocessing import resize_image
from segexp.explainability.cases import explain_cases
from segexp.explainability.explainer import Explainer
from segexp.training.callbacks.weight_averaging import averaged_weights
from segexp.types import Case, DataSpec
from segexp.visualization import confusion_figure, explanation_sheet, panel


def watched_positions(count: int, wanted: int) -> list[int]:
    """Return `wanted` positions spread evenly over `count` cases."""
    return sorted({int(n) for n in np.linspace(0, count - 1, min(wanted, count))}) if count else []


class WatchedCases(pl.Callback):
    """Keeps the predictions of a few cases during a validation, and counts the validations.

    Attributes:
        predicted: classes (H, W) uint8 by position.
        rounds: validations so far.
    """

    def __init__(self, cases: int, every: int) -> None:
        """Watch `cases` cases in every `every`-th validation and in the last one."""
        self.cases, self.every = cases, every
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
        wanted = watched_positions(len(trainer.datamodule.members("val")), self.cases)  # type: ignore[attr-defined]
        self.predicted |= {n: classes.cpu().numpy() for n, classes in outputs.items() if n in wanted}

    def taken(self, trainer: pl.Trainer) -> tuple[dict[int, np.ndarray], list[Any]]:
        """Return the kept predictions and the TensorBoards to log them to; no board if this validation is not logged."""
        predicted, self.predicted = self.predicted, {}
        if trainer.sanity_checking:
            return predicted, []
        last = trainer.should_stop or trainer.current_epoch == (trainer.max_epochs or 0) - 1
        due, self.rounds = last or self.rounds % self.every == 0, self.rounds + 1
        boards = [log.experiment for log in trainer.loggers if isinstance(log, pl.loggers.TensorBoardLogger)]
        return predicted, boards if due and trainer.is_global_zero else []

    def state_dict(self) -> dict[str, Any]:
        """Return the number of validations."""
        return {"rounds": self.rounds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the number of validations."""
        self.rounds = state_dict["rounds"]


def draw_panel(cases: ScoringCases, names: list[Case], predicted: dict[int, np.ndarray], spec: DataSpec) -> np.ndarray:
    """Return a panel (H, W, 3) uint8: input, mask, prediction and errors of each predicted case."""
    rows = []
    for position, prediction in sorted(predicted.items()):
        picture = cases.store[cases.members[position]]
        image = resize_image(picture.image, (picture.mask.shape[0], picture.mask.shape[1]))
        rows.append((image, picture.mask, prediction, names[position].id))
    return panel(rows, spec.palette, spec.classes, overlapping=spec.overlapping, background=spec.background)


class Panels(WatchedCases):
    """Logs `validation/cases` and `validation/confusion` as images every few epochs."""

    def __init__(self, cases: int, every: int, confusion: bool = True) -> None:
        super().__init__(cases, every)
        self.confusion = confusion

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw and log."""
        predicted, boards = self.taken(trainer)
        if not boards:
            return
        module: Any = pl_module
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        for board in boards:
            if predicted:
                sheet = draw_panel(data.scoring_set("val"), data.cases_of("val"), predicted, data.spec)
                board.add_image("validation/cases", sheet, trainer.global_step, dataformats="HWC")
            if self.confusion:
                figure = confusion_figure(module.confusions.sum(axis=0), data.spec.classes, data.spec.overlapping)
                board.add_image("validation/confusion", figure, trainer.global_step, dataformats="HWC")


class Explanations(WatchedCases):
    """Logs `validation/explained` as an image every few epochs: Seg-Grad-CAM of the (averaged) weights that are scored.

    It does not change any weight, statistic, mode or random state.
    """

    def __init__(self, explainer: Explainer, cases: int, every: int) -> None:
        super().__init__(cases, every)
        self.explainer = explainer

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Explain, draw and log."""
        predicted, boards = self.taken(trainer)
        if not boards:
            return
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        with averaged_weights(trainer, pl_module):
            cases = list(explain_cases(self.explainer, data.scoring_set("val"), data.cases_of("val"), predicted))
        if not cases:
            return
        spec, name = data.spec, data.spec.classes[self.explainer.target]
        outline = f"predicted as {name}, or what the title says"
        sheet = explanation_sheet(
            cases,
            spec.palette,
            spec.classes,
            name,
            "share of the highest",
            outline,
            overlapping=spec.overlapping,
            background=spec.background,
        )
        for board in boards:
            board.add_image("validation/explained", sheet, trainer.global_step, dataformats="HWC")
