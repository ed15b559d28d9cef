"""Mask values to class indices by lookup, and what values a mask holds."""

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from segexp.data.labels.spec import Value

Array = npt.NDArray[Any]

UNCLAIMED = 254
"""The code of pixels whose value nobody claims."""


def value_counts(pixels: Array, colour: bool) -> dict[Value, int]:
    """Count the pixels of each value: of (H, W) or (N,) by number, with `colour` of (H, W, 3) or (N, 3) by "#RRGGBB"."""
    if colour:
        values, counts = np.unique(_pack(pixels), return_counts=True)
        return {f"#{int(v):06X}": int(n) for v, n in zip(values, counts, strict=True)}
    if pixels.dtype in (np.uint8, np.uint16):
        counts = np.bincount(pixels.ravel())
        return {int(v): int(counts[v]) for v in np.flatnonzero(counts)}
    values, counts = np.unique(pixels, return_counts=True)
    return {int(v) if float(v).is_integer() else float(v): int(n) for v, n in zip(values, counts, strict=True)}  # type: ignore[misc]


def gray_if_gray(raw: Array) -> Array:
    """Return one channel of a colour picture whose three channels are equal; 16-bit colours become 8-bit ones."""
    if raw.ndim == 2:
        return raw
    if np.array_equal(raw[..., 0], raw[..., 1]) and np.array_equal(raw[..., 0], raw[..., 2]):
        return raw[..., 0]
    if raw.dtype == np.uint16:
        return (raw if raw.max() <= 255 else raw >> 8).astype(np.uint8)
    return raw


def coded(raw: Array, claims: tuple[tuple[int, int], ...]) -> Array:
    """Return (H, W) uint8 codes.

    Args:
        raw: (H, W) of any type, or (H, W, 3) uint8.
        claims: pairs of a gray value, or a packed colour 0xRRGGBB for (H, W, 3), and its code.
    """
    if raw.ndim == 3:
        return np.take(_colour_lookup(claims), _pack(raw))
    if raw.dtype in (np.uint8, np.uint16):
        lookup = np.full(np.iinfo(raw.dtype).max + 1, UNCLAIMED, np.uint8)
        for value, index in claims:
            if 0 <= value < len(lookup):
                lookup[value] = index
        return np.take(lookup, raw)
    out = np.full(raw.shape, UNCLAIMED, np.uint8)  # soft or negative values: rare
    for value, index in claims:
        out[raw == value] = index
    return out


@lru_cache(maxsize=2)
def _colour_lookup(claims: tuple[tuple[int, int], ...]) -> Array:
    """16 MiB with the class of every colour; kept outside the table so that it never travels to a worker process."""
    lookup = np.full(1 << 24, UNCLAIMED, np.uint8)
    for value, index in claims:
        lookup[value] = index
    return lookup


def _pack(colours: Array) -> Array:
    wide = colours.astype(np.int32)
    return (wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2]
