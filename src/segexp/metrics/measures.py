"""What a measure of one case is: a small object that is called with truth and prediction, its columns known beforehand.

Shapes: N cases, K classes, H W pixels.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from segexp.errors import ConfigError, DataError
from segexp.metrics.cases import COLUMNS
from segexp.types import IGNORE


class Measure(Protocol):
    """The scores of one case beside those of its counts; see `segexp.metrics.boundary` for one."""

    @property
    def columns(self) -> Sequence[str]:
        """The names of its scores: columns of `cases.csv`."""

    @property
    def better(self) -> Mapping[str, str]:
        """Whether a score is better when it is "high" or "low"."""

    @property
    def needs_probabilities(self) -> bool:
        """Whether it looks at the probabilities."""

    def __call__(
        self,
        truth: np.ndarray,
        prediction: np.ndarray,
        probabilities: np.ndarray | None,
        num_classes: int,
        spacing: tuple[float, float] | None,
    ) -> Mapping[str, Sequence[float]]:
        """Return for each column the values of the K - 1 foreground classes, NaN where one is not defined.

        Args:
            truth: (H, W) uint8 class index, 255 = ignore.
            prediction: (H, W) uint8 class index.
            probabilities: (K, H, W) float32, or None if nobody has them.
            num_classes: K.
            spacing: size of a pixel (row, column), or None if the data give none.
        """


@dataclass(frozen=True)
class Foreground:
    """One foreground class of one case.

    Attributes:
        index: of the class, 1 to K - 1.
        truth: (H, W) bool.
        prediction: (H, W) bool; no ignored pixel is in it.
        probability: (H, W) of the class, 0 to 1; None if nobody has it.
        ignored: (H, W) bool, pixels that count nowhere.
        spacing: size of a pixel (row, column), or None if the data give none.
    """

    index: int
    truth: np.ndarray
    prediction: np.ndarray
    probability: np.ndarray | None
    ignored: np.ndarray
    spacing: tuple[float, float] | None


class ForegroundMeasure(ABC):
    """A measure that looks at one foreground class at a time; a class of its own has `columns`, `better` and `score`."""

    @property
    @abstractmethod
    def columns(self) -> Sequence[str]:
        """The names of its scores."""

    @abstractmethod
    def score(self, found: Foreground) -> Mapping[str, float]:
        """Return the scores of one class by column; one that is left out is NaN."""

    def check(self, num_classes: int, spacing: tuple[float, float] | None) -> None:  # noqa: B027 - most take any data
        """Refuse data that do not fit; called before the classes of a case are scored."""

    def __call__(
        self,
        truth: np.ndarray,
        prediction: np.ndarray,
        probabilities: np.ndarray | None,
        num_classes: int,
        spacing: tuple[float, float] | None,
    ) -> dict[str, list[float]]:
        """Return each score for the K - 1 foreground classes; see `Measure`.

        Raises:
            ConfigError: the classes do not fit.
            DataError: the spacing does not fit.
        """
        self.check(num_classes, spacing)
        ignored = truth == IGNORE
        rows = []
        for k in range(1, num_classes):
            chance = None if probabilities is None else probabilities[k]
            rows.append(self.score(Foreground(k, truth == k, (prediction == k) & ~ignored, chance, ignored, spacing)))
        return {name: [row.get(name, math.nan) for row in rows] for name in self.columns}


def check_measures(measures: Mapping[str, Measure], num_classes: int, spacing: tuple[float, float] | None = (1.0, 1.0)) -> None:
    """Try each measure on an image of nothing, so that what it needs and does not get is found before any training.

    Args:
        measures: by the name in the configuration.
        num_classes: K.
        spacing: size of a pixel (row, column) of that image.

    Raises:
        ConfigError: two columns of one name, or a measure that does not give its columns; or what the measure itself raises.
        DataError: what the measure itself raises.
    """
    homes = dict.fromkeys(COLUMNS, "cases.csv itself")
    for name, measure in measures.items():
        for column in measure.columns:
            if column in homes:
                raise ConfigError(
                    f"metrics.{name} gives the column {column!r}, which {homes[column]} has already",
                    "Every column of cases.csv has a name of its own",
                    f"Leave one of the two out: '~metrics.{name}'",
                )
            homes[column] = f"metrics.{name}"
        lengths = {column: len(values) for column, values in _tried(measure, num_classes, spacing).items()}
        if lengths != dict.fromkeys(measure.columns, num_classes - 1):
            raise ConfigError(
                f"metrics.{name} gives {lengths or 'nothing'} (values by column)",
                f"Expected {num_classes - 1} per case, one for each foreground class, in {', '.join(measure.columns)}",
                f"Mend the measure, or leave it out: '~metrics.{name}'",
            )


def check_spacings(measures: Sequence[Measure], spacings: Mapping[str, tuple[float, float] | None], num_classes: int) -> None:
    """Try each measure on an image of nothing in each spacing that the data have.

    Args:
        measures: of each case.
        spacings: size of a pixel (row, column) by case, None if it is not known.
        num_classes: K.

    Raises:
        DataError: a measure needs a spacing that a case does not have, or has wrong; the case is named.
    """
    cases = {spacing: case for case, spacing in reversed(list(spacings.items()))}
    for spacing, case in cases.items():
        for measure in measures:
            try:
                _tried(measure, num_classes, spacing)
            except DataError as error:
                raise DataError(f"Case {case} cannot be measured: {error.found}", error.expected, error.do) from error


def _tried(measure: Measure, num_classes: int, spacing: tuple[float, float] | None) -> Mapping[str, Sequence[float]]:
    """Return what a measure gives for an image of nothing."""
    blank, even = np.zeros((8, 8), np.uint8), np.full((num_classes, 8, 8), 1 / num_classes, np.float32)
    return measure(blank, blank, even, num_classes, spacing)
