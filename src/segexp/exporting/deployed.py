"""The modules that are exported: the network alone, or from the picture's bytes to probabilities or classes.

Legend: B batch, C channels, K classes, H W own size, h w working size.
"""

import copy
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from segexp.errors import ConfigError
from segexp.exporting.pooling import exportable
from segexp.exporting.resizing import resized, working
from segexp.labelling import OVERLAPPING
from segexp.postprocess import Postprocessing
from segexp.preprocessing import Preprocessing
from segexp.segmenter import Segmenter

Returns = Literal["logits", "probabilities", "classes"]
HALVES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Bare(nn.Module):
    """Prepared images (B, C, h, w) float32 to logits (B, K, h, w) float32, calculated in one number format."""

    def __init__(self, network: nn.Module, dtype: torch.dtype = torch.float32) -> None:
        """Take a copy of the network, in eval mode and in the usual memory layout."""
        super().__init__()
        own = exportable(copy.deepcopy(network).cpu().eval().to(dtype))
        self.network = own.to(memory_format=torch.contiguous_format)
        self.dtype = dtype

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits."""
        if self.dtype == torch.float32:
            return self.network(image)  # type: ignore[no-any-return]
        return self.network(image.to(self.dtype)).float()  # type: ignore[no-any-return]


class Whole(nn.Module):
    """Images (B, H, W, C) uint8 as they are on disk to probabilities (B, K, H, W) float32 or classes (B, H, W) uint8.

    Resizing and normalisation are part of the graph. Of the post-processing the threshold is; components and holes are not.
    """

    mean: Tensor
    std: Tensor
    low: Tensor
    high: Tensor

    def __init__(
        self,
        bare: Bare,
        preprocessing: Preprocessing,
        returns: Returns,
        overlapping: bool = False,
        threshold: float | None = None,
    ) -> None:
        """Put the steps around the network.

        Args:
            bare: from prepared images to logits.
            preprocessing: what prepares them.
            returns: "probabilities" or "classes" (of overlapping labels, sets of bits).
            overlapping: a pixel may have several classes.
            threshold: of two classes the second is taken above this probability; None takes the more probable one.
        """
        super().__init__()
        self.bare, self.size, self.returns = bare, preprocessing.size, returns
        self.overlapping, self.threshold = overlapping, threshold
        self.clips = preprocessing.low is not None
        for name in ("mean", "std", "low", "high"):
            values = getattr(preprocessing, name) or (0.0,)
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32).reshape(1, -1, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        """Return what `returns` says, at the size of the images."""
        own = image.permute(0, 3, 1, 2).float()
        height, width = own.shape[2], own.shape[3]
        pixels = own if self.size is None else resized(own, *working(self.size, height, width))
        unit = pixels / 255
        if self.clips:
            unit = torch.minimum(torch.maximum(unit, self.low), self.high)
        logits = self.bare((unit - self.mean) / self.std)
        if self.size is not None:
            logits = functional.interpolate(logits, size=(height, width), mode="bilinear", align_corners=False)
        found = self.probabilities(logits)
        return found if self.returns == "probabilities" else self.classes(found)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return what `Labelling.probabilities_` does of logits (B, K, H, W)."""
        if not self.overlapping:
            return logits.softmax(dim=1)
        there = (logits[:, 1:] - logits[:, :1]).sigmoid()
        return torch.cat([1 - there.amax(dim=1, keepdim=True), there], dim=1)

    def classes(self, probabilities: Tensor) -> Tensor:
        """Return what `Labelling.decide` does of probabilities (B, K, H, W), components and holes left as they are."""
        if self.overlapping:
            there = probabilities[:, 1:] > (0.5 if self.threshold is None else self.threshold)
            bits = torch.tensor([1 << k for k in range(there.shape[1])], device=there.device).reshape(1, -1, 1, 1)
            return (there * bits).sum(dim=1).to(torch.uint8)
        if self.threshold is not None:
            return (probabilities[:, 1] > self.threshold).to(torch.uint8)
        return probabilities.argmax(dim=1).to(torch.uint8)


def check_bytes(preprocessing: Preprocessing) -> None:
    """Refuse to put the preprocessing inside where pictures are no bytes.

    Raises:
        ConfigError: the run was trained on other than 8-bit images.
    """
    low, high = preprocessing.value_range
    if (low, high) != (0, 255):
        raise ConfigError(
            f"include_preprocessing=true, and the run was trained on images of values from {low:g} to {high:g}, which are not "
            "8-bit",
            "A network of 8-bit images was expected: the file would take bytes",
            "Leave include_preprocessing out; the sidecar says how a picture is prepared",
        )


def left_out(rule: Postprocessing) -> str:
    """Return a sentence about the steps of a post-processing that are not part of the graph, empty where there are none."""
    outside = replace(rule, threshold=None)
    return "" if outside.is_identity else f"Not in the file, but in its sidecar: the post-processing {outside}"


def deployed(segmenter: Segmenter, precision: str = "fp32", returns: Returns = "logits") -> nn.Module:
    """Return the module that is exported of a segmenter, on the CPU; the segmenter is left as it is.

    Args:
        segmenter: of a checkpoint.
        precision: a key of `HALVES`, the number format that the network calculates in.
        returns: "logits" is the network alone, the others have the preprocessing inside.
    """
    bare = Bare(segmenter.network, HALVES[precision])
    if returns == "logits":
        return bare.eval()
    overlapping = segmenter.labelling is OVERLAPPING
    return Whole(bare, segmenter.preprocessing, returns, overlapping, segmenter.postprocessing.threshold).eval()
