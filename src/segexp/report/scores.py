"""The scores of a run with their intervals, over all classes and for each."""

import math
from collections.abc import Mapping, Sequence

from segexp.comparison.casewise import ACCURACY
from segexp.comparison.words import counted, number
from segexp.metrics.statistics import Interval
from segexp.report.page import Html, details, element, notice, paragraph, section, table
from segexp.report.scored import MEANING, SplitScores, behind, meaning, named, span

BAR = 180
"""Width of the drawing of an interval, in pixels."""

STYLE = """
.tight td{white-space:nowrap}.ends{color:var(--soft);font-size:.8em}.bar-cell svg{width:11rem;min-width:11rem}
.bar-cell .span{fill:var(--c0);opacity:.45}.bar-cell .mean{stroke:var(--c0);stroke-width:2.5}
""".replace("\n", "")


def verdict(parts: Sequence[SplitScores], worries: Sequence[str] = (), remarks: Sequence[str] = ()) -> Html:
    """Return the main scores in a sentence per split, then what is wrong with them and what else there is to say."""
    sentences = [sentence(part) for part in parts]
    content = [paragraph(text) for text in (*sentences[1:], *worries, *remarks)]
    return notice("warning" if worries else "note", sentences[0] if sentences else "No case was scored.", *content)


def sentence(part: SplitScores) -> str:
    """Return Dice and IoU of a split in words, with interval and number of cases."""
    found = part.interval("dice") if "dice" in part.values else None
    if found is None or not found.cases:
        return f"{part.split}: no Dice is defined, because no case has a pixel of {', '.join(part.classes)}."
    text = f"{part.split}: Dice {number(found.mean)}"
    if not math.isnan(found.low):
        text += f" (95 % interval {span(found)})"
    if "iou" in part.values:
        text += f", IoU {number(part.mean('iou'))}"
    text += f", over {behind(found, part)}"
    if math.isnan(found.low):
        text += "; one case gives no interval"
    elif part.few_groups is not None:
        text += "; the interval is over these cases and says nothing about another group"
    return f"{text}."


def scores_section(parts: Sequence[SplitScores], pooled: Mapping[str, float]) -> Html:
    """Return tables of all scores.

    Args:
        parts: one per split.
        pooled: the scores of metrics.json, by "<split>/<score>".
    """
    content: list[str] = [paragraph(_explained(parts))]
    for part in parts:
        content.append(element("h3", part.split) if len(parts) > 1 else "")
        content.append(_over_classes(part, pooled))
        if len(part.classes) > 1:
            content.append(details("Each class by itself", _each_class(part), opened=len(part.classes) <= 8))
        if text := _false_alarms(part):
            content.append(paragraph(text))
    return section("Scores", *content)


def _explained(parts: Sequence[SplitScores]) -> str:
    several = any(len(part.classes) > 1 for part in parts)
    mean_of = "Mean over cases, then over the foreground classes" if several else "Mean over cases"
    groups = any(any(part.groups) and part.few_groups is None for part in parts)
    drawn = "whole groups (cases that belong together)" if groups else "cases"
    text = f"{mean_of}, with its bootstrap 95 % interval: {drawn} are drawn again and again."
    text += " A case whose truth lacks a class does not count for it."
    few = [f"the {len(p.ids)} cases of {p.split} are of {counted(p.few_groups, 'group')}" for p in parts if p.few_groups]
    if few:
        text += f" But {' and '.join(few)}, too few to be drawn: another group may score differently."
    return text


def _over_classes(part: SplitScores, pooled: Mapping[str, float]) -> Html:
    intervals = {name: found for name in (*part.measures, ACCURACY) if (found := part.interval(name)).cases}
    axis = _axis(list(intervals.values()))
    rows = [
        [_head(name), number(found.mean), span(found), behind(found, part), _bar(found, *axis)]
        for name, found in intervals.items()
    ]
    for name, text in (("dice_pooled", "Dice, pooled"), ("iou_pooled", "IoU, pooled")):
        value = pooled.get(f"{part.split}/{name}", math.nan)
        if not math.isnan(value):
            rows.append([element("span", text, title=meaning(name)), number(value), "", "all pixels as one", Html("")])
    heads = ("score", "mean", "95 % interval", "over", f"{axis[0]:g} to {axis[1]:g}")
    return element("div", table(heads, rows, numbers=(1, 2)), class_="tight")


def _each_class(part: SplitScores) -> Html:
    """Return a row per class, each mean above its interval."""
    heads = ["class", *map(named, part.measures)]
    rows = []
    for k, name in enumerate(part.classes):
        row: list[str] = [name]
        for measure in part.measures:
            found = part.interval(measure, k)
            row.append(Html(number(found.mean) + element("div", span(found), class_="ends")))
        missing = part.missing[:, k]
        row += [f"{int((~missing).sum())} of {len(missing)}", f"{part.values['fp'][missing, k].sum():.0f}"]
        rows.append(row)
    heads += ["cases with it", "falsely found in the others, px"]
    return element("div", table(heads, rows, numbers=range(1, len(heads))), class_="tight")


def _false_alarms(part: SplitScores) -> str:
    if len(part.classes) > 1 or not part.missing.any():
        return ""
    missing = part.missing[:, 0]
    pixels = part.values["fp"][missing, 0]
    return (
        f"{int(missing.sum())} of {len(missing)} cases have no {part.classes[0]} and no Dice; "
        f"in {int((pixels > 0).sum())} of them it was found all the same ({pixels.sum():.0f} pixels)."
    )


def _head(name: str) -> Html:
    low = " (low is good)" if meaning(name).endswith("low is good") else ""
    return element("span", named(name) + low, title=MEANING.get(name, ""))


def _axis(intervals: Sequence[Interval]) -> tuple[float, float]:
    """Return the ends of the scale on which scores up to 1 are drawn: tenths that hold all of their intervals."""
    ends = [end for found in intervals if 0 <= found.mean <= 1 for end in (found.low, found.high, found.mean) if 0 <= end <= 1]
    low, high = math.floor(min(ends, default=0.0) * 10), math.ceil(max(ends, default=1.0) * 10)
    return low / 10, max(high, low + 1) / 10


def _bar(interval: Interval, low: float, high: float) -> Html:
    """Return the interval as a bar with a mark at the mean; nothing for scores of another range."""
    if not 0 <= interval.mean <= 1:
        return Html("")

    def x(value: float) -> float:
        return 2 + (BAR - 4) * (min(max(value, low), high) - low) / (high - low)

    shapes = f'<line class="axis" x1="2" x2="{BAR - 2}" y1="8" y2="8"/>'
    if not math.isnan(interval.low):
        left, right = x(interval.low), x(interval.high)
        shapes += f'<rect class="span" x="{left:.1f}" width="{max(right - left, 1):.1f}" y="4" height="8"/>'
    shapes += f'<line class="mean" x1="{x(interval.mean):.1f}" x2="{x(interval.mean):.1f}" y1="1" y2="15"/>'
    return Html(f'<div class="bar-cell"><svg viewBox="0 0 {BAR} 16" aria-hidden="true">{shapes}</svg></div>')
