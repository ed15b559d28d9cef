"""Duplicate images: across splits, with different masks, or counted twice."""

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
"""Maximum Hamming distance between the 64-bit hashes of two copies."""
ALIKE = 0.95
"""Minimum correlation of local detail between two copies."""
FINE, FINE_TURNED = 0.7, 0.9
"""Minimum correlation of the finest detail: in general, and for mirrored or rotated copies."""
FINE_IN_SERIES = (0.85, 0.965)
"""Bounds of that minimum for slices or frames, where neighbours are similar."""
SERIES = 0.8
"""Median similarity to the most similar image above which a data set is considered slices or frames."""
FLAT = 1.0
"""Standard deviation in gray values below which an image is too uniform to compare."""

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
"""Orientations in which copies are searched."""

Copy = tuple[int, int, str]
"""Positions of two images and the orientation of the second, a key of `ORIENTATIONS`."""


def perceptual_hashes(picture: Array) -> Array:
    """Return the 64-bit perceptual hash of a thumbnail in each of `ORIENTATIONS`, uint64.

    Signs of the lowest 8 x 8 DCT coefficients about their median (Zauner 2010, Implementation and benchmarking of perceptual
    image hash functions).
    """
    coarse = cv2.resize(to_gray(picture), (32, 32), interpolation=cv2.INTER_AREA)
    return np.array([_hash(np.ascontiguousarray(orient(coarse))) for orient in ORIENTATIONS.values()], np.uint64)


def find_copies(pictures: Sequence[Array], together: Sequence[str | None], digests: Sequence[str]) -> list[Copy]:
    """Return pairs of thumbnails that are near copies, except within a group and of images with equal digests."""
    flat = [float(to_gray(picture).std()) < FLAT for picture in pictures]
    found = [
        pair
        for pair in _candidates([perceptual_hashes(picture) for picture in pictures])
        if digests[pair[0]] != digests[pair[1]] and not (flat[pair[0]] or flat[pair[1]])
    ]
    details = _Details(pictures)
    likeness = {pair: details.coarse(pair) for pair in found}
    least = _fine_threshold(len(pictures), likeness, details)
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


def _fine_threshold(count: int, likeness: Mapping[Copy, float], details: "_Details") -> float:
    """Return the minimum correlation of the finest detail between copies, see `FINE`."""
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
    """Return the median correlation of local detail between consecutive images, and between distant ones."""
    details = _Details(pictures)
    count = len(pictures)
    near = [details.coarse((n, n + 1, "")) for n in range(count - 1)]
    far = [details.coarse((n, (n + count // 2) % count, "")) for n in range(count)]
    return float(np.median(near)), float(np.median(far))


class _Details:
    """Local detail of thumbnails at two scales, computed on demand."""

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
    """Return the band between two scales (sigma in pixels), with normalised local contrast and unit length."""
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
    """Return the pairs with similar hashes, the smaller position first."""
    if len(known) < 2:
        return []
    table = np.stack(known)
    out: list[Copy] = []
    for way, name in enumerate(ORIENTATIONS):
        for first in range(len(known) - 1):
            apart = np.bitwise_count(table[first, 0] ^ table[first + 1 :, way])
            out += [(first, first + 1 + int(k), name) for k in np.flatnonzero(apart <= BITS)]
    return out


_KEEP = (
    "or keep such pairs together: put groups.csv with the columns id and group beside the pictures and type "
    "'data.groups={file: groups.csv, match: \"{id}\", column: group}'"
)


def check_equal(cases: Sequence[Case], splits: Mapping[str, str], digests: Mapping[str, str]) -> list[Finding]:
    """Return findings on images that are equal pixel by pixel; cases without a digest are skipped."""
    pairs = [(a, b, "") for a, b in _equal(cases, digests)]
    return _by_split(pairs, splits, "duplicate", "the same picture")


def check_contradictions(cases: Sequence[Case], digests: Mapping[str, str], masks: Mapping[str, str]) -> list[Finding]:
    """Return findings on equal images with different masks, given digests of images and class indices by case id."""
    found = [(a, b) for a, b in _equal(cases, digests) if masks.get(a.id) and masks.get(b.id) and masks[a.id] != masks[b.id]]
    if not found:
        return []
    named = listed([f"{a.id} and {b.id} ({listed(a.masks)} against {listed(b.masks)})" for a, b in found], 4)
    text = f"{_count(found)} the same picture with different masks: {named}"
    do = "Keep the right mask of each pair, and move the other one and its image out of the data folder"
    return [Finding("error", "contradiction", text, do, tuple(dict.fromkeys(c.id for pair in found for c in pair)))]


def check_copies(scans: Sequence[CaseScan], splits: Mapping[str, str]) -> list[Finding]:
    """Return findings on near copies."""
    found = find_copies([scan.picture for scan in scans], [scan.case.group for scan in scans], [scan.digest for scan in scans])
    pairs = [(scans[a].case, scans[b].case, way) for a, b, way in found]
    return _by_split(pairs, splits, "near_duplicate", "almost the same picture")


def _by_split(pairs: Sequence[tuple[Case, Case, str]], splits: Mapping[str, str], kind: str, what: str) -> list[Finding]:
    across = [pair for pair in pairs if splits.get(pair[0].id) != splits.get(pair[1].id)]
    within = [pair for pair in pairs if splits.get(pair[0].id) == splits.get(pair[1].id)]
    findings = []
    if across:
        copy = across[0][1] if splits.get(across[0][0].id) == "train" else across[0][0]
        text = f"{_count(across, ' in different splits')} {what}: {_named(across, splits)}"
        do = f"Scores on such cases tell nothing; move one of each out of the data folder ({copy.image} and its mask)"
        if all(case.split is None for pair in across for case in pair[:2]):
            do += f", {_KEEP}"
        level = "error" if kind == "duplicate" else "warning"  # nearly equal is a guess
        findings.append(Finding(level, kind, text, do, _ids(across)))
    if within:
        text = f"{_count(within, ' in one split')} {what}: {_named(within, splits)}"
        do = f"They count double; move one of each out of the data folder ({within[0][1].image} and its mask)"
        if any(case.split is None for pair in within for case in pair[:2]):
            do += f", {_KEEP}"
        findings.append(Finding("warning", kind, text, do, _ids(within)))
    return findings


def _equal(cases: Sequence[Case], digests: Mapping[str, str]) -> list[tuple[Case, Case]]:
    """Return the first of each set of equal images paired with each of the others."""
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


def _count(pairs: Sequence[object], where: str = "") -> str:
    return f"{len(pairs)} pair of cases{where} shows" if len(pairs) == 1 else f"{len(pairs)} pairs of cases{where} show"
