"""The scores of a run: arrays, confidence intervals and tables.

Shapes: N cases, F classes that count in means.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from segexp.errors import pluralise
from segexp.evaluation.case_scores import (
    ACCURACY,
    Metric,
    case_contributions,
    directions,
    mean_over_classes,
    mean_score,
    read_case_scores,
)
from segexp.evaluation.grouping import resampling_groups, unit_count
from segexp.evaluation.records import NAMING, Record
from segexp.evaluation.summary_text import format_score
from segexp.metrics.significance import Interval, bootstrap_interval
from segexp.reporting.charts import Chart, IntervalBar, histogram, interval_bar
from segexp.reporting.rendering import Notice
from segexp.reporting.tables import Cell, Column, Grid, Link, grid

COUNTS = ("tp", "fp", "fn")

UNIT = "in pixels, or as data.spacing has it where metrics.boundary.unit=spacing"

DEFINITIONS = {
    "dice": "2 TP / (2 TP + FP + FN)",
    "iou": "Intersection over union: TP / (TP + FP + FN)",
    "precision": "Share of the predicted pixels that are right",
    "recall": "Share of the true pixels that were found",
    "hd95": f"95th percentile of the distances between the borders, {UNIT}",
    "assd": f"Mean distance between the borders, {UNIT}",
    "nsd": "Share of the borders that are within the tolerance of each other",
    "boundary_iou": "Intersection over union of the pixels near the borders",
    "ece": "Expected calibration error: how far probabilities are from observed frequencies",
    "brier": "Mean squared error of the probabilities",
    "jaccard_thresholded": "Intersection over union, 0 where it is below the threshold",
    "v_rand": "Foreground-restricted Rand score after border thinning",
    "v_info": "Foreground-restricted information score after border thinning",
    "accuracy": "Share of pixels with the right class; where classes may overlap, the mean of that over the classes",
    "tp": "Pixels of the class that were found",
    "fp": "Pixels falsely given to the class",
    "fn": "Pixels of the class that were missed",
}

DISPLAY_NAMES = {"dice": "Dice", "iou": "IoU", "hd95": "HD95", "assd": "ASSD", "nsd": "NSD", "ece": "ECE", "brier": "Brier"}


@dataclass(frozen=True, eq=False)
class SplitScores:
    """The scores of one split.

    Attributes:
        split: its name.
        ids: N case ids.
        groups: the group of each case, or None.
        classes: F names.
        values: (N, F) by score or count, NaN if undefined.
        accuracy: (N, 1), pixel accuracy.
        background: the class that is left out; "" if none is.
    """

    split: str
    ids: tuple[str, ...]
    groups: tuple[str | None, ...]
    classes: tuple[str, ...]
    values: Mapping[str, np.ndarray]
    accuracy: np.ndarray
    background: str = ""

    @property
    def measures(self) -> tuple[str, ...]:
        """The names of the scores, without the counts."""
        return tuple(name for name in self.values if name not in COUNTS)

    @property
    def missing(self) -> np.ndarray:
        """(N, F) bool: the mask of the case lacks the class."""
        return np.asarray(self.values["tp"] + self.values["fn"] == 0)

    def of_cases(self, measure: str) -> np.ndarray:
        """Return one score per case (N,): the mean over the classes for which it is defined, NaN if there are none."""
        return mean_over_classes(self.values[measure])

    def mean(self, measure: str) -> float:
        """Return the mean over classes of the mean over cases, as in metrics.json."""
        return mean_score(self.values[measure])

    def interval(self, measure: str, position: int | None = None) -> Interval:
        """Return the mean of a score and its interval.

        Args:
            measure: its name, or "accuracy".
            position: of one class; None for the mean over classes of the mean over cases.
        """
        values = self.accuracy if measure == ACCURACY else self.values[measure]
        one = case_contributions(values) if position is None else values[:, position]
        return bootstrap_interval(one, resampling_groups(self.groups))

    @property
    def few_groups(self) -> int | None:
        """Number of groups if there are too few to resample; else None."""
        return unit_count(self.groups) if any(self.groups) and resampling_groups(self.groups) is None else None


def split_scores(record: Record, split: str) -> SplitScores:
    """Return the scores of a split of a run."""
    own = [row for row in record.cases if row["split"] == split]
    names = record.foreground
    ids = tuple(dict.fromkeys(row["id"] for row in own))
    place, column = ({name: n for n, name in enumerate(each)} for each in (ids, names))
    group_of = {row["id"]: row["group"] or None for row in own}
    values = {name: np.full((len(ids), len(names)), np.nan) for name in record.columns if name not in NAMING}
    for row in own:
        if (k := column.get(row["class"])) is not None:
            for name, array in values.items():
                array[place[row["id"]], k] = float(row[name] or "nan")
    accuracy = read_case_scores(record, split, Metric(ACCURACY)).values
    background = next((name for name in record.classes if name not in names), "")
    return SplitScores(split, ids, tuple(group_of[name] for name in ids), names, values, accuracy, background)


def display_name(measure: str) -> str:
    """Return the display name of a score."""
    return DISPLAY_NAMES.get(measure, measure.replace("_", " "))


def definition(measure: str) -> str:
    """Return the definition of a score, with a note if low is good."""
    low = "low is good" if directions().get(measure) == "low" and measure not in COUNTS else ""
    return "; ".join(text for text in (DEFINITIONS.get(measure, ""), low) if text)


def decimals(arrays: Iterable[np.ndarray]) -> int:
    """Return the number of decimals: 4 for scores up to 1, 2 for larger values."""
    return 2 if any((values[~np.isnan(values)] > 1).any() for values in arrays) else 4


def interval_text(interval: Interval) -> str:
    """Return "0.9012 to 0.9456", or "-" if undefined."""
    return f"{format_score(interval.low)} to {format_score(interval.high)}" if math.isfinite(interval.low) else "-"


def sample_size(interval: Interval, part: SplitScores) -> str:
    """Return the sample size of a mean: "8 cases of 2 groups"."""
    groups = interval.groups if interval.groups is not None else part.few_groups
    text = pluralise(interval.cases, "case")
    return text if groups is None or groups == interval.cases else f"{text} of {pluralise(groups, 'group')}"


def scores_by_split(record: Record) -> list[SplitScores]:
    """Return the scores of each split of a run, test first."""
    splits = sorted(record.splits, key=lambda split: split != "test")
    return [split_scores(record, split) for split in splits]


@dataclass(frozen=True)
class ScoreRow:
    """A score of a split: mean, interval and sample as text; `bar` is None for scores outside 0 to 1."""

    name: str
    definition: str
    mean: str
    interval: str
    sample: str
    bar: IntervalBar | None


@dataclass(frozen=True)
class ClassRow:
    """A class of a split: mean and interval of each score, number of cases, and false positives in the others."""

    name: str
    scores: Sequence[tuple[str, str]]
    cases: str
    false_positives: str


@dataclass(frozen=True)
class ScoreTables:
    """The scores of one split on the page.

    Attributes:
        split: its name.
        axis: ends of the scale of the bars.
        rows: a row per score.
        measures: names of the class scores.
        classes: a row per class that counts; empty if there is only one.
        note: about cases without the class, if there is only one.
    """

    split: str
    axis: tuple[float, float]
    rows: Sequence[ScoreRow]
    measures: Sequence[str]
    classes: Sequence[ClassRow]
    note: str


ALL_CLASSES = "mean"
"""Class label of the mean over all classes of a case."""
OPEN_CLASSES = 8
"""Maximum number of classes whose table is initially expanded."""


def score_notice(parts: Sequence[SplitScores], warnings: Sequence[str] = (), remarks: Sequence[str] = ()) -> Notice:
    """Return the main scores in a sentence per split, with warnings and remarks."""
    sentences = [score_sentence(part) for part in parts]
    title = sentences[0] if sentences else "No case was scored."
    return Notice("warning" if warnings else "note", title, [*sentences[1:], *warnings, *remarks])


def score_sentence(part: SplitScores) -> str:
    """Return Dice and IoU of a split with interval and number of cases as a sentence."""
    found = part.interval("dice") if "dice" in part.values else None
    if found is None or not found.cases:
        return f"{part.split}: no Dice is defined, because no case has a pixel of {', '.join(part.classes)}."
    text = f"{part.split}: Dice {format_score(found.mean)}"
    if not math.isnan(found.low):
        text += f" (95 % interval {interval_text(found)})"
    if "iou" in part.values:
        text += f", IoU {format_score(part.mean('iou'))}"
    text += f", over {sample_size(found, part)}"
    if math.isnan(found.low):
        text += "; one case gives no interval"
    elif part.few_groups is not None:
        text += "; the interval describes these cases and says nothing about a new group"
    return f"{text}."


def describe_means(parts: Sequence[SplitScores]) -> str:
    """Explain the means and intervals of the tables."""
    several = any(len(part.classes) > 1 for part in parts)
    mean_of = "Mean over cases"
    if several and all(part.background for part in parts):
        mean_of += ", then over the foreground classes"
    elif several:
        mean_of += f", then over all {max(len(part.classes) for part in parts)} classes, for none is the background"
    groups = any(any(part.groups) and part.few_groups is None for part in parts)
    resampled = "whole groups (cases that belong together)" if groups else "cases"
    text = f"{mean_of}, with a 95 % bootstrap interval that resamples {resampled}."
    text += " A case whose ground truth lacks a class does not count for that class."
    few = [f"the {len(p.ids)} cases of {p.split} are of {pluralise(p.few_groups, 'group')}" for p in parts if p.few_groups]
    if few:
        text += f" But {' and '.join(few)}, too few to resample: a new group may score differently."
    return text


def score_tables(part: SplitScores, pooled: Mapping[str, float]) -> ScoreTables:
    """Return the tables of all scores of a split.

    Args:
        part: its scores.
        pooled: the scores of metrics.json, by "<split>/<score>".
    """
    intervals = {name: found for name in (*part.measures, ACCURACY) if (found := part.interval(name)).cases}
    axis = _bar_axis(list(intervals.values()))
    rows = [
        ScoreRow(
            display_name(name) + (" (low is good)" if definition(name).endswith("low is good") else ""),
            DEFINITIONS.get(name, ""),
            format_score(found.mean),
            interval_text(found),
            sample_size(found, part),
            interval_bar(found, *axis),
        )
        for name, found in intervals.items()
    ]
    for name, text in (("dice_pooled", "Dice, pooled"), ("iou_pooled", "IoU, pooled")):
        value = pooled.get(f"{part.split}/{name}", math.nan)
        if not math.isnan(value):
            rows.append(ScoreRow(text, definition(name), format_score(value), "", "all pixels pooled", None))
    classes = _class_rows(part) if len(part.classes) > 1 else []
    return ScoreTables(part.split, axis, rows, list(map(display_name, part.measures)), classes, _false_positive_note(part))


def _class_rows(part: SplitScores) -> list[ClassRow]:
    rows = []
    for k, name in enumerate(part.classes):
        found = [part.interval(measure, k) for measure in part.measures]
        missing = part.missing[:, k]
        present, wrong = f"{int((~missing).sum())} of {len(missing)}", f"{part.values['fp'][missing, k].sum():.0f}"
        rows.append(ClassRow(name, [(format_score(each.mean), interval_text(each)) for each in found], present, wrong))
    return rows


def _false_positive_note(part: SplitScores) -> str:
    if len(part.classes) > 1 or not part.missing.any():
        return ""
    missing = part.missing[:, 0]
    pixels = part.values["fp"][missing, 0]
    return (
        f"{int(missing.sum())} of {len(missing)} cases have no {part.classes[0]} and therefore no Dice; "
        f"in {int((pixels > 0).sum())} of them it was predicted all the same ({pixels.sum():.0f} pixels)."
    )


def _bar_axis(intervals: Sequence[Interval]) -> tuple[float, float]:
    """Return the ends of the bar scale: tenths that include all intervals of scores up to 1."""
    ends = [end for found in intervals if 0 <= found.mean <= 1 for end in (found.low, found.high, found.mean) if 0 <= end <= 1]
    low, high = math.floor(min(ends, default=0.0) * 10), math.ceil(max(ends, default=1.0) * 10)
    return low / 10, max(high, low + 1) / 10


def case_grid(parts: Sequence[SplitScores], anchors: Mapping[tuple[str, str], str]) -> Grid:
    """Return one row per case and class that counts, and one for their mean; the worst Dice first.

    Args:
        parts: one per split.
        anchors: `#name` of the images of a case, by split and id.
    """
    several = any(len(part.classes) > 1 for part in parts)
    grouped = any(group is not None for part in parts for group in part.groups)
    measures = tuple(dict.fromkeys(name for part in parts for name in part.measures))
    names = ["case", *(["split"] * (len(parts) > 1)), *(["group"] * grouped), *(["class"] * several)]
    columns = [Column(name) for name in names]
    for name in measures:
        arrays = [part.values[name] for part in parts if name in part.values]
        columns.append(Column(display_name(name), decimals(arrays), definition(name)))
    columns += [Column(name.upper(), 0, definition(name)) for name in COUNTS]
    rows: list[list[Cell]] = []
    for part in parts:
        means = {name: part.of_cases(name) for name in part.measures}
        for n, case in enumerate(part.ids):
            anchor = anchors.get((part.split, case))
            first: Cell = Link(case, anchor) if anchor else case
            fixed: list[Cell] = [first, *([part.split] * (len(parts) > 1)), *([part.groups[n] or ""] * grouped)]
            rows += [
                [*fixed, *([name] * several), *values]
                for name, values in _case_values(part, n, measures, means if several else {})
            ]
    where = names.index("class") if several else None
    choices = {n: "" for n, name in enumerate(names) if name in ("split", "group")}
    choices |= {where: ALL_CLASSES} if where is not None else {}
    dice = len(names) + (measures.index("dice") if "dice" in measures else 0)
    return grid(columns, rows, sort=(dice, True), choices=dict(sorted(choices.items())), limit=dice)


def _case_values(
    part: SplitScores, case: int, measures: Sequence[str], means: Mapping[str, np.ndarray]
) -> Iterator[tuple[str, list[Cell]]]:
    """Yield scores and counts of a case by class, preceded by their means if given."""

    def cells(values: Mapping[str, float]) -> list[Cell]:
        found = (float(values.get(name, math.nan)) for name in (*measures, *COUNTS))
        return [None if math.isnan(value) else value for value in found]

    if means:
        sums = {name: part.values[name][case].sum() for name in COUNTS}
        yield ALL_CLASSES, cells({name: values[case] for name, values in means.items()} | sums)
    for k, name in enumerate(part.classes):
        yield name, cells({measure: values[case, k] for measure, values in part.values.items()})


def score_histograms(parts: Sequence[SplitScores], measure: str = "dice") -> list[tuple[Chart, str]]:
    """Return a histogram of the case scores with its caption for each split with scores."""
    found = []
    for part in parts:
        values = part.of_cases(measure) if measure in part.values else np.zeros(0)
        known = values[~np.isnan(values)]
        if not len(known):
            continue
        bins = int(np.clip(2 * math.sqrt(len(known)), 8, 20))
        ends = (min(math.floor(known.min() * 10) / 10, 0.8), 1.0)
        label = f"Histogram of the Dice of {len(known)} {part.split} cases"
        chart = histogram(known, "Dice of a case", label, bins=bins, value_range=ends)
        low, middle, high = np.quantile(known, (0.25, 0.5, 0.75))
        caption = (
            f"{part.split}: median {middle:.3f}, middle half from {low:.3f} to {high:.3f}, "
            f"lowest {known.min():.3f}, highest {known.max():.3f}; {pluralise(len(known), 'case')}"
        )
        if chart is not None:
            found.append((chart, caption))
    return found
