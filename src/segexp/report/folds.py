"""The part of a study's page that says what its folds are worth together: every case once, by the run that held it out."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from segexp.comparison.casewise import metric_of
from segexp.comparison.folds import again, alike, gaps, mixed
from segexp.comparison.gather import Entry, gather
from segexp.comparison.records import Record
from segexp.comparison.words import counted, number, span
from segexp.errors import DataError, sentence
from segexp.report.jobs import Job
from segexp.report.page import Html, code, notice, paragraph, section, table


def pooled(jobs: Sequence[Job]) -> list[str]:
    """Return the score of all folds together in a sentence for each network; nothing where folds overlap or have no Dice."""
    found = _entries(_folds(jobs), "val")
    texts = []
    for entry in found:
        name = f"{entry.name}: val" if len(found) > 1 else "Val"
        score, which = entry.interval, "all folds" if not gaps(entry.runs) else f"{_counted(entry)} folds"
        inside = f"(95 % interval {span(score)}) over {counted(score.cases, 'case')}, each scored by the run that held it out"
        texts.append(f"{name} Dice of {which} together: {number(score.mean)} {inside}.")
    return texts


def folds_section(directory: Path, jobs: Sequence[Job]) -> Html:
    """Return the scores of all folds together; nothing of a study without folds."""
    records = _folds(jobs)
    if len({record.fold for record in records}) < 2:
        return Html("")
    rows = [
        [entry.name, split, number(entry.interval.mean), span(entry.interval), str(entry.interval.cases), _counted(entry)]
        for split in ("val", "test")
        for entry in _entries([record for record in records if split in record.splits], split)
    ]
    words = shlex.quote(str(directory))
    return section(
        "All folds together",
        paragraph(
            "On val every case is scored once, by the run that did not train on it; that run's best weights were chosen on "
            "these cases, so expect a little less of new ones. On test each case has the mean over the folds. The 95 % "
            "interval is over cases, or over groups where there are three or more."
        ),
        *_problems(directory, records),
        table(("network", "split", "Dice", "95 % interval", "cases", "folds"), rows, numbers=(2, 4)) if rows else "",
        paragraph("The folds as one ensemble, scored beside its members; and the masks that they dispute:"),
        code(
            f"python -m segexp.predict checkpoint={words} input=DIR output=DIR\n"
            f"python -m segexp.evaluate checkpoint={words}\n"
            f"python -m segexp.check runs={words} data=…"
        ),
    )


def _problems(directory: Path, records: Sequence[Record]) -> list[Html]:
    found = []
    for runs in alike(records):
        if problem := mixed(runs):
            found.append(notice("warning", sentence(problem.found), paragraph(sentence(problem.do))))
        if lacking := gaps(runs):
            text = f"{lacking[0].upper()}{lacking[1:]}."
            found.append(notice("warning", text, paragraph(sentence(again(directory, runs[0].folds)))))
    return found


def _folds(jobs: Sequence[Job]) -> list[Record]:
    return [job.record for job in jobs if job.record is not None and job.record.folds]


def _entries(records: Sequence[Record], split: str) -> list[Entry]:
    if not records or not all("dice" in record.columns and split in record.splits for record in records):
        return []
    try:
        return gather(records, split, metric_of("dice", records))
    except DataError:  # folds that share a case; see `_problems`
        return []


def _counted(entry: Entry) -> str:
    seeds = f", {counted(len(entry.seeds), 'seed')}" if len(entry.seeds) > 1 else ""
    return f"{len(entry.folds)} of {entry.runs[0].folds}{seeds}"
