"""Group runs into table rows: runs that differ only in seed or fold share a row."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np

from segexp.config.naming import strip_prefix
from segexp.config.saved_runs import study_command
from segexp.errors import DataError, listed
from segexp.evaluation.case_scores import CaseScores, Metric, average_runs, case_contributions, mean_score, read_case_scores
from segexp.evaluation.records import Record
from segexp.evaluation.settings_diff import row_names, settings_key, varying_settings
from segexp.metrics.significance import Interval, bootstrap_interval

FREE = ("seed", "data.fold")
"""Settings that may differ between the runs of one cross-validation."""

_Key = TypeVar("_Key")


def group_runs(records: Iterable[Record], free: Iterable[str] = FREE) -> list[list[Record]]:
    """Group runs that differ only in the settings `free`, in the order of their first runs.

    Evaluations and runs without known settings stay alone. Repeated studies stay separate, since their data may have changed.
    """
    found: dict[str, list[Record]] = {}
    for record in records:
        alone = record.facts.get("status") == "evaluated" or not record.config
        found.setdefault(str(record.directory) if alone else settings_key(record, free), []).append(record)
    return [
        part for runs in found.values() for part in ([runs] if _once(runs) else _group(runs, lambda run: run.study).values())
    ]


def _once(runs: Sequence[Record]) -> bool:
    """Return whether each combination of seed and fold occurs once."""
    return len({(run.seed, run.fold) for run in runs}) == len(runs)


def _group(runs: Iterable[Record], key: Callable[[Record], _Key]) -> dict[_Key, list[Record]]:
    found: dict[_Key, list[Record]] = {}
    for run in runs:
        found.setdefault(key(run), []).append(run)
    return found


def by_seed(runs: Iterable[Record]) -> dict[int | None, list[Record]]:
    """Return the runs of each seed."""
    return _group(runs, lambda run: run.seed)


def missing_folds(runs: Sequence[Record]) -> str:
    """Return which folds of a cross-validation are missing, as in "fold 3 of 0 to 4 is missing"; "" if none is.

    Args:
        runs: that differ only in seed and fold; each seed must have all folds, because it assigns the cases anew.
    """
    count = runs[0].folds or 0
    there = {seed: {run.fold for run in own} for seed, own in by_seed(runs).items()}
    lacking = {seed: [n for n in range(count) if n not in folds] for seed, folds in there.items()}
    if not any(lacking.values()):
        return ""
    if len(lacking) == 1:
        (numbers,) = lacking.values()
        several = len(numbers) > 1
        return f"fold{'s' * several} {listed(numbers, 8)} of 0 to {count - 1} {'are' if several else 'is'} missing"
    each = (f"seed {seed} lacks {listed(numbers, 8)}" for seed, numbers in lacking.items() if numbers)
    return f"of the folds 0 to {count - 1} {'; '.join(each)}"


def split_conflict(runs: Sequence[Record]) -> DataError | None:
    """Return an error if folds are not from the same split, for example because files were added; else None.

    Args:
        runs: that differ only in seed and fold.
    """
    for own in by_seed(runs).values() if runs[0].folds and _once(runs) else ():
        dealt: list[set[str]] = [{row["id"] for row in run.split if row["split"] != "test"} for run in own if run.split]
        held = Counter(row["id"] for run in own for row in run.split if row["split"] == "val")
        twice = sorted(id_ for id_, times in held.items() if times > 1)
        odd = sorted(set().union(*dealt) - dealt[0].intersection(*dealt)) if dealt else []
        if twice or odd:
            found = [f"{_are(twice)} held out by more than one of them ({listed(twice, 3)})"] if twice else []
            found += [f"{_are(odd)} not known to all of them ({listed(odd, 3)})"] if odd else []
            return DataError(
                f"The folds in {_place(own)} are of different splits: {'; '.join(found)}",
                "Folds of one split of the same cases were expected, so that each case is held out once",
                "Train them as one study of the data of now: python -m segexp.train -m data=NAME data.folds=N "
                "'data.fold=range(N)' study=NAME",
            )
    return None


def check_folds(records: Sequence[Record], *, partial: bool = False) -> None:
    """Require that cross-validations are consistent and, unless `partial`, complete.

    A single fold is not treated as a cross-validation.

    Raises:
        DataError: naming the missing folds and the command to run.
    """
    for runs in group_runs(records):
        if problem := split_conflict(runs):
            raise problem
        lacking = missing_folds(runs)
        if lacking and not partial and len({run.fold for run in runs}) > 1:
            seeds = [seed for seed in by_seed(runs) if seed is not None]
            more = "; another seed deals the cases in another way" if len(seeds) > 1 and not _same_split(runs) else ""
            raise DataError(
                f"The cross-validation in {_place(runs)} is not whole: {lacking}{_elsewhere(records, runs)}",
                f"All folds{' of each seed' * (len(seeds) > 1)} were expected, so that every case is scored once{more}",
                f"{rerun_advice(runs[0].study, runs[0].folds)}. For a table of the other folds alone type skip_unfinished=true",
            )


def _are(ids: Sequence[str]) -> str:
    return f"{len(ids)} case{' is' if len(ids) == 1 else 's are'}"


def _place(runs: Sequence[Record]) -> str:
    return str(runs[0].study or listed((run.directory for run in runs), 3))


def _same_split(runs: Sequence[Record]) -> bool:
    data: Mapping[str, object] = runs[0].config.get("data") or {}
    return data.get("split_seed") is not None


def _elsewhere(records: Sequence[Record], runs: Sequence[Record]) -> str:
    """Return a hint about a run of a missing fold that has other settings."""
    known = {run.fold for run in runs}
    beside = [run for run in records if run.study == runs[0].study and run.folds == runs[0].folds and run.fold not in known]
    other = next(iter(beside), None)
    if other is None:
        return ""
    return f" ({other.directory.name} is one with other settings: {listed(varying_settings([runs[0], other], FREE), 4)})"


def rerun_advice(study: Path | None, count: int | None) -> str:
    """Return advice on how to run the missing jobs of a study with `count` folds."""

    def whole(word: str) -> str:
        return f"data.fold=range({count})" if strip_prefix(word).startswith("data.fold=") and count else word

    command, cwd = study_command(study, whole) if study else ("", "")
    if not command:
        return "Run what is missing: python -m segexp.train -m data=NAME data.folds=N 'data.fold=range(N)'"
    return f"Type{f' in {cwd}' * bool(cwd)}: {command}, which does only what is missing"


FEWEST_GROUPS = 3
"""Minimum number of groups for resampling whole groups; with fewer, cases are resampled."""


@dataclass(frozen=True, eq=False)
class Entry:
    """A table row: one run, or the runs of several seeds and folds.

    Attributes:
        name: short and unique.
        runs: of the row.
        scored: mean score of each case over the runs that scored it (over seeds; with folds, the run not trained on it).
        by_seed: the score of each seed over all its folds.
    """

    name: str
    runs: tuple[Record, ...]
    scored: CaseScores
    by_seed: tuple[float, ...]

    @cached_property
    def interval(self) -> Interval:
        """The score with its interval over cases, or over groups if there are at least three."""
        return bootstrap_interval(case_contributions(self.scored.values), resampling_groups(self.scored.groups))

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of its runs."""
        return tuple(sorted({run.seed for run in self.runs if run.seed is not None}))

    @property
    def folds(self) -> tuple[int, ...]:
        """The folds of its runs."""
        return tuple(sorted({run.fold for run in self.runs if run.fold is not None}))

    @property
    def spread(self) -> float:
        """Standard deviation of the score between seeds; NaN for fewer than two."""
        return float(np.std(self.by_seed, ddof=1)) if len(self.by_seed) > 1 else float("nan")

    def fact(self, key: str) -> float:
        """Return the mean over the runs of a number in metrics.json; NaN if absent."""
        found = [float(run.facts[key]) for run in self.runs if isinstance(run.facts.get(key), int | float)]
        return float(np.mean(found)) if found else float("nan")

    def most(self, key: str) -> float:
        """Return the maximum over the runs of a number in metrics.json; NaN if absent."""
        return max((float(r.facts[key]) for r in self.runs if isinstance(r.facts.get(key), int | float)), default=float("nan"))


