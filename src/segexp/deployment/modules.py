"""The modules that are exported: the network alone, or the pipeline from raw images to probabilities or classes.

Shapes: B batch, C channels, K classes, H W original size, h w working size.
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
    """`nn.AdaptiveAvgPool2d` as a multiplication with one matrix per axis, which exporters support."""

    def __init__(self, height: int | None, width: int | None) -> None:
        """Set the output size; None keeps the input size."""
        super().__init__()
        self.height, self.width = height, width

    def forward(self, image: Tensor) -> Tensor:
        """Return the means (B, C, height, width) of a map (B, C, H, W)."""
        rows, columns = pooling_matrix(image, 2, self.height), pooling_matrix(image, 3, self.width)
        return torch.matmul(torch.matmul(rows, image), columns.transpose(0, 1))


def pooling_matrix(image: Tensor, axis: int, length: int | None) -> Tensor:
    """Return the matrix (length, n) whose row i averages pixels floor(i n / length) to ceil((i + 1) n / length)."""
    n = image.shape[axis]
    out = n if length is None else length
    to, of = torch.arange(out, device=image.device)[:, None], torch.arange(n, device=image.device)[None]
    count = torch.full_like(to, 1) * n
    start = torch.div(to * count, out, rounding_mode="floor")
    end = torch.div((to + 1) * count + out - 1, out, rounding_mode="floor")
    inside = ((of >= start) & (of < end)).to(image.dtype)
    return inside / inside.sum(dim=1, keepdim=True)


def replace_adaptive_pools(network: nn.Module) -> nn.Module:
    """Replace adaptive pooling layers with more than one output pixel, in place; return the network."""
    for module in network.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.AdaptiveAvgPool2d):
                size = child.output_size if isinstance(child.output_size, tuple) else (child.output_size, child.output_size)
                if tuple(size) != (1, 1):
                    setattr(module, name, AdaptivePool(*size))
    return network


TINY = 1e-3
"""Fraction of a pixel below which OpenCV ignores its contribution."""
ONE = 2048
"""Fixed-point value of 1 in OpenCV's 11-bit bilinear weights."""


def resize_like_opencv(image: Tensor, height: int, width: int) -> Tensor:
    """Resize images (B, C, H, W) float32 with integer values 0 to 255 to (h, w), rounded to integers.

    Bit-identical to `data.preprocessing.resize_image` except for ties: for a ratio such as 6/5 (even numerator that is no
    power of two), exact halves are rounded in float32 and may differ by 1.
    """
    tall, wide = image.shape[2], image.shape[3]
    one = torch.ones((), dtype=torch.int64, device=image.device)
    y, x = (one.double() * n / length for n, length in ((tall, height), (wide, width)))
    shrinks = one * (tall * wide) > one * (height * width)
    area = shrinks & (y >= 1) & (x >= 1)
    return torch.where(area, resize_area(image, height, width, y, x), resize_bilinear(image, height, width, y, x, shrinks))


def resize_area(image: Tensor, height: int, width: int, y: Tensor, x: Tensor) -> Tensor:
    """Resize by the mean over areas of y by x pixels: `cv2.INTER_AREA`."""
    whole = (y == torch.floor(y)) & (x == torch.floor(x))
    total = sum_blocks(sum_blocks(image, 3, width, x), 2, height, y)
    mean = total * (1 / (y * x)).float()
    part = mean_intervals(mean_intervals(image, 3, width, x), 2, height, y)
    halves = torch.arange(image.shape[1], device=image.device) < image.shape[1] // 4 * 4
    if image.shape[1] % 4 != 2:  # OpenCV processes four channels at once; the rest of two rounds halves to even
        halves = torch.ones_like(halves)
    up = halves[:, None, None] & (y == 2) & (x == 2)
    return torch.where(whole, torch.where(up, torch.floor(mean + 0.5), torch.round(mean)), torch.round(part))


def sum_blocks(image: Tensor, axis: int, length: int, scale: Tensor) -> Tensor:
    """Return the sums (float32) of `scale` pixels each along an axis, for an integer `scale`."""
    of = torch.arange(image.shape[axis], device=image.device)[None]
    to = torch.arange(length, device=image.device)[:, None]
    return multiply_axis(image, axis, (torch.floor(of / scale) == to).float())


