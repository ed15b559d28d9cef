"""Pictures that are the same picture: re-compressed, brighter, resized or mirrored copies, but not neighbouring slices.

A hash of the coarse structure finds candidates, the correlation of local detail decides. Slices of one scan are as like as
copies in what is coarse; where a set is full of such pairs, the finest detail must agree as well.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from segexp.checking.small import SIDE, gray

Array = np.ndarray[Any, np.dtype[Any]]

BITS = 10
"""Bits of 64 in which the hashes of two copies may differ."""
ALIKE = 0.95
"""Correlation of local detail from which two pictures may be copies."""
FINE, FINE_TURNED = 0.7, 0.9
"""Correlation of the finest detail that is needed: as a rule, and for mirrored copies."""
FINE_IN_SERIES = (0.85, 0.965)
"""The same among slices: above what is usual between neighbours, but within these bounds."""
SERIES = 0.8
"""Median likeness of pictures with the one most like them, from which a set is full of slices or frames."""
FLAT = 1.0
"""Standard deviation in gray values below which a picture has nothing to compare."""

Orient = Callable[[Array], Array]
ORIENTATIONS: Mapping[str, Orient] = {
    "": lambda a: a,
    "mirrored": lambda a: a[:, ::-1],
    "upside down": lambda a: a[::-1],
    "turned by 180 degrees": lambda a: a[::-1, ::-1],
    "transposed": lambda a: a.T,
    "turned by 90 degrees": lambda a: a.T[:, ::-1],
    "turned by 270 degrees": lambda a: a.T[::-1],
    "transposed and upside down": lambda a: a.T[::-1, ::-1],
}
"""How a copy may lie."""

Copy = tuple[int, int, str]
"""Positions of two pictures and how the second lies: "" as the first, or a key of `ORIENTATIONS`."""


def hashes(picture: Array) -> Array:
    """Return a 64-bit hash of a small picture for each of `ORIENTATIONS`, uint64.

    The signs, about their median, of the lowest 8 x 8 coefficients of a cosine transform (Zauner 2010, Implementation and
    benchmarking of perceptual image hash functions).
    """
    coarse = cv2.resize(gray(picture), (32, 32), interpolation=cv2.INTER_AREA)
    return np.array([_hash(np.ascontiguousarray(orient(coarse))) for orient in ORIENTATIONS.values()], np.uint64)


def copies(pictures: Sequence[Array], together: Sequence[str | None], digests: Sequence[str]) -> list[Copy]:
    """Return pairs that are copies of each other, though not pixel for pixel.

    Args:
        pictures: small pictures.
        together: the group of each; pairs within a group are left out.
        digests: a hash of each whole picture; pairs with the same one are left out.
    """
    flat = [float(gray(picture).std()) < FLAT for picture in pictures]
    found = [
        pair
        for pair in _candidates([hashes(picture) for picture in pictures])
        if digests[pair[0]] != digests[pair[1]] and not (flat[pair[0]] or flat[pair[1]])
    ]
    details = _Details(pictures)
    likeness = {pair: details.coarse(pair) for pair in found}
    least = _needed(len(pictures), likeness, details)
    out, paired = [], set()
    for pair in sorted(found, key=lambda pair: -likeness[pair]):
        first, second, way = pair
        grouped = together[first] is not None and together[first] == together[second]
        if likeness[pair] < ALIKE or grouped or (first, second) in paired:
            continue
        if details.fine(pair) >= (max(least, FINE_TURNED) if way else least):
            paired.add((first, second))
            out.append(pair)
    return sorted(out)


def _needed(count: int, likeness: Mapping[Copy, float], details: "_Details") -> float:
    """Return the correlation of the finest detail that tells copies from what else there is, see `FINE`."""
    nearest: dict[int, Copy] = {}
    for pair, value in likeness.items():
        for n in pair[:2]:
            if n not in nearest or likeness[nearest[n]] < value:
                nearest[n] = pair
    if 2 * len(nearest) <= count or np.median([likeness[pair] for pair in nearest.values()]) <= SERIES:
        return FINE
    usual = np.percentile([details.fine(pair) for pair in nearest.values()], 90)
    return float(np.clip(usual + 0.03, *FINE_IN_SERIES))


def neighbour_likeness(pictures: Sequence[Array]) -> tuple[float, float]:
    """Return the median correlation of local detail of each picture with the next one, and with one far away."""
    details = _Details(pictures)
    count = len(pictures)
    near = [details.coarse((n, n + 1, "")) for n in range(count - 1)]
    far = [details.coarse((n, (n + count // 2) % count, "")) for n in range(count)]
    return float(np.median(near)), float(np.median(far))


class _Details:
    """Local detail of pictures, at two scales, worked out when asked for."""

    def __init__(self, pictures: Sequence[Array]) -> None:
        self.pictures = pictures
        self._coarse: dict[int, Array] = {}

    def coarse(self, pair: Copy) -> float:
        """Return the correlation of detail from 1 to 4 pixels."""
        first, second = (self._kept(n).reshape(SIDE, SIDE) for n in pair[:2])
        return float((first * ORIENTATIONS[pair[2]](second)).sum())

    def fine(self, pair: Copy) -> float:
        """Return the correlation of detail up to 2 pixels."""
        first, second = (_detail(gray(self.pictures[n]), 0, 2) for n in pair[:2])
        return float((first * ORIENTATIONS[pair[2]](second)).sum())

    def _kept(self, n: int) -> Array:
        if n not in self._coarse:
            self._coarse[n] = _detail(gray(self.pictures[n]), 1, 4)
        return self._coarse[n]


def _detail(level: Array, low: float, high: float) -> Array:
    """Return the detail between two scales (standard deviations in pixels), of one contrast everywhere, of length 1."""
    smooth = cv2.GaussianBlur(level, (0, 0), low) if low else level
    band = smooth - cv2.GaussianBlur(level, (0, 0), high)
    band = band / (np.sqrt(cv2.GaussianBlur(band * band, (0, 0), 2 * high)) + 2)
    band = band - band.mean()
    return np.asarray(band / max(float(np.linalg.norm(band)), 1e-6))


def _hash(coarse: Array) -> np.uint64:
    lowest = cv2.dct(coarse)[:8, :8].ravel()
    bits = lowest > np.median(lowest)
    return np.uint64(np.packbits(bits).view(np.uint64)[0])


def _candidates(known: Sequence[Array]) -> list[Copy]:
    """Return the pairs whose hashes differ in few bits, first position smaller."""
    if len(known) < 2:
        return []
    table = np.stack(known)
    out: list[Copy] = []
    for way, name in enumerate(ORIENTATIONS):
        for first in range(len(known) - 1):
            apart = np.bitwise_count(table[first, 0] ^ table[first + 1 :, way])
            out += [(first, first + 1 + int(k), name) for k in np.flatnonzero(apart <= BITS)]
    return out
