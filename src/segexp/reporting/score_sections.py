"""All scores of the cases of one split as arrays, and the interval of each mean by the rules of a comparison.

Legend: N cases, F foreground classes.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from segexp.evaluation.case_scores import ACCURACY, Metric, directions, mean, of_cases, scored, shares
from segexp.evaluation.grouping import drawn, unit_count
from segexp.evaluation.records import NAMING, Record
from segexp.evaluation.summary_text import counted, number
from segexp.metrics.significance import Interval, bootstrap_interval
from segexp.reporting import charts
from segexp.reporting.html import Html, details, element, notice, paragraph, section, table
from segexp.reporting.tables import Cell, Column, Link, grid

COUNTS = ("tp", "fp", "fn")

UNIT = "in pixels, or as data.spacing has it where metrics.boundary.unit=spacing"

MEANING = {
    "dice": "2 TP / (2 TP + FP + FN)",
    "iou": "Intersection over union: TP / (TP + FP + FN)",
    "precision": "Share of the predicted pixels that are right",
    "recall": "Share of the true pixels that were found",
    "hd95": f"95th percentile of the distances between the borders, {UNIT}",
    "assd": f"Mean distance between the borders, {UNIT}",
    "nsd": "Share of the borders that are within the tolerance of each other",
    "boundary_iou": "Intersection over union of the pixels near the borders",
    "ece": "Expected calibration error: how far probabilities are from the share of hits",
    "brier": "Mean squared error of the probabilities",
    "jaccard_thresholded": "Intersection over union, 0 where it is below the threshold",
    "v_rand": "Foreground-restricted Rand score after border thinning",
    "v_info": "Foreground-restricted information score after border thinning",
    "accuracy": "Share of pixels with the right class; where classes may overlap, the mean of that over the classes",
    "tp": "Pixels of the class that were found",
    "fp": "Pixels falsely given to the class",
    "fn": "Pixels of the class that were missed",
}

NAMES = {"dice": "Dice", "iou": "IoU", "hd95": "HD95", "assd": "ASSD", "nsd": "NSD", "ece": "ECE", "brier": "Brier"}


@dataclass(frozen=True, eq=False)
class SplitScores:
    """The scores of one split.

    Attributes:
        split: its name.
        ids: N case ids.
        groups: the group of each case, None for one that stands alone.
        classes: F names of the foreground classes.
        values: (N, F) by score, NaN where one is not defined; counts among them.
        accuracy: (N, 1), share of pixels with the right class.
    """

    split: str
    ids: tuple[str, ...]
    groups: tuple[str | None, ...]
    classes: tuple[str, ...]
    values: Mapping[str, np.ndarray]
    accuracy: np.ndarray

    @property
    def measures(self) -> tuple[str, ...]:
        """The names of the scores, without the counts."""
        return tuple(name for name in self.values if name not in COUNTS)

    @property
    def missing(self) -> np.ndarray:
        """(N, F) bool: the truth of the case has no pixel of the class."""
        return np.asarray(self.values["tp"] + self.values["fn"] == 0)

    def of_cases(self, measure: str) -> np.ndarray:
        """Return one score per case (N,): the mean over the classes for which it is defined, NaN where there is none."""
        return of_cases(self.values[measure])

    def mean(self, measure: str) -> float:
        """Return the mean over classes of the mean over cases, as metrics.json has it."""
        return mean(self.values[measure])

    def interval(self, measure: str, position: int | None = None) -> Interval:
        """Return the mean of a score and its interval.

        Args:
            measure: its name, or "accuracy".
            position: of one class; None is the mean over classes of the mean over cases.
        """
        values = self.accuracy if measure == ACCURACY else self.values[measure]
        one = shares(values) if position is None else values[:, position]
        return bootstrap_interval(one, drawn(self.groups))

    @property
    def few_groups(self) -> int | None:
        """How many groups the cases are of, where these are too few to be drawn; else None."""
        return unit_count(self.groups) if any(self.groups) and drawn(self.groups) is None else None


def split_scores(record: Record, split: str) -> SplitScores:
    """Return the scores of a split of a run."""
    own = [row for row in record.cases if row["split"] == split]
    names = record.classes[1:]
    ids = tuple(dict.fromkeys(row["id"] for row in own))
    place, column = ({name: n for n, name in enumerate(each)} for each in (ids, names))
    group_of = {row["id"]: row["group"] or None for row in own}
    values = {name: np.full((len(ids), len(names)), np.nan) for name in record.columns if name not in NAMING}
    for row in own:
        if (k := column.get(row["class"])) is not None:
            for name, array in values.items():
                array[place[row["id"]], k] = float(row[name] or "nan")
    accuracy = scored(record, split, Metric(ACCURACY)).values
    return SplitScores(split, ids, tuple(group_of[name] for name in ids), names, values, accuracy)


def named(measure: str) -> str:
    """Return how a score is called on a page."""
    return NAMES.get(measure, measure.replace("_", " "))


def meaning(measure: str) -> str:
    """Return what a score is, and whether it is good when it is low."""
    low = "low is good" if directions().get(measure) == "low" and measure not in COUNTS else ""
    return "; ".join(text for text in (MEANING.get(measure, ""), low) if text)


def digits(arrays: Iterable[np.ndarray]) -> int:
    """Return 4 digits after the point for scores up to 1, 2 for distances in pixels."""
    return 2 if any((values[~np.isnan(values)] > 1).any() for values in arrays) else 4


def interval_text(interval: Interval) -> str:
    """Return "0.9012 to 0.9456"; a dash where no interval is defined."""
    return f"{number(interval.low)} to {number(interval.high)}" if math.isfinite(interval.low) else "-"


def behind(interval: Interval, part: SplitScores) -> str:
    """Return behind how many cases, and groups, a mean stands."""
    groups = interval.groups if interval.groups is not None else part.few_groups
    text = counted(interval.cases, "case")
    return text if groups is None or groups == interval.cases else f"{text} of {counted(groups, 'group')}"


def parts_of(record: Record) -> Sequence[SplitScores]:
    """Return the scores of each split of a run, test first: nothing was chosen on it."""
    splits = sorted(record.splits, key=lambda split: split != "test")
    return [split_scores(record, split) for split in splits]


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
        text += f" (95 % interval {interval_text(found)})"
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
        [_head(name), number(found.mean), interval_text(found), behind(found, part), _bar(found, *axis)]
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
            row.append(Html(number(found.mean) + element("div", interval_text(found), class_="ends")))
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


EVERY = "mean"
"""Stands where a row is of all classes of a case."""


def cases_section(parts: Sequence[SplitScores], places: Mapping[tuple[str, str], str]) -> Html:
    """Return one row per case and foreground class, and one for their mean; the worst Dice first.

    Args:
        parts: one per split.
        places: `#name` of the pictures of a case, by split and id.
    """
    several = any(len(part.classes) > 1 for part in parts)
    grouped = any(group is not None for part in parts for group in part.groups)
    measures = tuple(dict.fromkeys(name for part in parts for name in part.measures))
    names = ["case", *(["split"] * (len(parts) > 1)), *(["group"] * grouped), *(["class"] * several)]
    columns = [Column(name) for name in names]
    for name in measures:
        arrays = [part.values[name] for part in parts if name in part.values]
        columns.append(Column(named(name), digits(arrays), meaning(name)))
    columns += [Column(name.upper(), 0, meaning(name)) for name in COUNTS]
    rows: list[list[Cell]] = []
    for part in parts:
        means = {name: part.of_cases(name) for name in measures if name in part.values}
        sums = {name: part.values[name].sum(axis=1) for name in COUNTS}
        for n, case in enumerate(part.ids):
            place = places.get((part.split, case))
            first: Cell = Link(case, place) if place else case
            fixed: list[Cell] = [first, *([part.split] * (len(parts) > 1)), *([part.groups[n] or ""] * grouped)]
            if several:
                rows.append(
                    [*fixed, EVERY, *(_at(means, name, n) for name in measures), *(_at(sums, name, n) for name in COUNTS)]
                )
            for k, name in enumerate(part.classes):
                numbers = [_at({m: v[:, k] for m, v in part.values.items()}, m, n) for m in (*measures, *COUNTS)]
                rows.append([*fixed, *([name] * several), *numbers])
    where = names.index("class") if several else None
    choices = {n: "" for n, name in enumerate(names) if name in ("split", "group")}
    choices |= {where: EVERY} if where is not None else {}
    dice = len(names) + (measures.index("dice") if "dice" in measures else 0)
    shown = grid(columns, rows, sort=(dice, True), choices=dict(sorted(choices.items())), limit=dice)
    note = paragraph(
        "Worst Dice first; a heading sorts by its column, the second time the other way round. "
        "Empty: the truth has no such class. The file cases.csv beside this page holds the same, and the background."
    )
    return section("Cases", note, shown)


def spread_section(parts: Sequence[SplitScores], measure: str = "dice") -> Html:
    """Return a histogram of the case scores for each split."""
    drawn = []
    for part in parts:
        values = part.of_cases(measure) if measure in part.values else np.zeros(0)
        known = values[~np.isnan(values)]
        if not len(known):
            continue
        bins = int(np.clip(2 * math.sqrt(len(known)), 8, 20))
        counts, edges = np.histogram(known, bins, (min(math.floor(known.min() * 10) / 10, 0.8), 1.0))
        low, middle, high = np.quantile(known, (0.25, 0.5, 0.75))
        chart = charts.columns(
            counts, edges, "Dice of a case", f"Histogram of the Dice of {len(known)} {part.split} cases", "cases"
        )
        caption = (
            f"{part.split}: median {middle:.3f}, the middle half from {low:.3f} to {high:.3f}, "
            f"lowest {known.min():.3f}, highest {known.max():.3f}; {len(known)} cases"
        )
        drawn.append(element("figure", chart, element("figcaption", caption)))
    if not drawn:
        return Html("")
    return section("How the cases are spread", element("div", *drawn, class_="charts"))


def _at(values: Mapping[str, np.ndarray], name: str, case: int) -> float | None:
    value = float(values[name][case]) if name in values else math.nan
    return None if math.isnan(value) else value
