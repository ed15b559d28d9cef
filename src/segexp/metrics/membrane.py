"""Scores of cells separated by membranes, as in the ISBI 2012 challenge (Arganda-Carreras et al., Front. Neuroanat. 2015).

A foreground class is the membrane; cells are the 4-connected components of the other known pixels. Pixels of the true membrane
do not count (foreground-restricted). Ignored pixels do not count either, and separate cells in mask and prediction.

Border thinning: pixels of the predicted membrane are assigned to the nearest predicted cell (Euclidean) before the comparison,
so that its thickness does not matter; the challenge's own script keeps a width of one pixel.

Empty masks are treated as in `segexp.metrics.scores`: a case whose mask lacks the class is NaN. A prediction without cells is
one segment.

Shapes: K classes, H W pixels, S segments of the prediction, T cells of the ground truth.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage, sparse

from segexp.errors import ConfigError
from segexp.metrics.measures import Foreground, ForegroundMeasure
from segexp.metrics.warping import warping_error

BETTER = {
    "v_rand": "high",
    "v_info": "high",
    "rand_error": "low",
    "pixel_error": "low",
    "warping_error": "low",
    "v_rand_max": "high",
    "v_info_max": "high",
}


@dataclass(frozen=True)
class Membrane(ForegroundMeasure):
    """The membrane scores of one case.

    `v_rand`, `v_info`: see these functions; of the decided mask, after border thinning. `v_rand_max`, `v_info_max`: the maximum
    over `thresholds` of the membrane's probability, per case (the challenge selects one threshold for its whole stack, which
    can only be lower). Without thinning: `rand_error`, 1 - F-score of pairs of pixels that share a cell (the predicted membrane
    is a segment of its own); `pixel_error`, share of known pixels that differ; `warping_error`, share of known pixels that
    differ for a topological reason.

    Attributes:
        class_index: the class of the membrane, counted from 1 among the classes that are not background; None for each in turn.
        thresholds: of the membrane's probability, each between 0 and 1; empty omits the two `_max` columns.

    Raises:
        ConfigError: a value is out of its range.
    """

    class_index: int | None = None
    thresholds: Sequence[float] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)

    def __post_init__(self) -> None:
        if not all(0 < t < 1 for t in self.thresholds):
            raise ConfigError(
                f"thresholds of the membrane measure are {list(self.thresholds)}",
                "each between 0 and 1",
                "Set 'thresholds=[0.3,0.5,0.7]', or 'thresholds=[]' for the decided mask alone",
            )

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the scores."""
        return tuple(name for name in BETTER if self.thresholds or not name.endswith("_max"))

    @property
    def better(self) -> Mapping[str, str]:
        """Whether a score is better when it is "high" or "low"."""
        return {name: BETTER[name] for name in self.columns}

    @property
    def needs_probabilities(self) -> bool:
        """Whether there are thresholds."""
        return bool(self.thresholds)

    def check(self, num_classes: int, spacing: tuple[float, float] | None) -> None:
        """Require a foreground class with index `class_index`."""
        if self.class_index is not None and not 0 < self.class_index < num_classes:
            raise ConfigError(
                f"class_index of the membrane measure is {self.class_index}, and the data have {num_classes} classes",
                f"The index of a foreground class, 1 to {num_classes - 1}, was expected",
                "Set metrics.membrane.class_index to the membrane's place in data.classes",
            )

    def score(self, found: Foreground) -> dict[str, float]:
        """Return each score of a class; empty if the mask lacks it or it is not the membrane."""
        if self.class_index not in (None, found.index):
            return {}
        return self._scores(found.truth, found.prediction, found.probability, found.ignored)

    def _scores(
        self, truth: np.ndarray, prediction: np.ndarray, chance: np.ndarray | None, ignored: np.ndarray
    ) -> dict[str, float]:
        """Return the scores of a membrane (H, W) bool and its probability; empty without a true membrane or cell."""
        cells = label_cells(truth | ignored)
        if not truth.any() or not cells.any():
            return {}
        there, found, known = ~(truth | ignored), ~(prediction | ignored), float(np.count_nonzero(~ignored))
        segments = label_cells(~found)
        thinned = overlaps(cells, thin_borders(segments))
        scores = {
            "v_rand": v_rand(thinned),
            "v_info": v_info(thinned),
            "rand_error": rand_error(overlaps(cells, segments)),
            "pixel_error": float(np.count_nonzero(there != found) / known),
            "warping_error": warping_error(there, found) / known,
        }
        if chance is not None and self.thresholds:
            tables = [overlaps(cells, thin_borders(label_cells((chance > t) | ignored))) for t in self.thresholds]
            scores |= {"v_rand_max": max(map(v_rand, tables)), "v_info_max": max(map(v_info, tables))}
        return scores


def label_cells(membrane: np.ndarray) -> np.ndarray:
    """Return the cells separated by a membrane (H, W) bool: labels (H, W) int32 from 1 on, 0 on the membrane."""
    labels: np.ndarray = cv2.connectedComponents((~membrane).astype(np.uint8), connectivity=4)[1]
    return labels


def thin_borders(labels: np.ndarray) -> np.ndarray:
    """Assign each 0 of labels (H, W) to the nearest label; all 1 if there are none."""
    if not labels.any():
        return np.ones_like(labels)
    nearest = ndimage.distance_transform_edt(labels == 0, return_distances=False, return_indices=True)
    grown: np.ndarray = labels[tuple(nearest)]
    return grown


def overlaps(cells: np.ndarray, segments: np.ndarray) -> sparse.csr_array:
    """Return the number of pixels shared by each cell and segment, sparse (T + 1, S + 1), without pixels of cell 0."""
    counted = cells > 0
    pairs = (cells[counted], segments[counted])
    return sparse.coo_array((np.ones(len(pairs[0])), pairs)).tocsr()


def v_rand(table: sparse.csr_array) -> float:
    """Return the Rand F-score of a table of overlaps, 0 to 1: sum p_ij^2 / (sum s_i^2 / 2 + sum t_j^2 / 2)."""
    return float(2 * np.square(table.data).sum() / sum(np.square(table.sum(axis=axis)).sum() for axis in (0, 1)))


def v_info(table: sparse.csr_array) -> float:
    """Return the information F-score of a table of overlaps: I(S; T) / (H(S) / 2 + H(T) / 2), 0 to 1; one cell in both is 1."""
    apart = sum(_entropy(table.sum(axis=axis)) for axis in (0, 1))
    return 1.0 if apart == 0 else max(0.0, 2 * (1 - _entropy(table.data) / apart))


def rand_error(table: sparse.csr_array) -> float:
    """Return 1 - F-score of the pairs of pixels that share a cell, 0 to 1, from a table of overlaps."""
    pixels = table.sum()
    same = np.square(table.data).sum() - pixels
    either = sum(np.square(table.sum(axis=axis)).sum() - pixels for axis in (0, 1))
    return 0.0 if either == 0 else float(1 - 2 * same / either)


def _entropy(counts: np.ndarray) -> float:
    """Return the entropy of a distribution in nats, from counts."""
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log(share)).sum())
