"""Records in, rows, differences and sentences out: what every form of the output is written from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from segexp.comparison.casewise import Metric, metric_of, split_of
from segexp.comparison.contrast import Contrast, best, contrasts
from segexp.comparison.gather import Entry, gather
from segexp.comparison.records import Record
from segexp.comparison.same import difference_of_data, difference_of_measure, difference_of_training
from segexp.comparison.words import notes, verdict
from segexp.errors import ConfigError, nearest


@dataclass(frozen=True, eq=False)
class Comparison:
    """Runs side by side.

    Attributes:
        metric: that is compared.
        split: over whose cases.
        entries: the rows, the best one first.
        contrasts: every row but the reference against it, in the order of the rows; none for a single row or different data.
        reference: the row that the others are compared with; None where there are no differences.
        verdicts: a sentence per difference.
        notes: what a reader must know about the numbers.
    """

    metric: Metric
    split: str
    entries: list[Entry]
    contrasts: list[Contrast]
    reference: Entry | None
    verdicts: list[str]
    notes: list[str]


def compare(
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
        split: by default test where every run has it, else val.
        better: "high" or "low"; by default what the score itself says.
        seeds_together: runs that differ only in the seed make one row.
        reference: directory of a run or name of a row; by default the best.
        allow_different_data: go on without differences where the cases differ, and with them where only the training cases do.

    Raises:
        ConfigError: no such metric, split or reference.
        DataError: the rows are not of the same classes, cases, masks and splits.
    """
    measure = metric_of(metric, records, better)
    chosen = split_of(records, split)
    found = gather(records, chosen, measure, seeds_together)
    entries = [found[n] for n in _order(found, measure.low)]
    at = None if reference is None else place_of(reference, entries)
    remarks = []
    data = difference_of_data(entries, chosen) or difference_of_measure(entries, measure.column)
    training = difference_of_training(entries)
    if problem := data or training:
        if not allow_different_data:
            raise problem
        ending = "there are no differences case by case, and two intervals that overlap or do not decide nothing"
        remarks.append(f"{problem.found}; {ending if data else 'so a difference may come from the training cases'}.")
    compared = [] if data or len(entries) == 1 else contrasts(entries, measure.low, at)
    against = compared[0].reference if compared else None
    verdicts = [verdict(each, measure) for each in compared]
    if len(entries) == 1:
        apart = " Its seeds are compared by seeds=separate." if len(entries[0].seeds) > 1 else ""
        verdicts = [f"There is one row, {entries[0].name}: nothing to compare it with.{apart}"]
    remarks = [*notes(entries, measure, chosen, compared, reference is not None), *remarks]
    return Comparison(measure, chosen, entries, compared, against, verdicts, remarks)


def place_of(reference: str, entries: Sequence[Entry]) -> int:
    """Return the position of the row that a text names: its name, or the directory of one of its runs.

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
    """Return the positions of rows from the best to the worst."""
    left, order = list(range(len(entries))), []
    while left:
        order.append(left.pop(best([entries[n] for n in left], low)))
    return order
