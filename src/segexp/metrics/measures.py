"""What a measure of one case is: a small object that is called with truth and prediction, its columns known beforehand.

Legend: N cases, K classes, H W pixels.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from segexp.errors import ConfigError, DataError
from segexp.metrics.cases import COLUMNS


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
            probabilities: (K, H, W) float32, or None where nobody has them.
            num_classes: K.
            spacing: size of a pixel (row, column), or None where the data give none.
        """


def check_measures(measures: Mapping[str, Measure], num_classes: int, spacing: tuple[float, float] | None = (1.0, 1.0)) -> None:
    """Try each measure on a picture of nothing, so that what it needs and does not get is found before any training.

    Args:
        measures: by the name in the configuration.
        num_classes: K.
        spacing: size of a pixel (row, column) of that picture.

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
    """Try each measure on a picture of nothing in each spacing that the data have.

    Args:
        measures: of each case.
        spacings: size of a pixel (row, column) by case, None where it is not known.
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
    """Return what a measure gives for a picture of nothing."""
    blank, even = np.zeros((8, 8), np.uint8), np.full((num_classes, 8, 8), 1 / num_classes, np.float32)
    return measure(blank, blank, even, num_classes, spacing)
