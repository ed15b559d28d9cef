"""Cross-entropy with higher weights in gaps between objects, as in the U-Net paper.

Shapes: B batch, K classes, H W pixels.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from segexp.errors import ConfigError
from segexp.losses.base import PixelLoss, check_range, mean_by_weight
from segexp.losses.distances import gap_weights
from segexp.types import IGNORE


class BorderCrossEntropy(PixelLoss):
    """Cross-entropy with the weight map w = w_c + w0 exp(-(d1 + d2)^2 / (2 sigma^2)) (Ronneberger et al., MICCAI 2015, eq. 2).

    w_c is the class weight of the pixel's true class; d1 and d2 are the pixel's distances to the two nearest objects. Objects
    are 4-connected components of one foreground class ("foreground": cells, nuclei) or of the background ("background": if the
    classes are separating lines such as membranes). The second term is 0 inside objects and with fewer than two objects.
    """

    def __init__(
        self,
        w0: float = 10.0,
        sigma: float = 5.0,
        objects: str = "foreground",
        class_weights: Sequence[float] | None = None,
        label_smoothing: float = 0.0,
        include_background: bool = False,
    ) -> None:
        """Build the loss.

        Args:
            w0: additional weight of narrow gaps, 0 or more.
            sigma: in pixels, 0.1 or more; gaps wider than about 2 sigma get little weight.
            objects: components of the "foreground" or the "background".
            class_weights: w_c, one per class; None for 1. In contrast to other losses their scale matters, relative to `w0`.
            label_smoothing: share of the target spread evenly over all classes, 0 to 1.
            include_background: whether class 0 is a class like the others; refused, since the gaps are background.

        Raises:
            ConfigError: an argument is out of its range, or there is no background.
        """
        super().__init__(class_weights)
        check_range("w0", w0, 0)
        check_range("sigma", sigma, 0.1)
        check_range("label_smoothing", label_smoothing, 0, 1)
        if objects not in ("foreground", "background"):
            raise ConfigError(f"objects of the loss is {objects!r}", "foreground or background", "Set objects=foreground")
        if include_background:
            raise ConfigError(
                "The border weights are for the gaps between objects, and no class is the background that lies there",
                "Classes of which one is the background",
                "Type loss=ce_dice, or name the background: data.background=CLASS",
            )
        self.w0, self.sigma, self.objects, self.label_smoothing = w0, sigma, objects, label_smoothing

    def compute(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Return the weighted mean over pixels."""
        entropy = F.cross_entropy(logits, mask, ignore_index=IGNORE, reduction="none", label_smoothing=self.label_smoothing)
        weights = self.weight_map(logits, mask)
        return mean_by_weight((entropy * weights).sum(), weights)

    def weight_map(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Return w (B, H, W), 0 for ignored pixels."""
        known = mask != IGNORE
        labels = mask if self.objects == "foreground" else (mask == 0).long()
        return self.pixel_weights(logits, mask) + self.w0 * gap_weights(labels, known, self.sigma) * known
