"""The confusion matrix of one case, of classes that exclude each other and of classes that may overlap.

Legend: K classes, H W pixels.
"""

import numpy as np
import torch

from segexp.types import IGNORE


def confusion(prediction: torch.Tensor, truth: torch.Tensor, classes: int) -> torch.Tensor:
    """Return the confusion matrix (K, K) int64 of one case: rows are the truth, columns the prediction.

    Args:
        prediction: (H, W) class index, integer.
        truth: (H, W) class index, integer; pixels of 255 are left out.
        classes: K.
    """
    valid = truth != IGNORE
    pairs = truth[valid].long() * classes + prediction[valid].long()
    return torch.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def overlapping_confusion(prediction: torch.Tensor, truth: torch.Tensor, classes: int) -> torch.Tensor:
    """Return the counts of each foreground class against its absence, as one matrix (K, K) int64.

    A pixel that may hold several classes has no single row, so each foreground class is a question of its own, and every
    known pixel is counted once for each of them: (k, k) are the pixels where class k was found and is, (0, k) those where it
    was found and is not, (k, 0) those where it was missed, and (0, 0) the right "no", added up over the classes. Between two
    foreground classes there is nothing to confuse: 0. So every score has its usual formula; the accuracy is the share of
    right answers, and with one foreground class this is the matrix of two exclusive classes.

    Args:
        prediction: (H, W) uint8 bit sets, see `segexp.bits`.
        truth: (H, W) uint8 bit sets; pixels of 255 are left out.
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


def of_each_class(matrix: np.ndarray) -> np.ndarray:
    """Return what `overlapping_confusion` counted of each foreground class: (K - 1, 2, 2), rows truth, columns prediction.

    Args:
        matrix: (K, K), of one case or of many together.
    """
    foreground = len(matrix) - 1
    known = matrix.sum() // foreground
    missed, false, found = matrix[1:, 0], matrix[0, 1:], matrix.diagonal()[1:]
    return np.stack([known - missed - false - found, false, missed, found], axis=1).reshape(foreground, 2, 2)
