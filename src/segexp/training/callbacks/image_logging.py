"""Pictures of the validation while training runs: a panel of cases and the confusion matrix, in TensorBoard."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

from segexp.data.dataset import Prepared
from segexp.data.preprocessing import resize_image
from segexp.explainability.cases import explain_cases
from segexp.explainability.explainer import Explainer
from segexp.training.callbacks.weight_averaging import averaged_weights
from segexp.types import Case, DataSpec
from segexp.visualization import confusion_figure, explanation, panel


def watched(count: int, wanted: int) -> list[int]:
    """Return `wanted` positions spread evenly over `count` cases."""
    return sorted({int(n) for n in np.linspace(0, count - 1, min(wanted, count))}) if count else []


class Watched:
    """Keeps the predictions of a few cases from one validation to its end, and counts the validations.

    Attributes:
        predicted: classes (H, W) uint8 by position.
        rounds: validations so far.
    """

    def __init__(self, cases: int, every: int) -> None:
        """Watch so many cases, in every so many validations, and in the last one."""
        self.cases, self.every = cases, every
        self.predicted: dict[int, np.ndarray] = {}
        self.rounds = 0

    def keep(self, trainer: pl.Trainer, outputs: Mapping[int, torch.Tensor]) -> None:
        """Keep what was predicted (H, W) of the watched cases."""
        wanted = watched(len(trainer.datamodule.members("val")), self.cases)  # type: ignore[attr-defined]
        self.predicted |= {n: classes.cpu().numpy() for n, classes in outputs.items() if n in wanted}

    def taken(self, trainer: pl.Trainer) -> tuple[dict[int, np.ndarray], list[Any]]:
        """Return what was kept of this validation and the TensorBoards to show it in; none where nothing is due."""
        predicted, self.predicted = self.predicted, {}
        if trainer.sanity_checking:
            return predicted, []
        last = trainer.should_stop or trainer.current_epoch == (trainer.max_epochs or 0) - 1
        due, self.rounds = last or self.rounds % self.every == 0, self.rounds + 1
        boards = [log.experiment for log in trainer.loggers if isinstance(log, pl.loggers.TensorBoardLogger)]
        return predicted, boards if due and trainer.is_global_zero else []

    def state_dict(self) -> dict[str, Any]:
        """Return how many validations have passed."""
        return {"rounds": self.rounds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self.rounds = state_dict["rounds"]


def draw(cases: Prepared, names: list[Case], predicted: dict[int, np.ndarray], spec: DataSpec) -> np.ndarray:
    """Return a panel (H, W, 3) uint8: input, truth, prediction and errors of each predicted case."""
    rows = []
    for position, prediction in sorted(predicted.items()):
        picture = cases.store[cases.members[position]]
        image = resize_image(picture.image, (picture.mask.shape[0], picture.mask.shape[1]))
        rows.append((image, picture.mask, prediction, names[position].id))
    return panel(rows, spec.palette, spec.classes, overlapping=spec.overlapping)


class Panels(pl.Callback):
    """Logs `validation/cases` and `validation/confusion` as images every few epochs."""

    def __init__(self, cases: int, every: int, confusion: bool = True) -> None:
        self.watched, self.confusion = Watched(cases, every), confusion

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
        """Draw and log."""
        predicted, boards = self.watched.taken(trainer)
        if not boards:
            return
        module: Any = pl_module
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        for board in boards:
            if predicted:
                sheet = draw(data.scoring_set("val"), data.cases_of("val"), predicted, data.spec)
                board.add_image("validation/cases", sheet, trainer.global_step, dataformats="HWC")
            if self.confusion:
                figure = confusion_figure(module.confusions.sum(axis=0), data.spec.classes, data.spec.overlapping)
                board.add_image("validation/confusion", figure, trainer.global_step, dataformats="HWC")

    def state_dict(self) -> dict[str, Any]:
        """Return how many validations have passed."""
        return self.watched.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self.watched.load_state_dict(state_dict)


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
        with averaged_weights(trainer, pl_module):
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
