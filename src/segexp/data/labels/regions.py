"""What the values of masks are: classes, numbers of objects (instance masks), or the soft border of two classes.

Legend: H W pixels.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

SOFT_BORDER = 0.25
"""Minimum share of the pixels beside the two most frequent values that lie on a slope, in soft masks."""
WHOLE = 0.9
"""Minimum share of the largest component in the pixels of a value that is one piece."""
MAX_SIDE = 512
"""Regions of larger masks are found at a lower resolution."""
VOID = 255
"""Index that marks pixels of no class or object, as in Pascal VOC."""


def slope_share(raw: Array) -> float:
    """Return the share of the pixels of a mask (H, W) beside its two most frequent values that lie on a slope.

    Such a pixel has a lower and a higher value within two pixels: blurred, resized and JPEG-compressed borders have them, and
    areas of one value, such as classes and objects, only where three meet. 0 for masks of at most two values.
    """
    values, counts = np.unique(raw, return_counts=True)
    if len(values) < 3:
        return 0.0
    low, high = values[np.argsort(counts)[-2:]]
    window = np.ones((5, 5), np.uint8)
    slope = (cv2.erode(raw, window) < raw) & (cv2.dilate(raw, window) > raw)
    rest = (raw != low) & (raw != high)
    return float(slope[rest].mean())


@dataclass(frozen=True)
class Region:
    """All pixels of one value in a mask.

    Attributes:
        value: gray value, or packed colour 0xRRGGBB.
        area: pixels.
        whole: it is one component, but for a tenth of its pixels.
        thin: less than a tenth of its pixels have four neighbours of the same value.
        centre: row and column of its centroid, 0 to 1.
    """

    value: float
    area: float
    whole: bool
    thin: bool
    centre: tuple[float, float]


def find_regions(raw: Array) -> list[Region]:
    """Return the region of each value of a mask (H, W)."""
    step = -(-max(raw.shape) // MAX_SIDE)
    raw = raw[::step, ::step]
    height, width = raw.shape
    grid = np.zeros((2 * height - 1, 2 * width - 1), np.uint8)  # pixels, and links between equal neighbours
    grid[::2, ::2] = 1
    grid[1::2, ::2] = down = raw[1:] == raw[:-1]
    grid[::2, 1::2] = right = raw[:, 1:] == raw[:, :-1]
    parts = cv2.connectedComponents(grid, connectivity=4)[1][::2, ::2].ravel() - 1
    inner = np.zeros(raw.shape, bool)
    inner[1:-1, 1:-1] = down[1:, 1:-1] & down[:-1, 1:-1] & right[1:-1, 1:] & right[1:-1, :-1]
    areas = np.bincount(parts)
    of_part = np.empty(len(areas), raw.dtype)
    of_part[parts] = raw.ravel()
    values, of = np.unique(of_part, return_inverse=True)

    def total(weights: Array) -> Array:
        return np.bincount(of, weights=np.bincount(parts, weights=weights.ravel()))

    rows, columns = np.mgrid[:height, :width]
    pixels = np.bincount(of, weights=areas)
    largest = np.zeros(len(values))
    np.maximum.at(largest, of, areas)
    thin = total(inner) < 0.1 * pixels
    y, x = total(rows) / pixels / height, total(columns) / pixels / width
    whole = largest >= WHOLE * pixels
    return [
        Region(float(v), float(pixels[k] * step**2), bool(whole[k]), bool(thin[k]), (float(y[k]), float(x[k])))
        for k, v in enumerate(values)
    ]


@dataclass(frozen=True)
class Numbering:
    """Masks whose values number objects.

    Attributes:
        sure: False where they may be classes as well.
        background: value of the pixels without an object.
        ignore: values that are neither.
        objects: number of objects.
    """

    sure: bool
    background: int
    ignore: tuple[int, ...]
    objects: int


SMALL = 4
"""Minimum median area of objects in pixels; in photographs most values are single pixels."""
PIECES = 0.8
"""Minimum share of values in one piece: occlusion and the border cut some objects in two."""
RUNNING = 0.8
"""Minimum number of objects in a mask, as a share of the highest number, of running numbers."""
MOST_CLASSES = 64
"""Maximum number of values that can be classes."""
MANY = 200
"""Number of values above which random numbers recur by chance."""
FEW = 8
"""Minimum number of objects of one size that tell without other masks."""
EXPLAINED = 0.3
"""Intraclass correlation above which a value tells the size or place of its region."""
ALIKE = 1.0
"""Maximum standard deviation of the logarithm of the areas of objects of one kind."""


def find_numbering(cases: Sequence[Sequence[Region]], void: int | None = VOID) -> Numbering | None:
    """Return how the values of masks number objects; None if they do not.

    The value of an object is one piece. It is a running number or hardly recurs, and tells neither size nor place. A class
    recurs, in several pieces or with a size and a place of its own.

    Args:
        cases: the regions in all masks of an image, for each image.
        void: value that may mark pixels of no object; None for colours.
    """
    empty: dict[float, float] = defaultdict(float)
    for each in (each for case in cases for each in case if each.value <= 0):
        empty[each.value] += each.area
    if not empty:
        return None
    background = max(empty, key=empty.__getitem__)
    others = [[each for each in case if each.value >= 0 and each.value != background] for case in cases]
    voids = void is not None and _is_void(others, void)
    objects = [own for case in others if (own := [each for each in case if not (voids and each.value == void)])]
    pairs = [each for case in objects for each in case]
    if not pairs or np.median([each.area for each in pairs]) < SMALL or any(each.value % 1 for each in pairs):
        return None
    if np.mean([each.whole for each in pairs]) < PIECES:
        return None
    sure = _are_numbers(objects, 1 if background == 0 else 0)
    ignore = [int(value) for value in empty if value < 0 and value != background]
    ignore += [void] if voids and void is not None else []
    return None if sure is None else Numbering(sure, int(background), tuple(ignore), len(pairs))


def _is_void(cases: Sequence[Sequence[Region]], void: int) -> bool:
    """Return whether a value is no object: far above running numbers, or in lines or several pieces."""
    with_it = [case for case in cases if any(each.value == void for each in case)]
    rest = [[each.value for each in case if each.value != void] for case in with_it]
    highest = max((value for case in rest for value in case), default=0)
    if not highest or highest >= void - 1:
        return False
    marked = [each for case in with_it for each in case if each.value == void]
    return _running(rest, 1) or float(np.mean([each.whole and not each.thin for each in marked])) < 0.5


def _running(cases: Sequence[Sequence[float]], first: int) -> bool:
    numbered = [values for values in cases if values]
    return sum(len(set(values)) for values in numbered) >= RUNNING * sum(max(values) - first + 1 for values in numbered)


def _are_numbers(cases: Sequence[Sequence[Region]], first: int) -> bool | None:
    """Return whether values number objects; False if they may be classes as well, None if they are."""
    by_value: dict[float, list[Region]] = defaultdict(list)
    for each in (each for case in cases for each in case):
        by_value[each.value].append(each)
    count, pairs = len(by_value), sum(len(case) for case in cases)
    running = _running([[each.value for each in case] for case in cases], first)
    if count < 3 or not (running or pairs < 2 * count or count > MANY or pairs >= FEW * len(cases)):
        return None
    alike = float(np.std([np.log(each.area) for case in cases for each in case])) <= ALIKE
    features: list[Callable[[Region], float]] = [
        lambda each: float(np.log(each.area)),
        lambda each: each.centre[0],
        lambda each: each.centre[1],
    ]
    told = [_correlation([[feature(each) for each in found] for found in by_value.values()]) for feature in features]
    if sum(each is not None and each > EXPLAINED for each in told) > 1:  # organs, or objects followed through frames
        return (True if count > MOST_CLASSES else False if count >= FEW else None) if alike else None
    if None in told or (not running and pairs < 3 * len(cases)):
        deep = max(by_value) > VOID
        return count > MOST_CLASSES or (count >= FEW and (deep or (alike and pairs >= 3 * len(cases))))
    return count > 3


def _correlation(groups: Sequence[Sequence[float]]) -> float | None:
    """Return the intraclass correlation ICC(1) of values in groups (Shrout and Fleiss 1979); None for too few values."""
    several = [np.array(group) for group in groups if len(group) > 1]
    count = sum(map(len, several))
    if len(several) < 3 or count - len(several) < FEW:
        return None
    mean = np.concatenate(several).mean()
    between = sum(len(group) * (group.mean() - mean) ** 2 for group in several) / (len(several) - 1)
    within = sum(((group - group.mean()) ** 2).sum() for group in several) / (count - len(several))
    size = count / len(several)
    return float((between - within) / max(between + (size - 1) * within, 1e-12))
