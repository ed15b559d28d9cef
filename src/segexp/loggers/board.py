"""What TensorBoard is told: curves, the charts that combine them, one row in the table of runs."""

import re
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl

from segexp.types import DataSpec


class Board(pl.loggers.TensorBoardLogger):
    """TensorBoard without the curve of epochs over steps and without an empty file of hyper-parameters."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log all but the epoch."""
        super().log_metrics({name: value for name, value in metrics.items() if name != "epoch"}, step)

    def save(self) -> None:
        """Write what is waiting."""
        self.experiment.flush()

    def log_table(self, settings: dict[str, Any], scores: dict[str, float], step: int) -> None:
        """Write one row of the HParams table.

        The list of its columns is left for TensorBoard to make from the rows at hand: it then puts those that differ first.
        """
        from torch.utils.tensorboard.summary import hparams

        self.log_metrics(scores, step)
        _, start, end = hparams(settings, scores)  # type: ignore[no-untyped-call]
        writer = self.experiment._get_file_writer()
        writer.add_summary(start)
        writer.add_summary(end)
        self.finalize("success")


def charts(spec: DataSpec) -> dict[str, dict[str, list[Any]]]:
    """Return the layout of TensorBoard's custom scalars; with more than one foreground class their mean is a curve too."""
    classes = [f"val/dice/{name}" for name in spec.classes[1:]]
    dice = ["val/dice", *classes] if len(classes) > 1 else classes
    return {
        "Loss": {"training and validation": ["Multiline", [exactly(tag) for tag in ("loss/train", "loss/val")]]},
        "Dice": {"per class": ["Multiline", [exactly(tag) for tag in dice]]},
    }


def exactly(tag: str) -> str:
    """Return the expression that fits one tag alone: TensorBoard takes `val/dice` for the start of others too."""
    return f"^{re.escape(tag)}$"
