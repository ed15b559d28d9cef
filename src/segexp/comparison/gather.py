"""Runs to rows of a table: those that differ only in the seed, or only in the fold, are one row."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from segexp.comparison.casewise import Metric, Scored, mean, scored, shares, together
from segexp.comparison.folds import alike, by_seed
from segexp.comparison.records import Record
from segexp.comparison.settings import names
from segexp.errors import DataError, listed
from segexp.metrics.statistics import Interval, bootstrap_interval

FEWEST_GROUPS = 3
"""Groups from which on whole groups are drawn; of fewer, cases are, which says nothing about another group."""


@dataclass(frozen=True, eq=False)
class Entry:
    """One row: a run, or the runs of several seeds and folds.

    Attributes:
        name: short, different from those of the other rows.
        runs: behind it.
        scored: per case the mean over the runs that scored it: over seeds; of folds, the one that did not train on it.
        by_seed: the score of each seed, all its folds together.
    """

    name: str
    runs: tuple[Record, ...]
    scored: Scored
    by_seed: tuple[float, ...]

    @cached_property
    def interval(self) -> Interval:
        """The score and its interval over cases, or over groups where there are at least three."""
        return bootstrap_interval(shares(self.scored.values), drawn(self.scored.groups))

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds behind it."""
        return tuple(sorted({run.seed for run in self.runs if run.seed is not None}))

    @property
    def folds(self) -> tuple[int, ...]:
        """The folds behind it."""
        return tuple(sorted({run.fold for run in self.runs if run.fold is not None}))

    @property
    def spread(self) -> float:
        """Standard deviation of the score between seeds; NaN of fewer than two."""
        return float(np.std(self.by_seed, ddof=1)) if len(self.by_seed) > 1 else float("nan")

    def fact(self, key: str) -> float:
        """Return the mean over the runs of a number in their metrics.json; NaN where none has it."""
        found = [float(run.facts[key]) for run in self.runs if isinstance(run.facts.get(key), int | float)]
        return float(np.mean(found)) if found else float("nan")

    def most(self, key: str) -> float:
        """Return the largest over the runs of a number in their metrics.json; NaN where none has it."""
        return max((float(r.facts[key]) for r in self.runs if isinstance(r.facts.get(key), int | float)), default=float("nan"))


def drawn(groups: Sequence[str | None]) -> tuple[str | None, ...] | None:
    """Return the groups when whole ones are to be drawn, None when cases are: without groups, or with fewer than three."""
    return tuple(groups) if any(groups) and unit_count(groups) >= FEWEST_GROUPS else None


def unit_count(groups: Sequence[str | None]) -> int:
    """Return the number of groups, and of cases that stand alone."""
    return len({group for group in groups if group is not None}) + sum(group is None for group in groups)


def gather(records: Sequence[Record], split: str, metric: Metric, seeds_together: bool = True) -> list[Entry]:
    """Return the rows, in the order of their first runs.

    Args:
        records: the runs.
        split: that is compared; the folds of a cross-validation are one row each way: on val every case was scored by the
            fold that did not train on it, on test by all folds.
        metric: that is compared.
        seeds_together: seeds make one row, unless they validated on different cases.

    Raises:
        DataError: folds of one row validated on the same case.
    """
    parts = {id(record): scored(record, split, metric) for record in records}
    free = ("seed", "data.fold") if seeds_together else ("data.fold",)
    rows = [part for row in alike(records, free) for part in _separable(row, parts)]
    found = names(rows, free)
    return [_entry(name, row, split, parts) for name, row in zip(found, rows, strict=True)]


def _separable(row: list[Record], parts: dict[int, Scored]) -> list[list[Record]]:
    """Return a row as it is, or taken apart: by seeds that scored other cases, or to single runs that were made twice."""
    if len({(record.seed, record.fold) for record in row}) < len(row):
        return [[record] for record in row]
    of_seeds = list(by_seed(row).values())
    ids = {frozenset(id_ for record in part for id_ in parts[id(record)].ids) for part in of_seeds}
    return [row] if len(ids) == 1 else of_seeds


def _entry(name: str, row: Sequence[Record], split: str, parts: dict[int, Scored]) -> Entry:
    for part in by_seed(row).values() if split == "val" else ():
        counted = [id_ for record in part for id_ in parts[id(record)].ids]
        twice = sorted({id_ for id_ in counted if counted.count(id_) > 1}) if len(set(counted)) < len(counted) else []
        if twice:
            raise DataError(
                f"{len(twice)} cases were validated by more than one fold of {listed((r.directory for r in part), 2)}: "
                f"{listed(twice, 3)}",
                "Each case is in val of one fold; these runs are no folds of one cross-validation",
                "Compare runs of one study of folds: -m data.folds=5 data.fold=0,1,2,3,4",
            )
    means = tuple(mean(together([parts[id(record)] for record in part]).values) for part in by_seed(row).values())
    return Entry(name, tuple(row), together([parts[id(record)] for record in row]), means)
