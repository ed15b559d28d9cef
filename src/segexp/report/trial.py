"""The parts of check.html that are there when asked for: the trial fit and the proposed configuration."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from segexp.report.charts import curves
from segexp.report.page import Html, charts, code, details, figure, notice, paragraph, picture, section, table

Point = tuple[int, float, float, float]
"""Steps done, seconds, training loss, Dice."""


def fit_section(words: str, learned: bool, points: Sequence[Point], drawn: np.ndarray[Any, np.dtype[Any]]) -> Html:
    """Return what came out of letting the network learn a few pictures by heart.

    Args:
        words: the verdict.
        learned: whether learning works.
        points: the course of the training, at least one.
        drawn: (H, W, 3) uint8: input, truth, prediction and errors.
    """
    steps, _, losses, dice = zip(*points, strict=True)
    chart = curves([("Dice", steps, dice), ("loss", steps, losses)], "steps", "Dice and loss over the steps")
    rows = [(str(step), f"{seconds:.0f}", f"{loss:.4f}", f"{score:.4f}") for step, seconds, loss, score in points]
    return section(
        "Trial fit",
        notice("good" if learned else "error", words),
        charts([chart]),
        details("Course of the training", table(("step", "seconds", "loss", "Dice"), rows, numbers=range(4))),
        figure(picture(drawn, "The pictures, their truth, the prediction and its errors", quality=None)),
    )


def proposal_section(text: str, command: str) -> Html:
    """Return the proposed configuration and how to train with it."""
    return section(
        "Proposed configuration",
        paragraph("An ordinary file to correct. To train with it:"),
        code(command),
        code(text, file=True),
    )
