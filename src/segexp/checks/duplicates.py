"""The same picture twice: in training and validation, with two different masks, or counted double."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from segexp.checks.issues import Finding
from segexp.checks.scan import SIDE, CaseScan, to_gray
from segexp.errors import listed
from segexp.types import Case

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
    coarse = cv2.resize(to_gray(picture), (32, 32), interpolation=cv2.INTER_AREA)
    return np.array([_hash(np.ascontiguousarray(orient(coarse))) for orient in ORIENTATIONS.values()], np.uint64)


def copies(pictures: Sequence[Array], together: Sequence[str | None], digests: Sequence[str]) -> list[Copy]:
    """Return pairs that are copies of each other, though not pixel for pixel.

    Args:
        pictures: small pictures.
        together: the group of each; pairs within a group are left out.
        digests: a hash of each whole picture; pairs with the same one are left out.
    """
    flat = [float(to_gray(picture).std()) < FLAT for picture in pictures]
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
        first, second = (_detail(to_gray(self.pictures[n]), 0, 2) for n in pair[:2])
        return float((first * ORIENTATIONS[pair[2]](second)).sum())

    def _kept(self, n: int) -> Array:
        if n not in self._coarse:
            self._coarse[n] = _detail(to_gray(self.pictures[n]), 1, 4)
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


_KEEP = "or keep such pairs together by a table: 'data.groups={file: groups.csv, match: \"{id}\", column: group}'"


def check_equal(cases: Sequence[Case], splits: Mapping[str, str], digests: Mapping[str, str]) -> list[Finding]:
    """Return findings on pictures that are equal pixel for pixel.

    Args:
        cases: all cases.
        splits: split by case id.
        digests: hash of the decoded image by case id, see `image_digest`; cases without one are passed over.
    """
    pairs = [(a, b, "") for a, b in _equal(cases, digests)]
    return _by_split(pairs, splits, "duplicate", "the same picture")


def check_contradictions(cases: Sequence[Case], digests: Mapping[str, str], masks: Mapping[str, str]) -> list[Finding]:
    """Return findings on equal pictures that have different masks.

    Args:
        cases: all cases.
        digests: hash of the decoded image by case id.
        masks: hash of the class indices by case id.
    """
    found = [(a, b) for a, b in _equal(cases, digests) if masks.get(a.id) and masks.get(b.id) and masks[a.id] != masks[b.id]]
    if not found:
        return []
    named = listed([f"{a.id} and {b.id} ({listed(a.masks)} against {listed(b.masks)})" for a, b in found], 4)
    text = f"{_count(len(found))} of cases {_show(found)} the same picture with different masks: {named}"
    do = "Keep the right mask of each pair, and move the other one and its image out of the data folder"
    return [Finding("error", "contradiction", text, do, tuple(dict.fromkeys(c.id for pair in found for c in pair)))]


def check_copies(looks: Sequence[CaseScan], splits: Mapping[str, str]) -> list[Finding]:
    """Return findings on pictures that are copies of each other, but not pixel for pixel."""
    found = copies([look.picture for look in looks], [look.case.group for look in looks], [look.digest for look in looks])
    pairs = [(looks[a].case, looks[b].case, way) for a, b, way in found]
    return _by_split(pairs, splits, "near_duplicate", "almost the same picture")


def _by_split(pairs: Sequence[tuple[Case, Case, str]], splits: Mapping[str, str], kind: str, what: str) -> list[Finding]:
    across = [pair for pair in pairs if splits.get(pair[0].id) != splits.get(pair[1].id)]
    within = [pair for pair in pairs if splits.get(pair[0].id) == splits.get(pair[1].id)]
    findings = []
    if across:
        odd = across[0][1] if splits.get(across[0][0].id) == "train" else across[0][0]
        text = f"{_count(len(across))} of cases in different splits {_show(across)} {what}: {_named(across, splits)}"
        do = f"Scores on such cases tell nothing; move one of each out of the data folder ({odd.image} and its mask)"
        if all(case.split is None for pair in across for case in pair[:2]):
            do += f", {_KEEP}"
        findings.append(Finding("error", kind, text, do, _ids(across)))
    if within:
        text = f"{_count(len(within))} of cases in one split {_show(within)} {what}: {_named(within, splits)}"
        do = f"They count double; move one of each out of the data folder ({within[0][1].image} and its mask)"
        if any(case.split is None for pair in within for case in pair[:2]):
            do += f", {_KEEP}"
        findings.append(Finding("warning", kind, text, do, _ids(within)))
    return findings


def _equal(cases: Sequence[Case], digests: Mapping[str, str]) -> list[tuple[Case, Case]]:
    """Return the first of each set of equal pictures with each of the others."""
    by_digest: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        if digests.get(case.id):
            by_digest[digests[case.id]].append(case)
    return [(same[0], other) for same in by_digest.values() for other in same[1:]]


def _named(pairs: Sequence[tuple[Case, Case, str]], splits: Mapping[str, str]) -> str:
    def one(case: Case) -> str:
        split = splits.get(case.id)
        return case.id if case.split is not None or split is None else f"{case.id} ({split})"

    return listed([f"{one(a)} = {one(b)}" + (f", {way}" if way else "") for a, b, way in pairs])


def _ids(pairs: Sequence[tuple[Case, Case, str]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(case.id for a, b, _ in pairs for case in (a, b)))


def _show(pairs: Sequence[object]) -> str:
    return "shows" if len(pairs) == 1 else "show"


def _count(pairs: int) -> str:
    return f"{pairs} pair{'s' * (pairs != 1)}"
