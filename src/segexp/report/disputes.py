"""The part of check.html that shows which masks to look at first: image, given mask, prediction, where they differ."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from segexp.checking.disagreement import Disagreement
from segexp.comparison.words import number
from segexp.pictures import CORRECT, FALSE_ALARM, MISSED, WRONG_CLASS
from segexp.report.gallery import views
from segexp.report.page import Html, details, element, figure, inline, notice, paragraph, picture, section, table
from segexp.types import DataSpec

Array = np.ndarray[Any, np.dtype[Any]]

SHOWN = 12
"""Cases with pictures."""
LISTED = 100
"""Cases in the table; label_errors.csv has all."""
CAPTIONS = ("image", "given mask", "prediction", "where they differ")


def disputes_section(
    ranking: Sequence[Disagreement],
    notes: Sequence[str],
    spec: DataSpec,
    look: Callable[[Disagreement], tuple[Array, Array, Array]],
) -> Html:
    """Return the section.

    Args:
        ranking: the most doubtful first.
        notes: sentences about it.
        spec: classes and colours.
        look: gives image (H, W, C), given mask (H, W) and prediction (H, W) of a case.
    """
    shown = []
    for rank, each in enumerate(ranking[:SHOWN], start=1):
        drawn = views(*look(each), spec.palette, overlapping=spec.overlapping)
        figures = [figure(picture(a, f"{each.case.id}: {name}"), name) for a, name in zip(drawn, CAPTIONS, strict=True)]
        head = (element("strong", f"{rank}. {each.case.id}"), f" \u00b7 {_scores(each)}")
        shown += [element("p", *head, class_="shot-head")]
        shown += [element("div", *figures, class_="shots")]
    rows = [
        (str(n), each.case.id, number(each.quality), number(each.dice), str(each.only_given), str(each.only_predicted))
        for n, each in enumerate(ranking[:LISTED], start=1)
    ]
    heading = ("rank", "case", "label quality", "Dice", "pixels only given", "pixels only predicted")
    return section(
        "Masks to look at first",
        notice("note", "A ranking, not a verdict: the network may be wrong, and then these are its hardest cases."),
        paragraph(" ".join(notes)),
        paragraph(
            "Label quality says how well the mask agrees with the probabilities of the network, beside the network's own mask: "
            "from 0, surely wrong, to 1; what the network doubts counts little. Dice is that of mask and prediction."
        ),
        _keys(spec),
        *shown,
        details(f"The first {len(rows)} of {len(ranking)}", table(heading, rows, numbers=(0, 2, 3, 4, 5))),
    )


def _scores(each: Disagreement) -> str:
    return f"label quality {number(each.quality)} \u00b7 Dice {number(each.dice)}"


def _keys(spec: DataSpec) -> Html:
    """Return what the colours mean."""
    masks = list(zip(spec.classes, spec.palette, strict=True))[1:]
    differ = [("in both", CORRECT), ("only in the given mask", MISSED), ("only in the prediction", FALSE_ALARM)]
    differ += [("another class", WRONG_CLASS)] if len(spec.classes) > 2 else []
    lines = [paragraph(text, *(_key(*one) for one in entries)) for text, entries in (("Masks: ", masks), ("Differ: ", differ))]
    return element("div", *lines, class_="keys")


def _key(name: str, colour: Sequence[int]) -> Html:
    box = Html(f'<span class="key" style="background:rgb({",".join(map(str, colour))})"></span>')
    return element("span", inline(box, name))