def resampling_groups(groups: Sequence[str | None]) -> tuple[str | None, ...] | None:
    """Return the groups to resample, or None to resample cases (fewer than three groups)."""
    return tuple(groups) if any(groups) and unit_count(groups) >= FEWEST_GROUPS else None


def unit_count(groups: Sequence[str | None]) -> int:
    """Return the number of groups plus the number of cases without a group."""
    return len({group for group in groups if group is not None}) + sum(group is None for group in groups)


def build_entries(records: Sequence[Record], split: str, metric: Metric, seeds_together: bool = True) -> list[Entry]:
    """Return the table rows in the order of their first runs.

    Args:
        records: the runs.
        split: that is compared; the folds of a cross-validation share a row.
        metric: that is compared.
        seeds_together: put seeds in one row, unless they validated on different cases.

    Raises:
        DataError: folds of one row validated on the same case.
    """
    parts = {id(record): read_case_scores(record, split, metric) for record in records}
    free = ("seed", "data.fold") if seeds_together else ("data.fold",)
    rows = [part for row in group_runs(records, free) for part in _separable(row, parts)]
    found = row_names(rows, free)
    return [_entry(name, row, split, parts) for name, row in zip(found, rows, strict=True)]


def _separable(row: list[Record], parts: dict[int, CaseScores]) -> list[list[Record]]:
    """Split a row into seeds that scored different cases, or into single runs if a run was repeated."""
    if len({(record.seed, record.fold) for record in row}) < len(row):
        return [[record] for record in row]
    of_seeds = list(by_seed(row).values())
    ids = {frozenset(id_ for record in part for id_ in parts[id(record)].ids) for part in of_seeds}
    return [row] if len(ids) == 1 else of_seeds


def _entry(name: str, row: Sequence[Record], split: str, parts: dict[int, CaseScores]) -> Entry:
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
    means = tuple(mean_score(average_runs([parts[id(record)] for record in part]).values) for part in by_seed(row).values())
    return Entry(name, tuple(row), average_runs([parts[id(record)] for record in row]), means)
