"""Compare finished runs: rows, differences and verdicts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segexp.errors import ConfigError, DataError, listed, nearest
from segexp.evaluation.case_scores import Metric, choose_split, mask_pixels, parse_metric
from segexp.evaluation.contrast import Contrast, best_entry, compute_contrasts
from segexp.evaluation.grouping import Entry, build_entries
from segexp.evaluation.records import Record
from segexp.evaluation.summary_text import notes, verdict
from segexp.metrics.cases import COLUMNS


def difference_of_data(entries: Sequence[Entry], split: str) -> DataError | None:
    """Return an error that explains why rows cannot be compared case by case on a split, or None."""
    first = entries[0]
    for other in entries[1:]:
        if problem := _classes(first, other) or _cases(first, other, split) or _masks(first, other, split):
            return problem
    return None


def difference_of_measure(entries: Sequence[Entry], metric: str) -> DataError | None:
    """Return an error that explains how the measurement of rows differs, or None.

    Overlap scores (Dice etc.) have no settings. For the others, the metric settings and the pixel size are compared, except
    for evaluations, which do not store theirs.
    """
    if metric in (*COLUMNS, "accuracy"):
        return None
    known = [(entry.name, *_measured(run)) for entry in entries for run in entry.runs if run.facts.get("status") != "evaluated"]
    for name, measures, spacing in known[1:]:
        first, expected, size = known[0]
        if measures != expected:
            changed = [key for key in {**expected, **measures} if expected.get(key) != measures.get(key)]
            return _refused(f"{metric} was measured with other settings in {first} than in {name} (metrics.{changed[0]})")
        if spacing != size:
            return _refused(f"the size of a pixel (data.spacing) is {size} in {first}, and {spacing} in {name}")
    return None


def _measured(run: Record) -> tuple[dict[str, Any], Any]:
    return run.config.get("metrics") or {}, (run.config.get("data") or {}).get("spacing")


def difference_of_training(entries: Sequence[Entry]) -> DataError | None:
    """Return an error if rows were trained on different cases, None if not or unknown.

    Different fold assignments are accepted: every case is scored by a run that did not train on it.
    """
    known = [entry for entry in entries if all(run.split_hash for run in entry.runs)]
    first = known[0] if known else None
    for other in known[1:]:
        if first is None or (first.folds and first.folds == other.folds):
            continue
        if {run.split_hash for run in first.runs} != {run.split_hash for run in other.runs}:
            return _refused(
                f"{first.name} and {other.name} were trained on different splits: the same cases are scored, but not the same "
                "cases train"
            )
    return None


def _classes(one: Entry, other: Entry) -> DataError | None:
    names, others = one.runs[0].classes, other.runs[0].classes
    if names == others:
        left, also = (run.classes[: len(run.classes) - len(run.foreground)] for run in (one.runs[0], other.runs[0]))
        if one.scored.values.shape[1] == other.scored.values.shape[1]:
            return None
        return _refused(
            f"the means leave out {', '.join(left) or 'no class'} in {one.name}, and {', '.join(also) or 'no class'} in "
            f"{other.name} (data.background)"
        )
    return _refused(f"the classes differ: {', '.join(names)} in {one.name}, and {', '.join(others)} in {other.name}")


def _cases(one: Entry, other: Entry, split: str) -> DataError | None:
    ids, others = set(one.scored.ids), set(other.scored.ids)
    if ids == others:
        return None
    alone = [f"{listed(sorted(a - b), 3)} in {e.name} only" for e, a, b in ((one, ids, others), (other, others, ids)) if a - b]
    missing = [f"{e.name} has {len(e.folds)} of {e.runs[0].folds} folds" for e in (one, other) if e.folds]
    seeds = " The seed also decides the split where none lies on disk; data.split_seed=0 keeps it for all seeds."
    seeds = seeds if one.seeds != other.seeds and not missing else ""
    return _refused(
        f"different {split} cases are scored: {len(ids)} in {one.name} and {len(others)} in {other.name} "
        f"({'; '.join([*alone, *missing])}).{seeds}"
    )


def _masks(one: Entry, other: Entry, split: str) -> DataError | None:
    pixels, others = ({k: v for run in e.runs for k, v in mask_pixels(run, split).items()} for e in (one, other))
    for key, count in pixels.items():
        if others.get(key) != count:
            return _refused(
                f"the masks differ: case {key[0]} has {count} pixels of {key[1]} in {one.name}, and {others.get(key, 0)} in "
                f"{other.name}"
            )
    return None


def _refused(found: str) -> DataError:
    return DataError(
        f"The runs cannot be compared case by case: {found}",
        "Runs of the same data, classes and split were expected",
        "Leave out the ones that differ, or type allow_different_data=true for a table without differences case by case",
    )


@dataclass(frozen=True, eq=False)
class Comparison:
    """Runs side by side.

    Attributes:
        metric: that is compared.
        split: that is compared.
        entries: the rows, the best one first.
        contrasts: every row but the reference against it, in row order; empty for a single row or different data.
        reference: the row that the others are compared with; None without contrasts.
        verdicts: a sentence per contrast.
        notes: explanations of the numbers.
    """

    metric: Metric
    split: str
    entries: list[Entry]
    contrasts: list[Contrast]
    reference: Entry | None
    verdicts: list[str]
    notes: list[str]


def compare_records(
    records: Sequence[Record],
    *,
    metric: str = "dice",
    split: str | None = None,
    better: str | None = None,
    seeds_together: bool = True,
    reference: str | None = None,
    allow_different_data: bool = False,
) -> Comparison:
    """Compare finished runs.

    Args:
        records: at least one.
        metric: a score of cases.csv, or one of a class: "dice/liver".
        split: by default the first of test, val, all, train that every run has.
        better: "high" or "low"; by default as the metric defines it.
        seeds_together: runs that differ only in the seed make one row.
        reference: directory of a run or name of a row; by default the best.
        allow_different_data: omit the differences instead of raising if the cases differ; add a note if only training cases do.

    Raises:
        ConfigError: unknown metric, split or reference.
        DataError: the rows differ in classes, cases, masks or splits.
    """
    measure = parse_metric(metric, records, better)
    chosen = choose_split(records, split)
    found = build_entries(records, chosen, measure, seeds_together)
    entries = [found[n] for n in _order(found, measure.low)]
    at = None if reference is None else find_entry(reference, entries)
    remarks = []
    data = difference_of_data(entries, chosen) or difference_of_measure(entries, measure.column)
    training = difference_of_training(entries)
    if problem := data or training:
        if not allow_different_data:
            raise problem
        ending = "there are no differences case by case, and two intervals that overlap or do not decide nothing"
        remarks.append(f"{problem.found}; {ending if data else 'so a difference may come from the training cases'}.")
    compared = [] if data or len(entries) == 1 else compute_contrasts(entries, measure.low, at)
    against = compared[0].reference if compared else None
    verdicts = [verdict(each, measure) for each in compared]
    if len(entries) == 1:
        apart = " Its seeds are compared by seeds=separate." if len(entries[0].seeds) > 1 else ""
        verdicts = [f"There is one row, {entries[0].name}: nothing to compare it with.{apart}"]
    remarks = [*notes(entries, measure, chosen, compared, reference is not None), *remarks]
    return Comparison(measure, chosen, entries, compared, against, verdicts, remarks)


def find_entry(reference: str, entries: Sequence[Entry]) -> int:
    """Return the index of the row with a name, or with a run in a directory.

    Raises:
        ConfigError: there is none.
    """
    where = Path(reference).resolve()
    for n, entry in enumerate(entries):
        if reference == entry.name or any(run.directory.resolve() == where for run in entry.runs):
            return n
    names = [entry.name for entry in entries]
    raise ConfigError(
        f"reference={reference} is none of the runs that are compared",
        f"The directory of one of them, or a name from the table, was expected. {nearest(reference, names)}",
        "Type its directory among the others as well",
    )


def _order(entries: Sequence[Entry], low: bool) -> list[int]:
    """Return the row indices from best to worst."""
    left, order = list(range(len(entries))), []
    while left:
        order.append(left.pop(best_entry([entries[n] for n in left], low)))
    return order
