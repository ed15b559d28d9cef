"""From an image and a region to a map of what speaks for the class there.

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
from segexp.explainability.regions import weights
from segexp.explainability.target_layers import AUTO, Layer, choose_layer, explainable
from segexp.inference.segmenter import Segmenter


def over_image(values: Tensor, layer: Layer, network: nn.Module, size: tuple[int, int]) -> Tensor:
    """Return a map (h, w) of a layer as (H, W), each cell over the pixels that it stands for, bilinear between them.

    Networks reflect an image at its borders until their halvings divide it, evenly on both sides, and the published U-Net
    mirrors it much further (`size_for` and `margin` of `segexp.models.UNetPaper`): a map reaches beyond the image, and what
    does is cut off. Where the number of cells does not follow the size of the image, or cells are no whole number of pixels,
    the map is stretched over all of it.
    """
    for axis in (0, 1):
        values = _along(values.transpose(0, axis), layer.pitch[axis], network, size[axis]).transpose(0, axis)
    return values.contiguous()


def _along(values: Tensor, pitch: float, network: nn.Module, length: int) -> Tensor:
    """Return (length, w) of (h, w)."""
    cells = values.shape[0]
    grown = cells * round(pitch)
    frame = getattr(network, "size_for", lambda given: given)(length)
    if pitch != round(pitch) or grown < length:
        grown = frame = length
    size = (grown, values.shape[1])
    wide = functional.interpolate(values[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]
    start = (grown - frame) // 2
    return wide[start : start + length]


Array = np.ndarray[Any, np.dtype[Any]]

STEPS = 32
WINDOWS = 8
"""Squares side by side along the longer side of an image, where nothing is said about their size."""
LOOSE = 0.1
"""Share of the sum that integrated gradients may miss without a word."""


@dataclass(frozen=True)
class Explanation:
    """What speaks for a class in one image.

    Attributes:
        values: (H, W) float32. Of Grad-CAM in all its forms no value is below 0, and their scale says nothing beyond this
            image; of integrated gradients and occlusion values are in the unit of a logit, below 0 what speaks against.
        note: what is to be known about it; empty if all is well.
    """

    values: Array
    note: str = ""


@dataclass(frozen=True)
class Explainer:
    """Explains what a segmenter says of one class.

    The score that is explained is the mean, over a region or over all pixels, of what speaks for the class before softmax or
    sigmoid: its logit, or of overlapping labels its logit above that of the background. Seg-Grad-CAM takes the sum; the mean
    gives the same map, and keeps the scale of a logit, for which the weights of Grad-CAM++ are made.

    Attributes:
        segmenter: network with its preprocessing.
        target: index of the class.
        method: one of `METHODS`.
        layer: what Grad-CAM looks at; None for the other methods.
        steps: of integrated gradients.
        window: of occlusion, side of the square in pixels as the network sees the image; None is an eighth of the longer side.
    """

    segmenter: Segmenter
    target: int
    method: str
    layer: Layer | None = None
    steps: int = STEPS
    window: int | None = None

    @property
    def whole(self) -> bool:
        """Whether the score is the mean over all pixels, whatever the region."""
        return self.method in WHOLE

    def __call__(self, image: Array, region: Array) -> Explanation:
        """Explain an image array (H, W, C) uint8, uint16 or float32.

        Args:
            image: with as many channels as the network takes.
            region: (H, W) bool, where the score is taken; not looked at by those methods that take it everywhere.

        Raises:
            DataError: the image is too large to be seen in one pass.
        """
        prepared = self.segmenter.preprocessing.prepare(image).to(self.segmenter.device)
        return self.explain(prepared, np.ones_like(region) if self.whole else region)

    def explain(self, prepared: torch.Tensor, region: Array) -> Explanation:
        """Explain an image (C, h, w) as the network sees it; `region` (H, W) bool is where the score is taken.

        Raises:
            DataError: the image is too large to be seen in one pass.
        """
        size = (prepared.shape[1], prepared.shape[2])
        check_size(size, self.segmenter.max_pixels)
        with explainable(self.segmenter.network):
            seen = prepared.detach().clone()[None]
            share = weights(region, size).to(seen.device)
            found, note = self._values(seen, share, size)
        own = functional.interpolate(found[None, None], size=tuple(region.shape), mode="bilinear", align_corners=False)
        values = own[0, 0].float().cpu().numpy()
        if self.method == "integrated_gradients":  # its values are parts of a sum, and there are more or fewer of them now
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
            assert self.layer is not None, f"{self.method} looks at a layer"
            method = grad_cam_pp if self.method == "gradcam++" else grad_cam
            return over_image(method(score, seen, self.layer.module), self.layer, network, size), ""
        baseline = self._mean_colour(seen)
        if self.method == "occlusion":
            return occlusion(score, seen, baseline, self.window or max(4, max(size) // WINDOWS)), ""
        found, excess = integrated_gradients(score, seen, baseline, self.steps)
        missed, total = abs(excess), abs(float(found.sum()) - excess)
        loose = missed > LOOSE * max(total, missed, 1e-6)
        return found, f"{self.steps} steps are too few: the map misses {missed:.3g} of {total:.3g}" if loose else ""

    def _mean_colour(self, seen: torch.Tensor) -> torch.Tensor:
        """Return an image of the mean colour of the training images, like `seen`; 0 where that is not known."""
        known: Any = self.segmenter.provenance.fingerprint if self.segmenter.provenance else {}
        given, rule = known.get("mean") or [], self.segmenter.preprocessing
        unit = np.asarray(given if len(given) == rule.channels else rule.mean, np.float32)
        colour = rule.normalize(np.broadcast_to(unit, (1, 1, rule.channels)))
        return colour.to(seen)[None].expand_as(seen).contiguous()


def make_explainer(
    segmenter: Segmenter, target: int, method: str, layer: str = AUTO, steps: int = STEPS, window: int | None = None
) -> Explainer:
    """Return what explains a class of a segmenter; the layer is looked for where the method needs one.

    Raises:
        ConfigError: see `choose_layer`.
    """
    found = choose_layer(segmenter.network, segmenter.spec.channels, layer) if method in OF_LAYER else None
    return Explainer(segmenter, target, method, found, steps, window)


def check_size(size: tuple[int, int], max_pixels: int | None) -> None:
    """Refuse an image that is seen through windows: no window says what speaks for a class in all of it.

    Raises:
        DataError: naming its size (h, w) and the largest.
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
