"""The modules that are exported: the network alone, or from the picture's bytes to probabilities or classes.

Legend: B batch, C channels, K classes, H W own size, h w working size.
"""

import copy
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from segexp.data.labels.modes import MULTILABEL
from segexp.data.preprocessing import Preprocessing, Size, share_of
from segexp.errors import ConfigError
from segexp.inference.postprocessing import Postprocessing
from segexp.inference.segmenter import Segmenter


class AdaptivePool(nn.Module):
    """What `nn.AdaptiveAvgPool2d` does, as a product with one matrix from each side."""

    def __init__(self, height: int | None, width: int | None) -> None:
        """Choose the output's size; None keeps that of the map."""
        super().__init__()
        self.height, self.width = height, width

    def forward(self, image: Tensor) -> Tensor:
        """Return the means (B, C, height, width) of a map (B, C, H, W)."""
        rows, columns = means(image, 2, self.height), means(image, 3, self.width)
        return torch.matmul(torch.matmul(rows, image), columns.transpose(0, 1))


def means(image: Tensor, axis: int, length: int | None) -> Tensor:
    """Return the matrix (length, n) whose row i is the mean of pixels floor(i n / length) up to ceil((i + 1) n / length)."""
    n = image.shape[axis]
    out = n if length is None else length
    to, of = torch.arange(out, device=image.device)[:, None], torch.arange(n, device=image.device)[None]
    count = torch.full_like(to, 1) * n
    start = torch.div(to * count, out, rounding_mode="floor")
    end = torch.div((to + 1) * count + out - 1, out, rounding_mode="floor")
    inside = ((of >= start) & (of < end)).to(image.dtype)
    return inside / inside.sum(dim=1, keepdim=True)


def exportable(network: nn.Module) -> nn.Module:
    """Replace the adaptive poolings inside a network, in place, where they give more than one pixel; return it."""
    for module in network.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.AdaptiveAvgPool2d):
                size = child.output_size if isinstance(child.output_size, tuple) else (child.output_size, child.output_size)
                if tuple(size) != (1, 1):
                    setattr(module, name, AdaptivePool(*size))
    return network


TINY = 1e-3
"""Parts of a pixel that OpenCV leaves out."""
ONE = 2048
"""What OpenCV's bilinear weights of 11 bits count as 1."""


def resized(image: Tensor, height: int, width: int) -> Tensor:
    """Return images (B, C, H, W) float32 of whole numbers 0 to 255 at (h, w), whole numbers again.

    They are those of `data.preprocessing.resize_image`, bit for bit, but for halves: where the ratio of the sizes has an even
    number above that is no power of two, 6/5 say, means of just a half are rounded as float32 has it, and may be another by 1.
    """
    tall, wide = image.shape[2], image.shape[3]
    one = torch.ones((), dtype=torch.int64, device=image.device)
    y, x = (one.double() * n / length for n, length in ((tall, height), (wide, width)))
    shrinks = one * (tall * wide) > one * (height * width)
    area = shrinks & (y >= 1) & (x >= 1)
    return torch.where(area, averaged(image, height, width, y, x), between(image, height, width, y, x, shrinks))


def averaged(image: Tensor, height: int, width: int, y: Tensor, x: Tensor) -> Tensor:
    """Return images at (h, w) by the mean over the area of a pixel, which is y by x pixels: `cv2.INTER_AREA`."""
    whole = (y == torch.floor(y)) & (x == torch.floor(x))
    total = blocks(blocks(image, 3, width, x), 2, height, y)
    mean = total * (1 / (y * x)).float()
    part = summed(summed(image, 3, width, x), 2, height, y)
    halves = torch.arange(image.shape[1], device=image.device) < image.shape[1] // 4 * 4
    if image.shape[1] % 4 != 2:  # OpenCV sees four channels at once; of two it rounds halves to the even number
        halves = torch.ones_like(halves)
    up = halves[:, None, None] & (y == 2) & (x == 2)
    return torch.where(whole, torch.where(up, torch.floor(mean + 0.5), torch.round(mean)), torch.round(part))


def blocks(image: Tensor, axis: int, length: int, scale: Tensor) -> Tensor:
    """Return the sums (float32) along an axis of `scale` pixels each, where that is a whole number."""
    of = torch.arange(image.shape[axis], device=image.device)[None]
    to = torch.arange(length, device=image.device)[:, None]
    return times(image, axis, (torch.floor(of / scale) == to).float())


