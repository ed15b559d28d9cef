"""The score of the ISIC 2018 lesion boundary task: a Jaccard index that is 0 below a threshold."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from segexp.errors import ConfigError
from segexp.metrics.measures import Foreground, ForegroundMeasure
from segexp.metrics.scores import scores_of_counts


@dataclass(frozen=True)
class ThresholdedJaccard(ForegroundMeasure):
    """The IoU of one case if it reaches the threshold, else 0 (Codella et al., "Skin Lesion Analysis", ISIC 2018).

    The challenge counts a segmentation below 0.65 as a failure. Empty masks are NaN, as in `segexp.metrics.scores`.

    Attributes:
        threshold: minimum IoU, from 0 to 1.

    Raises:
        ConfigError: the threshold is out of its range.
    """

    columns: ClassVar[tuple[str, ...]] = ("jaccard_thresholded",)
    better: ClassVar[Mapping[str, str]] = {"jaccard_thresholded": "high"}
    needs_probabilities: ClassVar[bool] = False

    threshold: float = 0.65

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise ConfigError(f"threshold of the thresholded Jaccard is {self.threshold}", "0 to 1", "Set threshold=0.65")

    def score(self, found: Foreground) -> dict[str, float]:
        """Return the score of a class, NaN if the mask lacks it."""
        there, told = found.truth, found.prediction
        counts = (np.array(np.count_nonzero(pixels)) for pixels in (there & told, told & ~there, there & ~told))
        iou = float(scores_of_counts(*counts).iou)
        return {"jaccard_thresholded": 0.0 if iou < self.threshold else iou}  # NaN is kept