def mean_intervals(image: Tensor, axis: int, length: int, scale: Tensor) -> Tensor:
    """Return the means (float32) of `scale` pixels each along an axis."""
    n = image.shape[axis]
    start = torch.arange(length, dtype=torch.float64, device=image.device)[:, None] * scale
    of = torch.arange(n, dtype=torch.float64, device=image.device)[None]
    return multiply_axis(image.double(), axis, pixel_share(start, scale, of, torch.minimum(scale, n - start)).double()).float()


def pixel_share(start: Tensor, scale: Tensor, at: Tensor, cell: Tensor) -> Tensor:
    """Return the share (float32) of pixel `at` in the cell of length `scale` that begins at `start`."""
    part = torch.minimum(start + scale, at + 1) - torch.maximum(start, at)
    return (torch.where(part > TINY, part, torch.zeros_like(part)).clamp(max=1) / cell).float()


def multiply_axis(image: Tensor, axis: int, matrix: Tensor) -> Tensor:
    """Multiply axis 2 or 3 of an image by a matrix (length, n)."""
    return torch.matmul(matrix, image) if axis == 2 else torch.matmul(image, matrix.transpose(0, 1))


def resize_bilinear(image: Tensor, height: int, width: int, y: Tensor, x: Tensor, shrinks: Tensor) -> Tensor:
    """Resize by fixed-point bilinear interpolation: `cv2.INTER_LINEAR`.

    `cv2.INTER_AREA` also uses it, with other positions, when one side grows and the other shrinks.
    """
    at, part = source_positions(width, x, shrinks)
    pixels = image.double()
    across = _at(pixels, 3, at) * _weight(1 - part) + _at(pixels, 3, at + 1) * _weight(part)
    across = torch.floor(across / 16)
    at, part = source_positions(height, y, shrinks)
    above = torch.floor(_at(across, 2, at) * _weight(1 - part)[:, None] / (1 << 16))
    below = torch.floor(_at(across, 2, at + 1) * _weight(part)[:, None] / (1 << 16))
    return torch.floor((above + below + 2) / 4).float()


def source_positions(length: int, scale: Tensor, shrinks: Tensor) -> tuple[Tensor, Tensor]:
    """Return the index (length,) of the pixel before each output position along an axis, and the fractional offset."""
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


def working_size_symbolic(size: Size, height: int, width: int) -> tuple[int, int]:
    """Return `segexp.data.preprocessing.working_size`, computed with integers that may be symbolic."""
    if size is None:
        return height, width
    if isinstance(size, tuple | list):
        return int(size[0]), int(size[1])
    if isinstance(size, int):
        longest = symbolic_max(height, width)
        return _divided(height * size, longest), _divided(width * size, longest)
    share = share_of(size)
    return _divided(height * share.numerator, share.denominator), _divided(width * share.numerator, share.denominator)


def symbolic_max(height: Any, width: Any) -> Any:
    """Return the larger of two integers, symbolic integers, or tensors of a trace."""
    if isinstance(height, Tensor):
        return torch.maximum(height, width)
    return torch.sym_max(height, width)


def _divided(number: int, by: int) -> int:
    """Return number / by rounded half to even, without a branch."""
    quotient = number // by
    rest = number - quotient * by
    return quotient + (2 * rest + quotient % 2 + by - 1) // (2 * by)


