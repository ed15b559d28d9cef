"""Resizing as OpenCV does it for bytes, in tensor operations that every exporter knows and that hold for any size.

All follows from the sizes inside the graph, which takes no branch: both ways are calculated, and one of them is taken.
Legend: B batch, C channels, H W own size, h w working size, n pixels along an axis, length pixels wanted along it.
"""

from typing import Any

import torch
from torch import Tensor

from segexp.preprocessing import Size, share_of

TINY = 1e-3
"""Parts of a pixel that OpenCV leaves out."""
ONE = 2048
"""What OpenCV's bilinear weights of 11 bits count as 1."""


def resized(image: Tensor, height: int, width: int) -> Tensor:
    """Return images (B, C, H, W) float32 of whole numbers 0 to 255 at (h, w), whole numbers again.

    They are those of `segexp.preprocessing.resize_image`, bit for bit, but for halves: where the ratio of the sizes has an even
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
    """Return what `segexp.preprocessing.working_size` does, in whole numbers that may be symbols of an exporter."""
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
