"""Pictures of the validation while training runs: a panel of cases and the confusion matrix, in TensorBoard."""

from typing import Any

import numpy as np
import pytorch_lightning as pl

from segexp.callbacks.watching import Watched
from segexp.data.dataset import Prepared
from segexp.pictures import confusion_figure, panel
from segexp.preprocessing import resize_image
from segexp.types import Case, DataSpec


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
