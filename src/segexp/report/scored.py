"""All scores of the cases of one split as arrays, and the interval of each mean by the rules of a comparison.

Legend: N cases, F foreground classes.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from segexp.comparison.casewise import ACCURACY, Metric, directions, mean, of_cases, scored, shares
from segexp.comparison.gather import drawn, unit_count
from segexp.comparison.records import NAMING, Record
from segexp.comparison.words import counted, number
from segexp.metrics.statistics import Interval, bootstrap_interval

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


def span(interval: Interval) -> str:
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