Returns = Literal["logits", "probabilities", "classes"]
HALVES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class NetworkModule(nn.Module):
    """Prepared images (B, C, h, w) float32 to logits (B, K, h, w) float32, computed in one number format."""

    def __init__(self, network: nn.Module, dtype: torch.dtype = torch.float32) -> None:
        """Copy the network in eval mode and contiguous memory format."""
        super().__init__()
        own = replace_adaptive_pools(copy.deepcopy(network).cpu().eval().to(dtype))
        self.network = own.to(memory_format=torch.contiguous_format)
        self.dtype = dtype

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits."""
        if self.dtype == torch.float32:
            return self.network(image)  # type: ignore[no-any-return]
        return self.network(image.to(self.dtype)).float()  # type: ignore[no-any-return]


class PipelineModule(nn.Module):
    """Raw images (B, H, W, C) uint8 to probabilities (B, K, H, W) float32 or classes (B, H, W) uint8.

    The graph contains resizing, normalisation and the threshold, but not the other post-processing steps.
    """

    mean: Tensor
    std: Tensor
    low: Tensor
    high: Tensor

    def __init__(
        self,
        bare: NetworkModule,
        preprocessing: Preprocessing,
        returns: Returns,
        overlapping: bool = False,
        threshold: float | None = None,
    ) -> None:
        """Wrap the network.

        Args:
            bare: prepared images to logits.
            preprocessing: of the network.
            returns: "probabilities" or "classes" (bit sets for overlapping labels).
            overlapping: whether a pixel may have several classes.
            threshold: minimum probability of the foreground class; None for argmax.
        """
        super().__init__()
        self.bare, self.size, self.returns = bare, preprocessing.size, returns
        self.overlapping, self.threshold = overlapping, threshold
        self.clips = preprocessing.low is not None
        for name in ("mean", "std", "low", "high"):
            values = getattr(preprocessing, name) or (0.0,)
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32).reshape(1, -1, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        """Return probabilities or classes at the size of the images."""
        own = image.permute(0, 3, 1, 2).float()
        height, width = own.shape[2], own.shape[3]
        pixels = own if self.size is None else resize_like_opencv(own, *working_size_symbolic(self.size, height, width))
        unit = pixels / 255
        if self.clips:
            unit = torch.minimum(torch.maximum(unit, self.low), self.high)
        logits = self.bare((unit - self.mean) / self.std)
        if self.size is not None:
            logits = functional.interpolate(logits, size=(height, width), mode="bilinear", align_corners=False)
        found = self.probabilities(logits)
        return found if self.returns == "probabilities" else self.classes(found)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return the probabilities of logits (B, K, H, W), like `LabelMode.probabilities_`."""
        if not self.overlapping:
            return logits.softmax(dim=1)
        there = (logits[:, 1:] - logits[:, :1]).sigmoid()
        return torch.cat([1 - there.amax(dim=1, keepdim=True), there], dim=1)

    def classes(self, probabilities: Tensor) -> Tensor:
        """Return the classes of probabilities (B, K, H, W), like `LabelMode.decide` without component filtering."""
        if self.overlapping:
            there = probabilities[:, 1:] > (0.5 if self.threshold is None else self.threshold)
            bits = torch.tensor([1 << k for k in range(there.shape[1])], device=there.device).reshape(1, -1, 1, 1)
            return (there * bits).sum(dim=1).to(torch.uint8)
        if self.threshold is not None:
            return (probabilities[:, 1] > self.threshold).to(torch.uint8)
        return probabilities.argmax(dim=1).to(torch.uint8)


def check_8bit(preprocessing: Preprocessing) -> None:
    """Require 8-bit images for built-in preprocessing.

    Raises:
        ConfigError: the run was trained on images of another value range.
    """
    low, high = preprocessing.value_range
    if (low, high) != (0, 255):
        raise ConfigError(
            f"include_preprocessing=true, and the run was trained on images of values from {low:g} to {high:g}, which are not "
            "8-bit",
            "A network of 8-bit images was expected: the file would take bytes",
            "Leave include_preprocessing out; the sidecar says how a picture is prepared",
        )


def describe_excluded_steps(rule: Postprocessing) -> str:
    """Describe the post-processing steps that are not part of the graph; "" if there are none."""
    outside = replace(rule, threshold=None)
    return "" if outside.is_identity else f"Not in the file, but in its sidecar: the post-processing {outside}"


def exportable_module(segmenter: Segmenter, precision: str = "fp32", returns: Returns = "logits") -> nn.Module:
    """Return the module to export, on the CPU; the segmenter is not modified.

    Args:
        segmenter: loaded from a checkpoint.
        precision: a key of `HALVES`.
        returns: "logits" for the network alone; the others include the preprocessing.
    """
    bare = NetworkModule(segmenter.network, HALVES[precision])
    if returns == "logits":
        return bare.eval()
    overlapping = segmenter.label_mode is MULTILABEL
    return PipelineModule(bare, segmenter.preprocessing, returns, overlapping, segmenter.postprocessing.threshold).eval()
