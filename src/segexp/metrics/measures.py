"""Interface of case measures: callables on mask and prediction with fixed column names.

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
    """Additional scores of one case; see `segexp.metrics.boundary` for an example."""

    @property
    def columns(self) -> Sequence[str]:
        """The names of its scores: columns of `cases.csv`."""

    @property
    def better(self) -> Mapping[str, str]:
        """Whether "high" or "low" is better, by score."""

    @property
    def needs_probabilities(self) -> bool:
        """Whether it uses probabilities."""

    def __call__(
        self,
        truth: np.ndarray,
        prediction: np.ndarray,
        probabilities: np.ndarray | None,
        num_classes: int,
        spacing: tuple[float, float] | None,
    ) -> Mapping[str, Sequence[float]]:
        """Return for each column the values of the K - 1 foreground classes, NaN if undefined.

        Args:
            truth: (H, W) uint8 class index, 255 = ignore.
            prediction: (H, W) uint8 class index.
            probabilities: (K, H, W) float32, or None.
            num_classes: K.
            spacing: pixel size (row, column), or None if unknown.
        """


@dataclass(frozen=True)
class Foreground:
    """One foreground class of one case.

    Attributes:
        index: of the class, 1 to K - 1.
        truth: (H, W) bool.
        prediction: (H, W) bool, without ignored pixels.
        probability: (H, W) of the class, 0 to 1; or None.
        ignored: (H, W) bool.
        spacing: pixel size (row, column), or None if unknown.
    """

    index: int
    truth: np.ndarray
    prediction: np.ndarray
    probability: np.ndarray | None
    ignored: np.ndarray
    spacing: tuple[float, float] | None


class ForegroundMeasure(ABC):
    """A measure of single foreground classes; subclasses define `columns`, `better` and `score`."""

    @property
    @abstractmethod
    def columns(self) -> Sequence[str]:
        """The names of its scores."""

    @abstractmethod
    def score(self, found: Foreground) -> Mapping[str, float]:
        """Return the scores of one class by column; missing ones are NaN."""

    def check(self, num_classes: int, spacing: tuple[float, float] | None) -> None:  # noqa: B027 - most take any data
        """Validate the data; called before the classes of a case are scored."""

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
    """Test each measure on a blank image, to detect errors before the training.

    Args:
        measures: by the name in the configuration.
        num_classes: K.
        spacing: pixel size (row, column) of the image.

    Raises:
        ConfigError: duplicate or missing columns; or raised by the measure.
        DataError: raised by the measure.
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
    """Test each measure on a blank image with each spacing of the data.

    Args:
        measures: to test.
        spacings: pixel size (row, column) by case, None if unknown.
        num_classes: K.

    Raises:
        DataError: the spacing of a case is missing or invalid for a measure.
    """
    cases = {spacing: case for case, spacing in reversed(list(spacings.items()))}
    for spacing, case in cases.items():
        for measure in measures:
            try:
                _tried(measure, num_classes, spacing)
            except DataError as error:
                raise DataError(f"Case {case} cannot be measured: {error.found}", error.expected, error.do) from error


def _tried(measure: Measure, num_classes: int, spacing: tuple[float, float] | None) -> Mapping[str, Sequence[float]]:
    """Return the values of a measure for a blank image."""
    blank, even = np.zeros((8, 8), np.uint8), np.full((num_classes, 8, 8), 1 / num_classes, np.float32)
    return measure(blank, blank, even, num_classes, spacing)