def summed(image: Tensor, axis: int, length: int, scale: Tensor) -> Tensor:
    """Return the means (float32) along an axis of `scale` pixels each."""
    n = image.shape[axis]
    start = torch.arange(length, dtype=torch.float64, device=image.device)[:, None] * scale
    of = torch.arange(n, dtype=torch.float64, device=image.device)[None]
    return times(image.double(), axis, shared(start, scale, of, torch.minimum(scale, n - start)).double()).float()


def shared(start: Tensor, scale: Tensor, at: Tensor, cell: Tensor) -> Tensor:
    """Return the share (float32) of the cell from `start` on, `scale` pixels long, that the pixel `at` takes."""
    part = torch.minimum(start + scale, at + 1) - torch.maximum(start, at)
    return (torch.where(part > TINY, part, torch.zeros_like(part)).clamp(max=1) / cell).float()


def times(image: Tensor, axis: int, matrix: Tensor) -> Tensor:
    """Return the product of a matrix (length, n) with an axis of an image, 2 or 3."""
    return torch.matmul(matrix, image) if axis == 2 else torch.matmul(image, matrix.transpose(0, 1))


def between(image: Tensor, height: int, width: int, y: Tensor, x: Tensor, shrinks: Tensor) -> Tensor:
    """Return images at (h, w) by bilinear interpolation in whole numbers: `cv2.INTER_LINEAR`.

    Where one side grows and the other shrinks, `cv2.INTER_AREA` comes here as well, with other places.
    """
    at, part = places(width, x, shrinks)
    pixels = image.double()
    across = _at(pixels, 3, at) * _weight(1 - part) + _at(pixels, 3, at + 1) * _weight(part)
    across = torch.floor(across / 16)
    at, part = places(height, y, shrinks)
    above = torch.floor(_at(across, 2, at) * _weight(1 - part)[:, None] / (1 << 16))
    below = torch.floor(_at(across, 2, at + 1) * _weight(part)[:, None] / (1 << 16))
    return torch.floor((above + below + 2) / 4).float()


def places(length: int, scale: Tensor, shrinks: Tensor) -> tuple[Tensor, Tensor]:
    """Return the pixel (length,) before each place along an axis, as whole numbers, and how far it lies beyond, 0 to 1."""
    to = torch.arange(length, dtype=torch.float64, device=scale.device)
    middle = ((to + 0.5) * scale - 0.5).float()
    below = torch.floor(to * scale)
    beyond = ((to + 1) - (below + 1) / scale).float()
    beyond = torch.where(beyond > 0, beyond - torch.floor(beyond), torch.zeros_like(beyond))
    at = torch.where(shrinks, below, torch.floor(middle).double())
    return at, torch.where(shrinks, beyond, middle - torch.floor(middle))


def _at(image: Tensor, axis: int, places: Tensor) -> Tensor:
    last = torch.zeros_like(places) + (image.shape[axis] - 1)
    return image.index_select(axis, torch.minimum(places.clamp(min=0), last).long())


def _weight(part: Tensor) -> Tensor:
    return torch.round(part * ONE).double()


def working(size: Size, height: int, width: int) -> tuple[int, int]:
    """Return what `segexp.data.preprocessing.working_size` does, in whole numbers that may be symbols of an exporter."""
    if size is None:
        return height, width
    if isinstance(size, tuple | list):
        return int(size[0]), int(size[1])
    if isinstance(size, int):
        longest = larger(height, width)
        return _divided(height * size, longest), _divided(width * size, longest)
    share = share_of(size)
    return _divided(height * share.numerator, share.denominator), _divided(width * share.numerator, share.denominator)


def larger(height: Any, width: Any) -> Any:
    """Return the larger of two whole numbers, symbols of torch.export, or tensors of a trace."""
    if isinstance(height, Tensor):
        return torch.maximum(height, width)
    return torch.sym_max(height, width)


def _divided(number: int, by: int) -> int:
    """Return number / by as a whole number, halves to the even one, without a branch."""
    quotient = number // by
    rest = number - quotient * by
    return quotient + (2 * rest + quotient % 2 + by - 1) // (2 * by)


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
    overlapping = segmenter.label_mode is MULTILABEL
    return Whole(bare, segmenter.preprocessing, returns, overlapping, segmenter.postprocessing.threshold).eval()
