"""Whether the folds of a cross-validation belong together and are all there, and what to type where they are not."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from segexp.comparison.records import Record
from segexp.comparison.settings import fingerprint, varying
from segexp.config.naming import bare
from segexp.config.saved import study_command
from segexp.errors import DataError, listed

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
        return f"data.fold=range({count})" if bare(word).startswith("data.fold=") and count else word

    command, cwd = study_command(study, whole) if study else ("", "")
    if not command:
        return "Run what is missing: python -m segexp.train -m … data.folds=N 'data.fold=range(N)'"
    return f"Type{f' in {cwd}' * bool(cwd)}: {command}, which does only what is missing"
