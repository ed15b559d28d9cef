"""Pixels counted per case: the only thing that is measured; every score is computed from these counts.

Legend: N cases, K classes, H W pixels.
"""

from collections.abc import Callable
from typing import Any

import torch
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from segexp.metrics.confusion import confusion

__all__ = ["CaseCounts", "confusion"]

Count = Callable[[torch.Tensor, torch.Tensor, int], torch.Tensor]
"""Prediction (H, W), truth (H, W) and K to the confusion matrix (K, K)."""


class CaseCounts(Metric):
    """Collects one confusion matrix per case, over all processes, whatever the batch size.

    `compute` returns the N positions and confusions (N, K, K), sorted by position; a case seen twice counts once.
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
        """Forget all cases."""
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
        """Keep a case. Position -1 is none: torchmetrics cannot gather from a process that holds nothing at all."""
        self.indices.append(torch.tensor([index], device=self.device))
        self.matrices.append(matrix[None].to(self.device))
