"""What values a mask file holds, and which of them no class claims.

Legend: H W pixels.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from segexp.data.labels.coding import value_counts
from segexp.data.labels.overlapping import Labels
from segexp.data.labels.spec import Value, gray, packed
from segexp.data.labels.table import LabelTable
from segexp.types import Source

Array = np.ndarray[Any, np.dtype[Any]]

SOFT = 3
"""So many different values between those of two classes make a soft mask; fewer are stray values."""
CLEAR = 0.8
"""Share of the pixels of a soft mask that are near one of the two values; of pictures it is less."""
STRAY = 64
"""More unclaimed values than these and a mask is not encoded at all."""


@dataclass(frozen=True)
class MaskLook:
    """What was seen of one mask file.

    Attributes:
        source: the file.
        counts: pixels by value or colour.
        unclaimed: those of them that belong to no class.
        thin: whether all but the two most frequent values lie in lines that an erosion by one pixel removes, as the soft
            border of a shape does.
    """

    source: Source
    counts: dict[Value, int]
    unclaimed: dict[Value, int]
    thin: bool

    def soft(self, ends: tuple[int, int] | None) -> bool:
        """Tell whether this is a mask of two values with a soft border: most pixels are near those, and others between."""
        if ends is None or len(self.between(*ends)) < SOFT:
            return False
        margin = max(1, (ends[1] - ends[0]) // 8)
        near = sum(n for v, n in self.counts.items() if not isinstance(v, str) and min(abs(v - end) for end in ends) <= margin)
        return near >= CLEAR * sum(self.counts.values())

    def between(self, low: int, high: int) -> list[int]:
        """Return the unclaimed gray values between two values, in order."""
        return sorted(int(v) for v in self.unclaimed if not isinstance(v, str) and low < v < high)


def look_at_mask(source: Source, raw: Array, table: LabelTable | None) -> MaskLook:
    """Count the values of a mask (H, W), or (H, W, 3) in colour."""
    counts = value_counts(raw, colour=raw.ndim == 3)
    return MaskLook(source, counts, _unclaimed(counts, raw.ndim == 3, table), len(counts) > 2 and _thin(raw, counts))


def two_grays(table: Labels | None) -> tuple[int, int] | None:
    """Return the lower and the higher gray value of a table with two classes of one gray value each, else None."""
    if table is None or len(table.classes) != 2 or any(len(values) != 1 for values in table.classes.values()):
        return None
    found = [gray(values[0]) for values in table.classes.values()]
    return (min(found), max(found)) if None not in found else None  # type: ignore[type-var, return-value]


def _unclaimed(counts: dict[Value, int], colour: bool, table: LabelTable | None) -> dict[Value, int]:
    if table is None or table.threshold is not None:
        return {}
    claimed = [value for values in (*table.classes.values(), table.ignore) for value in values]
    known = {packed(value) if colour else gray(value) for value in claimed}
    return {value: count for value, count in counts.items() if (packed(value) if colour else value) not in known}


def _thin(raw: Array, counts: dict[Value, int]) -> bool:
    if raw.ndim == 3:
        return False
    first, second, *_ = sorted(counts, key=lambda value: -counts[value])
    rest = ((raw != first) & (raw != second)).astype(np.uint8)
    return bool(cv2.erode(rest, np.ones((3, 3), np.uint8)).sum() < 0.05 * rest.sum())


def encoded(raw: Array, table: LabelTable, look: MaskLook) -> Array | None:
    """Return the class indices (H, W) uint8; soft values go to the nearer class, other unclaimed ones are ignored.

    None where there are too many of them.
    """
    if not look.unclaimed:
        return table.encode(raw, str(look.source))
    ends = two_grays(table)
    if ends and look.soft(ends):
        return LabelTable(table.classes, table.ignore, sum(ends) / 2).encode(raw)
    whole = all(isinstance(value, int | str) and int(packed(value) or 0) >= 0 for value in look.unclaimed)
    if whole and len(look.unclaimed) <= STRAY:
        return LabelTable(table.classes, [*table.ignore, *look.unclaimed]).encode(raw)
    return None
