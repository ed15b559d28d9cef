"""Convert any image to 8-bit RGB."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Colour = tuple[int, int, int]
Palette = Sequence[Colour]

PAPER: Colour = (255, 255, 255)
INK: Colour = (32, 32, 32)

STRIP = 1 << 20
"""Pixels processed at once, to limit memory on large images."""

ENOUGH = 1 << 22
"""Pixels sampled to compute percentiles."""


def row_strips(shape: tuple[int, ...]) -> Iterator[slice]:
    """Yield slices of rows of about `STRIP` pixels each."""
    rows = max(1, STRIP // max(1, shape[1]))
    yield from (slice(top, min(top + rows, shape[0])) for top in range(0, shape[0], rows))


def to_display(image: Array) -> Array:
    """Return any image (H, W) or (H, W, C) as RGB (H, W, 3) uint8.

    8-bit values and floats in [0, 1] keep their brightness; other values are stretched between their 0.5th and 99.5th
    percentile. Images of one or two channels show the first as gray, others their first three.
    """
    image = image[..., None] if image.ndim == 2 else image
    image = image[..., :3] if image.shape[2] >= 3 else image[..., :1]
    shown = np.empty((*image.shape[:2], 3), np.uint8)
    if image.dtype == np.uint8:
        shown[...] = image
        return shown
    low, high = 0.0, 1.0
    if not _on_unit_scale(image):
        some = image.reshape(-1, image.shape[2])[:: max(1, image.shape[0] * image.shape[1] // ENOUGH)]
        low, high = np.percentile(_finite(some), (0.5, 99.5))
    for rows in row_strips(image.shape):
        values = _finite(image[rows])
        shown[rows] = np.rint(np.clip((values - low) / max(high - low, 1e-12), 0, 1) * 255)
    return shown


def _on_unit_scale(image: Array) -> bool:
    if image.dtype == bool:
        return True
    return image.dtype.kind == "f" and image.size > 0 and bool(image.min() >= 0 and image.max() <= 1)


def _finite(image: Array) -> Array:
    values = image.astype(np.float32)
    return values if image.dtype.kind in "uib" else np.nan_to_num(values, copy=False, posinf=0.0, neginf=0.0)
