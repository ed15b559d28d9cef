"""Calibration of probabilities: reliability bins, expected calibration error, Brier score.

One class against the rest, over all known pixels of a case, including cases without the class. Bins are summed over cases
(`pool_reliability`), and the error of a split is computed from the sums: with few pixels per bin the mean of case errors would
be too high.

Shapes: K classes, M bins, H W pixels.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from segexp.errors import ConfigError
from segexp.metrics.measures import Foreground, ForegroundMeasure
from segexp.types import IGNORE


@dataclass(frozen=True)
class Reliability:
    """Counts for the calibration; additive over cases.

    Attributes:
        pixels: (K - 1, M) int64, known pixels whose probability of the class falls into the bin.
        confidence: (K - 1, M) float64, sum of these probabilities.
        hits: (K - 1, M) int64, number of these pixels that belong to the class.
        squares: (K - 1,) float64, sum over all known pixels of (probability - 1 or 0) squared.
    """

    pixels: np.ndarray
    confidence: np.ndarray
    hits: np.ndarray
    squares: np.ndarray

    def __add__(self, other: "Reliability") -> "Reliability":
        """Return the counts of both sets of pixels."""
        return Reliability(
            self.pixels + other.pixels,
            self.confidence + other.confidence,
            self.hits + other.hits,
            self.squares + other.squares,
        )

    def ece(self) -> np.ndarray:
        """Return the calibration error (K - 1,), 0 to 1: mean over pixels of |share of hits - confidence| in their bin."""
        return _over(np.abs(self.hits - self.confidence).sum(axis=1), self.pixels.sum(axis=1))

    def brier(self) -> np.ndarray:
        """Return the Brier score (K - 1,), 0 to 1: mean squared error of the probability of the class."""
        return _over(self.squares, self.pixels.sum(axis=1))

    def curve(self) -> tuple[np.ndarray, np.ndarray]:
        """Return mean probability and share of hits of each bin, (K - 1, M) each, NaN in empty bins."""
        return _over(self.confidence, self.pixels), _over(self.hits, self.pixels)


def reliability(truth: np.ndarray, probabilities: np.ndarray, bins: int = 15) -> Reliability:
    """Count one case.

    Args:
        truth: (H, W) class index, 255 = ignore.
        probabilities: (K, H, W), each from 0 to 1.
        bins: M bins of equal width; a probability on an edge goes to the upper bin, 1 to the last.

    Returns:
        The counts of the K - 1 foreground classes.
    """
    known = truth != IGNORE
    labels = truth[known]
    return _counted(((labels == k, probabilities[k][known]) for k in range(1, len(probabilities))), bins)


def _counted(classes: Iterable[tuple[np.ndarray, np.ndarray]], bins: int) -> Reliability:
    """Count the known pixels (N,) of each class, given their membership and probability."""
    rows: list[tuple[np.ndarray, np.ndarray, np.ndarray, float]] = []
    for hit, probability in classes:
        p = probability.astype(np.float64)
        # Round to the precision of float32: 3/5 as float32 times 5 is not exactly 3.
        index = np.clip(np.floor(np.round(p * bins, 6)).astype(np.int64), 0, bins - 1)
        rows.append(
            (
                np.bincount(index, minlength=bins),
                np.bincount(index, weights=p, minlength=bins),
                np.bincount(index[hit], minlength=bins),
                float(np.square(p - hit).sum()),
            )
        )
    pixels, confidence, hits, squares = zip(*rows, strict=True)
    return Reliability(np.array(pixels), np.array(confidence), np.array(hits), np.array(squares))


def pool_reliability(cases: Iterable[Reliability]) -> Reliability:
    """Return the sum over cases.

    Raises:
        ValueError: there is no case.
    """
    total: Reliability | None = None
    for case in cases:
        total = case if total is None else total + case
    if total is None:
        raise ValueError("no case to add up")
    return total


@dataclass(frozen=True)
class Calibration(ForegroundMeasure):
    """Expected calibration error and Brier score of one case, one class against the rest.

    `ece`: Guo et al., ICML 2017, with bins of equal width, class-wise (Kull et al., NeurIPS 2019) instead of for the most
    probable class. `brier`: Brier 1950, of one class; with two classes half of the sum over both. A case without known pixels
    or probabilities is NaN.

    Attributes:
        bins: number of bins, at least 1.

    Raises:
        ConfigError: `bins` is out of its range.
    """

    columns: ClassVar[tuple[str, ...]] = ("ece", "brier")
    better: ClassVar[Mapping[str, str]] = {"ece": "low", "brier": "low"}
    needs_probabilities: ClassVar[bool] = True

    bins: int = 15

    def __post_init__(self) -> None:
        if self.bins < 1:
            raise ConfigError(f"bins of the calibration measure is {self.bins}", "1 or more", "Set bins=15")

    def score(self, found: Foreground) -> dict[str, float]:
        """Return both scores of a class; empty without probabilities."""
        if found.probability is None:
            return {}
        known = ~found.ignored
        counts = _counted([(found.truth[known], found.probability[known])], self.bins)
        return {"ece": float(counts.ece()[0]), "brier": float(counts.brier()[0])}


def _over(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return part / whole, NaN where the whole is 0."""
    ratio: np.ndarray = np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=whole > 0)
    return ratio
