"""Resizing as OpenCV does it, in tensor operations that every exporter knows and that hold for any size.

An image is multiplied by one matrix from each side; the matrices follow from the sizes inside the graph.
Legend: B batch, C channels, H W own size, h w working size.
"""

from typing import Any

import torch
from torch import Tensor

from segexp.preprocessing import Size


def resized(image: Tensor, height: int, width: int) -> Tensor:
    """Return images (B, C, H, W) float32 of whole numbers 0 to 255 at (h, w), whole numbers again.

    Shrunk by the mean over the area of a pixel, as `cv2.INTER_AREA` does for bytes, to the last bit. Enlarged bilinearly; there
    OpenCV calculates with weights of 11 bits, and its result may be another by 1.
    """
    rows, columns = weights(image, 2, height), weights(image, 3, width)
    exact = torch.matmul(torch.matmul(rows, image.double()), columns.transpose(0, 1))
    halves = (image.shape[2] == 2 * height) & (image.shape[3] == 2 * width)  # OpenCV adds 2 and divides by 4
    up = torch.floor(exact + 0.5)
    even = torch.round(exact)
    return torch.where(torch.full_like(exact, 1.0) * halves > 0, up, even).float()


def weights(image: Tensor, axis: int, length: int) -> Tensor:
    """Return the matrix (length, n) float64 that brings the n pixels along an axis to `length`; its rows add up to 1."""
    n = image.shape[axis]
    scale = torch.full((), 1.0, dtype=torch.float64, device=image.device) * n / length
    to = torch.arange(length, dtype=torch.float64, device=image.device)[:, None]
    of = torch.arange(n, dtype=torch.float64, device=image.device)[None]
    shared = (torch.minimum((to + 1) * scale, of + 1) - torch.maximum(to * scale, of)).clamp(min=0) / scale
    middle = ((to + 0.5) * scale - 0.5).clamp(min=0)
    middle = torch.minimum(middle, torch.zeros_like(middle) + n - 1)
    near = (1 - (middle - of).abs()).clamp(min=0)
    return torch.where(scale >= 1, shared, near)


def working(size: Size, height: int, width: int) -> tuple[int, int]:
    """Return what `segexp.preprocessing.working_size` does, in whole numbers that may be symbols of an exporter."""
    if size is None:
        return height, width
    if isinstance(size, tuple | list):
        return int(size[0]), int(size[1])
    if isinstance(size, int):
        longest = larger(height, width)
        return _divided(height * size, longest), _divided(width * size, longest)
    whole = 1 << 20
    part = round(size * whole)
    return _divided(height * part, whole), _divided(width * part, whole)


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
