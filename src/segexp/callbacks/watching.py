"""The validation cases that pictures are made of while training runs: which, what was predicted of them, when it is due."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch


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
