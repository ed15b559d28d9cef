"""Case scores from the rows of cases.csv, and their aggregation.

Shapes: N cases, K' classes that count: one, or all but the background, if there is one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from segexp.errors import ConfigError, listed, nearest
from segexp.evaluation.records import Record

ACCURACY = "accuracy"
"""Pixel accuracy of a whole case, computed from its counts."""


@dataclass(frozen=True)
class Metric:
    """A metric to compare.

    Attributes:
        column: of cases.csv, or "accuracy".
        only: a single class; None for the mean over all classes that count.
        low: whether lower is better.
    """

    column: str
    only: str | None = None
    low: bool = False

    def __str__(self) -> str:
        return f"{self.column}/{self.only}" if self.only else self.column


@dataclass(frozen=True, eq=False)
class CaseScores:
    """Scores of some cases.

    Attributes:
        ids: N.
        groups: of each case; None for no group.
        values: (N, K') float64; NaN where a score is not defined.
    """

    ids: tuple[str, ...]
    groups: tuple[str | None, ...]
    values: np.ndarray

    def mean(self) -> float:
        """Return the mean over classes of the mean over cases, as in metrics.json."""
        return mean_score(self.values)


def parse_metric(text: str, records: Sequence[Record], better: str | None = None) -> Metric:
    """Parse a metric name.

    Args:
        text: "dice", "dice/liver", or any other column of cases.csv.
        records: the runs that must have it.
        better: "high" or "low"; by default as the metric defines it, "high" for unknown ones.

    Raises:
        ConfigError: a run does not have the metric or the class.
    """
    column, _, only = text.partition("/")
    for record in records:
        known = known_columns(record)
        if column not in known:
            others = any(column in known_columns(other) for other in records)
            hint = nearest(column, known)
            again = f"Score that run again (python -m segexp.evaluate checkpoint={record.directory} output=DIR) and compare DIR"
            raise ConfigError(
                f"metric={text}: {record.directory} has no score {column} of its cases",
                f"Its cases.csv has {', '.join(known)}. {hint if hint.startswith('Did') else ''}".strip(),
                again if others else "Type metric=NAME or metric=NAME/CLASS",
            )
        if only and (column == ACCURACY or only not in record.classes):
            what = "one number for all classes" if column == ACCURACY else f"of {', '.join(record.classes)}"
            raise ConfigError(
                f"metric={text}: the {column} of {record.directory} is {what}",
                "" if column == ACCURACY else nearest(only, record.classes),
                f"Type metric={column}" + ("" if column == ACCURACY else f", or metric={column}/{record.classes[-1]}"),
            )
    return Metric(column, only or None, (better or directions().get(column, "high")) == "low")


def known_columns(record: Record) -> list[str]:
    """Return the names of the case scores of a run, counts last."""
    counts = [name for name in record.columns if name in ("tp", "fp", "fn")]
    return [*(name for name in record.columns if name not in counts), ACCURACY, *counts]


def directions() -> dict[str, str]:
    """Return for each score name whether "high" or "low" is better."""
    from segexp.metrics.boundary import Boundary
    from segexp.metrics.calibration import Calibration
    from segexp.metrics.lesion import ThresholdedJaccard
    from segexp.metrics.membrane import Membrane

    found: dict[str, str] = {"fp": "low", "fn": "low"}
    for better in (Boundary().better, Calibration().better, ThresholdedJaccard().better, Membrane().better):
        found |= better
    return found


def choose_split(records: Sequence[Record], typed: str | None) -> str:
    """Return the split to compare: the typed one, else the first of test, val, all, train that every run has."""
    common = [split for split in ("test", "val", "all", "train") if all(split in record.splits for record in records)]
    if typed is None and common:
        return common[0]
    lacking = [record for record in records if typed is None or typed not in record.splits]
    if lacking:
        each = listed((f"{record.directory} has {', '.join(record.splits)}" for record in lacking), 3)
        raise ConfigError(
            f"split={typed} was not scored in every run" if typed else "The runs have no scored split in common",
            each,
            f"Type split={common[0]}" if common else "Compare runs with the same split",
        )
    return str(typed)


def read_case_scores(record: Record, split: str, metric: Metric) -> CaseScores:
    """Return the case scores of one run, in the order of cases.csv."""
    rows = [row for row in record.cases if row["split"] == split]
    ids = tuple(dict.fromkeys(row["id"] for row in rows))
    group_of = {row["id"]: row["group"] or None for row in rows}
    groups = tuple(group_of[each] for each in ids)
    if metric.column == ACCURACY:
        return CaseScores(ids, groups, _accuracy(rows, ids)[:, None])
    classes = (metric.only,) if metric.only else record.foreground
    place = {id_: n for n, id_ in enumerate(ids)}
    values = np.full((len(ids), len(classes)), np.nan)
    for row in rows:
        if row["class"] in classes and row[metric.column]:
            values[place[row["id"]], classes.index(row["class"])] = float(row[metric.column])
    return CaseScores(ids, groups, values)


def mask_pixels(record: Record, split: str) -> dict[tuple[str, str], int]:
    """Return the number of mask pixels by case and class."""
    return {(r["id"], r["class"]): int(r["tp"]) + int(r["fn"]) for r in record.cases if r["split"] == split}


def average_runs(parts: Sequence[CaseScores]) -> CaseScores:
    """Average several runs case by case and class by class; a case counts in the runs that scored it."""
    ids = tuple(dict.fromkeys(id_ for part in parts for id_ in part.ids))
    place = {id_: n for n, id_ in enumerate(ids)}
    group_of = {id_: group for part in parts for id_, group in zip(part.ids, part.groups, strict=True)}
    stacked = np.full((len(parts), len(ids), parts[0].values.shape[1]), np.nan)
    for n, part in enumerate(parts):
        stacked[n, [place[id_] for id_ in part.ids]] = part.values
    return CaseScores(ids, tuple(group_of[id_] for id_ in ids), _mean(stacked, 0))


def mean_score(values: np.ndarray) -> float:
    """Return the mean over the K' classes of the mean over cases of (N, K'); NaN if undefined."""
    return float(_mean(_mean(values, 0), 0))


def mean_over_classes(values: np.ndarray) -> np.ndarray:
    """Return the mean over the classes of each case, (N,) from (N, K'); NaN if it has none."""
    return _mean(values, 1)


def case_contributions(values: np.ndarray) -> np.ndarray:
    """Return one value per case whose plain mean equals `mean(values)` and whose spread is correct for the bootstrap.

    The mean over classes of means over cases depends on a case by its deviation from each class mean, weighted by the inverse
    number of cases that have the class (empirical influence, Efron and Tibshirani 1993, chapter 21). With one class these are
    the scores themselves.

    Args:
        values: (N, K').

    Returns:
        (N,); NaN for a case without any class.
    """
    having = (~np.isnan(values)).sum(axis=0)
    some = ~np.isnan(values).all(axis=1)
    if not some.any():
        return np.full(len(values), np.nan)
    weight = some.sum() / (np.maximum(having, 1) * (having > 0).sum())
    moved = np.nan_to_num((values - _mean(values, 0)) * weight).sum(axis=1)
    return np.where(some, mean_score(values) + moved, np.nan)


def _accuracy(rows: Iterable[dict[str, str]], ids: Sequence[str]) -> np.ndarray:
    right, pixels = dict.fromkeys(ids, 0), dict.fromkeys(ids, 0)
    for row in rows:
        right[row["id"]] += int(row["tp"])
        pixels[row["id"]] += int(row["tp"]) + int(row["fn"])
    return np.array([right[id_] / pixels[id_] if pixels[id_] else np.nan for id_ in ids], float)


def _mean(values: np.ndarray, axis: int) -> np.ndarray:
    """Return the mean of the defined values along an axis; NaN if there are none."""
    known = ~np.isnan(values)
    count = known.sum(axis=axis)
    total = np.where(known, values, 0).sum(axis=axis)
    result: np.ndarray = np.divide(total, count, out=np.full(np.shape(count), np.nan), where=count > 0)
    return result
