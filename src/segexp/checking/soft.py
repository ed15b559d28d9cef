"""Masks whose shapes have a soft border, as JPEG or smooth resizing leaves it, and the threshold to type."""

from collections.abc import Iterable, Sequence

from segexp.checking.findings import Finding
from segexp.checking.masks import MaskLook, two_grays
from segexp.checking.written import classes_line
from segexp.data.labels.spec import gray
from segexp.data.labels.table import LabelTable

FAR = 32
"""Values of classes that were written as pictures are at least so far apart; class indices are not."""

Named = Sequence[tuple[str, MaskLook]]
"""Masks with the id of their case."""


def check_soft(masks: Named, table: LabelTable) -> list[Finding]:
    """Return a finding on soft masks of two classes: an error until a threshold parts them.

    Args:
        masks: all of them.
        table: of the classes.
    """
    if table.threshold is not None:
        return _parted(masks, table, table.threshold)
    ends = two_grays(table)
    soft = [(id_, mask) for id_, mask in masks if mask.soft(ends)]
    return [_soft(soft, len(masks), ends)] if soft and ends else []


def check_soft_classes(masks: Named, table: LabelTable) -> list[Finding]:
    """Doubt classes that data=auto made out of the soft borders of two others."""
    values = [number for each in table.classes.values() if (number := gray(each[0])) is not None]
    if len(values) < max(4, len(table.classes)) or max(values) - min(values) < FAR:
        return []
    low, high = min(values), max(values)
    many = [(id_, mask) for id_, mask in masks if len(mask.counts) > 2]
    between = all(mask.thin and set(sorted(mask.counts, key=lambda v: -mask.counts[v])[:2]) == {low, high} for _, mask in many)
    if len(many) < len(masks) / 2 or not between:
        return []
    text = (
        f"The masks hold {len(values)} values, all but two of them in lines along a border, as smooth resizing leaves them: "
        f"data=auto took each for a class"
    )
    line = classes_line({"background": low, "foreground": high}, threshold=(low + high) // 2)
    return [Finding("error", "soft_mask", text, f"Type {line}", ids(many))]


def _soft(soft: Named, count: int, ends: tuple[int, int]) -> Finding:
    low, high = ends
    pixels = sum(mask.unclaimed[value] for _, mask in soft for value in mask.between(*ends))
    most = max((mask for _, mask in soft), key=lambda mask: len(mask.between(*ends)))
    text = (
        f"{len(soft)} of {count} masks {'is' if len(soft) == 1 else 'are'} soft: {pixels} pixels have values between {low} and "
        f"{high}, as JPEG or smooth resizing leaves them (most in {most.source}, {len(most.between(*ends))} different ones)"
    )
    do = f"Type data.threshold={(low + high) // 2}, so that pixels above it are of the class with the higher value"
    return Finding("error", "soft_mask", text, do, ids(soft))


def _parted(masks: Named, table: LabelTable, threshold: float) -> list[Finding]:
    """Say that masks are soft where a threshold parts them already."""
    soft = [(id_, mask) for id_, mask in masks if len(mask.counts) > len(table.classes) + len(table.ignore)]
    if not soft:
        return []
    have = "has" if len(soft) == 1 else "have"
    text = f"{len(soft)} of {len(masks)} masks {have} soft borders, parted by data.threshold={threshold:g}"
    return [Finding("note", "soft_mask", text, "Look at the overlays; another threshold makes shapes larger or smaller")]


def ids(found: Iterable[tuple[str, object]]) -> tuple[str, ...]:
    """Return the ids of cases, each once."""
    return tuple(dict.fromkeys(id_ for id_, _ in found))
