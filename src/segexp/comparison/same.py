"""Whether rows can be set against each other case by case: the same classes, cases, masks, measures and training cases."""

from collections.abc import Sequence
from typing import Any

from segexp.comparison.casewise import truth
from segexp.comparison.gather import Entry
from segexp.comparison.records import Record
from segexp.errors import DataError, listed
from segexp.metrics.cases import COLUMNS


def difference_of_data(entries: Sequence[Entry], split: str) -> DataError | None:
    """Return what keeps rows from being compared case by case as the paragraph that says it, None when nothing does.

    Args:
        entries: rows, in which each case was scored.
        split: that was scored.
    """
    first = entries[0]
    for other in entries[1:]:
        if problem := _classes(first, other) or _cases(first, other, split) or _masks(first, other, split):
            return problem
    return None


def difference_of_measure(entries: Sequence[Entry], metric: str) -> DataError | None:
    """Return how rows were measured in different ways as the paragraph that says it, None when they were not.

    What comes from the counts (Dice and its kin) has no settings. Of the other scores the settings of all measures are set
    against each other, and the size of a pixel; what an evaluation was told is not written down, so its own are not.

    Args:
        entries: rows.
        metric: that is compared.
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
    """Return which rows were not trained on the same cases, None when all were, or when nobody knows.

    Folds dealt in another way are no difference: in each of them every case is scored by a run that did not train on it.
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
        return None
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
    pixels, others = ({k: v for run in e.runs for k, v in truth(run, split).items()} for e in (one, other))
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
