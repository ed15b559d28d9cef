"""Runs to rows of a table: those that differ only in the seed, or only in the fold, are one row."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from segexp.config.naming import strip_prefix
from segexp.config.saved_runs import study_command
from segexp.errors import DataError, listed
from segexp.evaluation.case_scores import Metric, Scored, mean, scored, shares, together
from segexp.evaluation.records import Record
from segexp.evaluation.settings_diff import fingerprint, names, varying
from segexp.metrics.significance import Interval, bootstrap_interval

FREE = ("seed", "data.fold")
"""Settings in which the runs of one cross-validation differ."""


def alike(records: Iterable[Record], free: Iterable[str] = FREE) -> list[list[Record]]:
    """Return runs sorted into those that differ in nothing but some settings, in the order of their first runs.

    How an evaluation was made is not written down, so nothing is like it; nor like a run whose settings are not known. A study
    that was made twice, perhaps of masks that were mended in between, is two.
    """
    found: dict[str, list[Record]] = {}
    for record in records:
        alone = record.facts.get("status") == "evaluated" or not record.config
        found.setdefault(str(record.directory) if alone else fingerprint(record, free), []).append(record)
    return [part for runs in found.values() for part in ([runs] if _once(runs) else _of_studies(runs))]


def _once(runs: Sequence[Record]) -> bool:
    """Say whether no fold of a seed was made twice."""
    return len({(run.seed, run.fold) for run in runs}) == len(runs)


def _of_studies(runs: Iterable[Record]) -> list[list[Record]]:
    found: dict[Path | None, list[Record]] = {}
    for run in runs:
        found.setdefault(run.study, []).append(run)
    return list(found.values())


def by_seed(runs: Iterable[Record]) -> dict[int | None, list[Record]]:
    """Return the runs of each seed."""
    found: dict[int | None, list[Record]] = {}
    for run in runs:
        found.setdefault(run.seed, []).append(run)
    return found


def gaps(runs: Sequence[Record]) -> str:
    """Return which folds of a cross-validation lack, as in "fold 3 of 0 to 4 is missing"; nothing where none does.

    Args:
        runs: that differ in seed and fold only; of several seeds each has all folds, since each deals the cases anew.
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


def mixed(runs: Sequence[Record]) -> DataError | None:
    """Return how folds are not parts of one split, as where files were added between them; None where they are.

    Args:
        runs: that differ in seed and fold only.
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
                "Train them as one study of the data of now: python -m segexp.train -m … data.folds=N 'data.fold=range(N)' "
                "study=NAME",
            )
    return None


def check_folds(records: Sequence[Record], *, partial: bool = False) -> None:
    """Refuse to make one number of folds that do not belong together, or of some of the folds.

    A single fold is no cross-validation, as when two networks are compared on one fold.

    Args:
        records: any runs.
        partial: whether some of the folds will do.

    Raises:
        DataError: naming the folds that lack, and what to type.
    """
    for runs in alike(records):
        if problem := mixed(runs):
            raise problem
        lacking = gaps(runs)
        if lacking and not partial and len({run.fold for run in runs}) > 1:
            seeds = [seed for seed in by_seed(runs) if seed is not None]
            more = "; another seed deals the cases in another way" if len(seeds) > 1 and not _same_split(runs) else ""
            raise DataError(
                f"The cross-validation in {_place(runs)} is not whole: {lacking}{_elsewhere(records, runs)}",
                f"All folds{' of each seed' * (len(seeds) > 1)} were expected, so that every case is scored once{more}",
                f"{again(runs[0].study, runs[0].folds)}. For a table of the other folds alone type skip_unfinished=true",
            )


def _are(ids: Sequence[str]) -> str:
    return f"{len(ids)} case{' is' if len(ids) == 1 else 's are'}"


def _place(runs: Sequence[Record]) -> str:
    return str(runs[0].study or listed((run.directory for run in runs), 3))


def _same_split(runs: Sequence[Record]) -> bool:
    data: Mapping[str, object] = runs[0].config.get("data") or {}
    return data.get("split_seed") is not None


def _elsewhere(records: Sequence[Record], runs: Sequence[Record]) -> str:
    """Return what to say of a run of a lacking fold that has other settings, and is therefore of another row."""
    known = {run.fold for run in runs}
    beside = [run for run in records if run.study == runs[0].study and run.folds == runs[0].folds and run.fold not in known]
    other = next(iter(beside), None)
    if other is None:
        return ""
    return f" ({other.directory.name} is one with other settings: {listed(varying([runs[0], other], FREE), 4)})"


def again(study: Path | None, count: int | None) -> str:
    """Return how to run what a study of so many folds lacks, as the end of a message."""

    def whole(word: str) -> str:
        return f"data.fold=range({count})" if strip_prefix(word).startswith("data.fold=") and count else word

    command, cwd = study_command(study, whole) if study else ("", "")
    if not command:
        return "Run what is missing: python -m segexp.train -m … data.folds=N 'data.fold=range(N)'"
    return f"Type{f' in {cwd}' * bool(cwd)}: {command}, which does only what is missing"


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
