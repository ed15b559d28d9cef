"""Confusion matrices of single cases, for exclusive and overlapping classes.

Shapes: K classes, H W pixels.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from segexp.types import IGNORE


def confusion(prediction: torch.Tensor, truth: torch.Tensor, classes: int) -> torch.Tensor:
    """Return the confusion matrix (K, K) int64 of one case: rows are the ground truth, columns the prediction.

    Args:
        prediction: (H, W) class index, integer.
        truth: (H, W) class index, integer; 255 = ignore.
        classes: K.
    """
    valid = truth != IGNORE
    pairs = truth[valid].long() * classes + prediction[valid].long()
    return torch.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def overlapping_confusion(prediction: torch.Tensor, truth: torch.Tensor, classes: int) -> torch.Tensor:
    """Return the counts of each foreground class against its absence as one matrix (K, K) int64.

    Each known pixel counts once for each foreground class k: (k, k) are its true positives, (0, k) the false positives, (k, 0)
    the false negatives, and (0, 0) the true negatives summed over the classes; entries between two foreground classes are 0.
    All scores keep their usual formulas; the accuracy is the share of correct binary decisions, and with one foreground class
    the matrix is that of two exclusive classes.

    Args:
        prediction: (H, W) uint8 bit sets, see `segexp.data.labels.modes`.
        truth: (H, W) uint8 bit sets; 255 = ignore.
        classes: K.
    """
    valid = truth != IGNORE
    found, real = prediction[valid].long(), truth[valid].long()
    matrix = torch.zeros(classes, classes, dtype=torch.long, device=truth.device)
    for k in range(1, classes):
        pairs = (real >> (k - 1) & 1) * 2 + (found >> (k - 1) & 1)
        corners = torch.bincount(pairs, minlength=4)
        matrix[0, 0] += corners[0]
        matrix[0, k], matrix[k, 0], matrix[k, k] = corners[1:]
    return matrix


def split_matrix(matrix: np.ndarray) -> np.ndarray:
    """Split an overlapping matrix (K, K) by foreground class: (K - 1, 2, 2), rows truth, columns prediction."""
    foreground = len(matrix) - 1
    known = matrix.sum() // foreground
    missed, false, found = matrix[1:, 0], matrix[0, 1:], matrix.diagonal()[1:]
    return np.stack([known - missed - false - found, false, missed, found], axis=1).reshape(foreground, 2, 2)


Count = Callable[[torch.Tensor, torch.Tensor, int], torch.Tensor]
"""Prediction (H, W), truth (H, W) and K to the confusion matrix (K, K)."""


class CaseCounts(Metric):
    """Collects one confusion matrix per case, across all processes, independent of the batch size.

    `compute` returns the N positions and confusions (N, K, K), sorted by position; repeated cases count once.
    """

    full_state_update = False
    indices: list[torch.Tensor]
    matrices: list[torch.Tensor]

    def __init__(self, classes: int, count: Count = confusion, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.classes, self.count = classes, count
        self.add_state("indices", default=[], dist_reduce_fx="cat")
        self.add_state("matrices", default=[], dist_reduce_fx="cat")
        self._hold(-1, torch.zeros(classes, classes, dtype=torch.long))

    def reset(self) -> None:
        """Remove all cases."""
        super().reset()
        self._hold(-1, torch.zeros(self.classes, self.classes, dtype=torch.long))

    def update(self, index: int, prediction: torch.Tensor, truth: torch.Tensor) -> None:
        """Count one case: its position in the split, prediction (H, W) and truth (H, W)."""
        self._hold(index, self.count(prediction, truth, self.classes))

    def compute(self) -> tuple[list[int], torch.Tensor]:
        """Return N positions and confusion matrices (N, K, K), on the CPU."""
        indices, matrices = dim_zero_cat(self.indices).cpu(), dim_zero_cat(self.matrices).cpu()
        order = torch.argsort(indices, stable=True)
        indices, matrices = indices[order], matrices[order]
        first = indices >= 0
        first[1:] &= indices[1:] != indices[:-1]
        return indices[first].tolist(), matrices[first]  # a list: torchmetrics would squeeze a tensor of one entry

    def _hold(self, index: int, matrix: torch.Tensor) -> None:
        """Store a case. Position -1 is a placeholder, since torchmetrics cannot gather empty states."""
        self.indices.append(torch.tensor([index], device=self.device))
        self.matrices.append(matrix[None].to(self.device))
