"""Explanation of a class prediction in a region of an image.

Shapes: C channels, K classes, H W pixels of the image at original size, h w as the network sees it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from segexp.errors import DataError
from segexp.explainability.attribution import OF_LAYER, WHOLE, grad_cam, grad_cam_pp, integrated_gradients, occlusion
from segexp.explainability.regions import region_weights
from segexp.explainability.target_layers import AUTO, Layer, choose_layer, explainable
from segexp.inference.segmenter import Segmenter
from segexp.types import Array


def upsample_map(values: Tensor, layer: Layer, network: nn.Module, size: tuple[int, int]) -> Tensor:
    """Upsample a layer's map (h, w) bilinearly to the image size (H, W), with each cell at its true position.

    Networks pad an image evenly on both sides (the published U-Net by a large margin, see `size_for` of
    `segexp.models.UNetPaper`); the part of the map outside the image is cut off. If the number of cells does not follow the
    image size, or cells are not an integer number of pixels, the map is stretched over the image.
    """
    for axis in (0, 1):
        values = _along(values.transpose(0, axis), layer.pitch[axis], network, size[axis]).transpose(0, axis)
    return values.contiguous()


def _along(values: Tensor, pitch: float, network: nn.Module, length: int) -> Tensor:
    """Upsample (h, w) to (length, w)."""
    cells = values.shape[0]
    grown = cells * round(pitch)
    frame = getattr(network, "size_for", lambda given: given)(length)
    if pitch != round(pitch) or grown < length:
        grown = frame = length
    size = (grown, values.shape[1])
    wide = functional.interpolate(values[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]
    start = (grown - frame) // 2
    return wide[start : start + length]


STEPS = 32
WINDOWS = 8
"""Number of squares along the longer side of an image, by default."""
LOOSE = 0.1
"""Relative error of integrated gradients above which a note is added."""


@dataclass(frozen=True)
class Explanation:
    """Explanation of a class in one image.

    Attributes:
        values: (H, W) float32. Grad-CAM methods: non-negative, with a scale that is only meaningful within this image;
            integrated gradients and occlusion: in logit units, negative values reduce the score.
        note: a remark for the user; "" if there is none.
    """

    values: Array
    note: str = ""


@dataclass(frozen=True)
class Explainer:
    """Explains one class of a segmenter.

    The score is the mean, over a region or all pixels, of the logit of the class (for overlapping labels, minus the background
    logit). Seg-Grad-CAM uses the sum; the mean gives the same map on the logit scale that Grad-CAM++ weights require.

    Attributes:
        segmenter: network with its preprocessing.
        target: index of the class.
        method: one of `METHODS`.
        layer: for Grad-CAM; None for the other methods.
        steps: of integrated gradients.
        window: of occlusion, side of the square in network pixels; None for an eighth of the longer side.
    """

    segmenter: Segmenter
    target: int
    method: str
    layer: Layer | None = None
    steps: int = STEPS
    window: int | None = None

    @property
    def whole(self) -> bool:
        """Whether the score is the mean over all pixels, regardless of the region."""
        return self.method in WHOLE

    def __call__(self, image: Array, region: Array) -> Explanation:
        """Explain an image array (H, W, C) uint8, uint16 or float32.

        Args:
            image: with the network's number of channels.
            region: (H, W) bool, where the score is computed; ignored by methods that use all pixels.

        Raises:
            DataError: the image is too large for one pass.
        """
        prepared = self.segmenter.preprocessing.prepare(image).to(self.segmenter.device)
        return self.explain(prepared, np.ones_like(region) if self.whole else region)

    def explain(self, prepared: torch.Tensor, region: Array) -> Explanation:
        """Explain a prepared image (C, h, w); `region` (H, W) bool is where the score is computed.

        Raises:
            DataError: the image is too large for one pass.
        """
        size = (prepared.shape[1], prepared.shape[2])
        check_size(size, self.segmenter.max_pixels)
        with explainable(self.segmenter.network):
            seen = prepared.detach().clone()[None]
            share = region_weights(region, size).to(seen.device)
            found, note = self._values(seen, share, size)
        own = functional.interpolate(found[None, None], size=tuple(region.shape), mode="bilinear", align_corners=False)
        values = own[0, 0].float().cpu().numpy()
        if self.method == "integrated_gradients":  # keep the sum of the values after resizing
            values *= size[0] * size[1] / values.size
        if not note and not np.isfinite(values).all():
            note = "the map is not finite"
        return Explanation(np.nan_to_num(values, posinf=0.0, neginf=0.0), note or _empty(values, self.layer))

    def _values(self, seen: torch.Tensor, share: torch.Tensor, size: tuple[int, int]) -> tuple[torch.Tensor, str]:
        network, labelling = self.segmenter.network, self.segmenter.label_mode

        def score(images: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = network.forward(self.segmenter.arrange(images))
            return (labelling.scores(logits.float(), self.target) * share).sum(dim=(1, 2))

        if self.method in OF_LAYER:
            assert self.layer is not None, f"{self.method} needs a layer"
            method = grad_cam_pp if self.method == "gradcam++" else grad_cam
            return upsample_map(method(score, seen, self.layer.module), self.layer, network, size), ""
        baseline = self._mean_colour(seen)
        if self.method == "occlusion":
            return occlusion(score, seen, baseline, self.window or max(4, max(size) // WINDOWS)), ""
        found, excess = integrated_gradients(score, seen, baseline, self.steps)
        missed, total = abs(excess), abs(float(found.sum()) - excess)
        loose = missed > LOOSE * max(total, missed, 1e-6)
        return found, f"{self.steps} steps are too few: the map misses {missed:.3g} of {total:.3g}" if loose else ""

    def _mean_colour(self, seen: torch.Tensor) -> torch.Tensor:
        """Return an image of the mean training colour, shaped like `seen`; 0 if unknown."""
        known: Any = self.segmenter.provenance.fingerprint if self.segmenter.provenance else {}
        given, rule = known.get("mean") or [], self.segmenter.preprocessing
        unit = np.asarray(given if len(given) == rule.channels else rule.mean, np.float32)
        colour = rule.normalize(np.broadcast_to(unit, (1, 1, rule.channels)))
        return colour.to(seen)[None].expand_as(seen).contiguous()


def make_explainer(
    segmenter: Segmenter, target: int, method: str, layer: str = AUTO, steps: int = STEPS, window: int | None = None
) -> Explainer:
    """Return the explainer of a class; the layer is chosen if the method needs one.

    Raises:
        ConfigError: see `choose_layer`.
    """
    found = choose_layer(segmenter.network, segmenter.spec.channels, layer) if method in OF_LAYER else None
    return Explainer(segmenter, target, method, found, steps, window)


def check_size(size: tuple[int, int], max_pixels: int | None) -> None:
    """Refuse an image that would be processed in windows, since the gradients must cover the whole image.

    Raises:
        DataError: naming its size (h, w) and the maximum.
    """
    if max_pixels and size[0] * size[1] > max_pixels:
        raise DataError(
            f"its {size[0]}x{size[1]} pixels are more than max_pixels={max_pixels}, and one pass must see all of it",
            "A smaller image, or room for the gradients of the whole one",
            "Type max_pixels=0 to try it all the same, or cut the part out that is asked about",
        )


def _empty(values: Array, layer: Layer | None) -> str:
    if values.size and float(np.abs(values).max()) > 0:
        return ""
    return f"nothing in {layer.name} speaks for the class, the map is 0" if layer else "nothing changes the score, the map is 0"
