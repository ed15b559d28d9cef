"""Whether the first class is the background, which means over classes leave out.

Shapes: N cases, K classes, H W pixels.
"""

import re
from collections.abc import Sequence

import numpy as np

from segexp.checks.issues import Finding
from segexp.checks.scan import CaseScan
from segexp.config.overrides import shell_words
from segexp.config.schema import FIRST, DataConfig
from segexp.data.labels.multilabel import Labels, OverlappingTable
from segexp.data.labels.spec import format_value

WORDS = frozenset(
    {"background", "bg", "void", "unlabeled", "unlabelled", "unannotated", "undefined", "unknown", "none", "nothing", "nodata"}
    | {"empty", "other", "others", "rest", "outside", "clutter", "ignore", "ignored"}
)
"""Words in the name of a class that is left out."""
ALONE = 0.95
"""Minimum share of the borders between classes that have the background on one side: the others lie on it, one by one."""
AROUND = 0.9
"""Minimum share of the image edges that is background where classes touch or lie in each other."""


def check_background(scans: Sequence[CaseScan], table: Labels, data: DataConfig, *, recognised: bool = False) -> list[Finding]:
    """Return a question if nothing shows that the first of three or more classes is the background.

    A background is named so, or surrounds the other classes (`surrounding`). `data.background` answers the question.

    Args:
        scans: N cases with thumbnails of their masks.
        table: of the classes.
        data: the data section.
        recognised: the class names were made up, since the classes were inferred from the masks.
    """
    name = table.names[0]
    named = not recognised and bool(WORDS & set(re.split(r"[^a-z]+", name.lower())))
    named |= table.annotated
    masks = [scan.labels for scan in scans if scan.labels is not None]
    if isinstance(table, OverlappingTable) or data.background != FIRST or len(table.names) < 3 or named or not masks:
        return []
    bordering, around = surrounding(masks, len(table.names))
    if bordering >= ALONE or around >= AROUND:
        return []
    value = format_value(table.classes[name][0])
    text = (
        f"Is {name} (the mask value {value}) the background? As the first class it is left out of every mean over classes, but "
        f"it looks like one of them: {1 - bordering:.0%} of the borders between classes are without it, and it has "
        f"{around:.0%} of the image edges"
    )
    answer = shell_words({"data.background": name})
    do = f"Type data.background=null if every class counts, {answer} if it is the background, or the name of another class"
    return [Finding("warning", "background", text, do)]


def surrounding(masks: Sequence[np.ndarray], classes: int) -> tuple[float, float]:
    """Return how far the first class surrounds the others.

    Args:
        masks: N masks (H, W) uint8 of class indices, 255 = ignore.
        classes: K.

    Returns:
        Its share of the borders (pairs of neighbouring pixels of two classes), 1 without borders; and of the pixels along the
        image edges. Each 0 to 1.
    """
    borders, edges = np.zeros(2, np.int64), np.zeros(2, np.int64)
    for mask in masks:
        for one, other in ((mask[1:], mask[:-1]), (mask[:, 1:], mask[:, :-1])):
            differ = (one != other) & (one < classes) & (other < classes)
            borders += np.count_nonzero(differ & ((one == 0) | (other == 0))), np.count_nonzero(differ)
        edge = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
        edges += np.count_nonzero(edge == 0), np.count_nonzero(edge < classes)
    return (borders[0] / borders[1] if borders[1] else 1.0), float(edges[0] / max(1, edges[1]))
