"""clDice: overlap of the centre lines of prediction and ground truth, for vessels, roads and membranes.

Shapes: B batch, K classes, C counted classes, H W pixels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from segexp.errors import ConfigError
from segexp.losses.base import Loss, check_range
from segexp.losses.overlap import mean_present
from segexp.types import IGNORE


class ClDice(Loss):
    """One minus soft clDice (Shit et al., CVPR 2021): the harmonic mean of topology precision and sensitivity.

    These are the shares of the predicted soft skeleton inside the true class, and of the true skeleton inside the prediction.
    The mean is over the counted classes present in the mask, as in `Dice`; 0 if there are none. Most pixels have no
    gradient: combine it with Dice, as in the paper, with at most half of the weight.
    """

    def __init__(
        self, iterations: int = 5, include_background: bool = False, per_image: bool = False, smooth: float = 1.0
    ) -> None:
        """Build the loss.

        Args:
            iterations: of the soft skeleton, 1 or more: at least half the width in pixels of the widest structure.
            include_background: whether class 0 counts as a class.
            per_image: False sums each class over the batch before the shares are computed; True computes them per image.
            smooth: pixels added to numerator and denominator of each share, above 0.

        Raises:
            ConfigError: an argument is out of its range.
        """
        super().__init__()
        if not isinstance(iterations, int) or iterations < 1:
            raise ConfigError(
                f"iterations of the loss is {iterations!r}", "a whole number of at least 1", "Set iterations=5 or so"
            )
        check_range("smooth", smooth, 1e-6)
        self.iterations, self.first, self.per_image, self.smooth = iterations, int(not include_background), per_image, smooth

    def compute(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Return 1 - 2 precision sensitivity / (precision + sensitivity), averaged over the classes present."""
        over = (2, 3) if self.per_image else (0, 2, 3)
        classes = torch.arange(self.first, logits.shape[1], device=logits.device).view(-1, 1, 1)
        ignored = (mask == IGNORE).unsqueeze(1)
        truth = (mask.unsqueeze(1) == classes).to(logits.dtype)
        probability = logits.softmax(dim=1)[:, self.first :].masked_fill(ignored, 0)
        predicted_line = soft_skeleton(probability, ignored, self.iterations)
        true_line = soft_skeleton(truth, ignored, self.iterations)

        def share(line: Tensor, region: Tensor) -> Tensor:
            return ((line * region).sum(over) + self.smooth) / (line.sum(over) + self.smooth)

        precision, sensitivity = share(predicted_line, truth), share(true_line, probability)
        score = 2 * precision * sensitivity / (precision + sensitivity)
        return mean_present(1 - score, truth.sum(over))


def soft_skeleton(image: Tensor, ignored: Tensor, iterations: int) -> Tensor:
    """Return the soft skeleton: the residues of openings under repeated soft erosion (the paper's algorithm 1).

    Args:
        image: (B, C, H, W), 0 to 1.
        ignored: (B, 1, H, W) bool: pixels excluded like those beyond the edge.
        iterations: number of erosions.

    Returns:
        (B, C, H, W), 0 to 1, 0 at ignored pixels.
    """
    skeleton = torch.zeros_like(image)
    for _ in range(iterations + 1):
        smaller = soft_erode(image, ignored)
        ridge = F.relu(image - soft_dilate(smaller, ignored))
        skeleton = skeleton + F.relu(ridge - skeleton * ridge)
        image = smaller
    return skeleton.masked_fill(ignored, 0)


def soft_erode(image: Tensor, ignored: Tensor) -> Tensor:
    """Return the minimum of each pixel and its four neighbours."""
    known = -image.masked_fill(ignored, 1)
    column, row = F.max_pool2d(known, (3, 1), 1, (1, 0)), F.max_pool2d(known, (1, 3), 1, (0, 1))
    return -torch.maximum(column, row)


def soft_dilate(image: Tensor, ignored: Tensor) -> Tensor:
    """Return the maximum of each pixel and its eight neighbours."""
    return F.max_pool2d(image.masked_fill(ignored, 0), 3, 1, 1)
