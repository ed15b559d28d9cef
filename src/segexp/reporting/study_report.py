"""report.html of a study: its jobs side by side, what varies in it, and the jobs that failed."""

import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from segexp.config.saved_runs import study_command
from segexp.errors import DataError, sentence
from segexp.evaluation.case_scores import metric_of
from segexp.evaluation.grouping import Entry, again, alike, gaps, gather, mixed
from segexp.evaluation.records import Record, find_runs
from segexp.evaluation.summary_text import counted, number, span
from segexp.reporting import dot_plots
from segexp.reporting.dot_plots import Dot, dot_plot
from segexp.reporting.html import Html, code, details, document, element, notice, paragraph, section, table, write_page
from segexp.reporting.jobs import PAGE, Job, labelled, main_split, ranked, read_job, varying_keys
from segexp.reporting.line_charts import Line, curves
from segexp.reporting.run_report import STYLE
from segexp.reporting.run_sections import read_history
from segexp.reporting.score_sections import digits, interval_text, meaning, named
from segexp.reporting.tables import SCRIPT, Cell, Column, Link, grid


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
        *_fold_problems(directory, records),
        table(("network", "split", "Dice", "95 % interval", "cases", "folds"), rows, numbers=(2, 4)) if rows else "",
        paragraph("The folds as one ensemble, scored beside its members; and the masks that they dispute:"),
        code(
            f"python -m segexp.predict checkpoint={words} input=DIR output=DIR\n"
            f"python -m segexp.evaluate checkpoint={words}\n"
            f"python -m segexp.check runs={words} data=…"
        ),
    )


def _fold_problems(directory: Path, records: Sequence[Record]) -> list[Html]:
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


CURVES = 8
"""Jobs whose training is drawn."""

FACTS = (
    ("minutes", "seconds", 60.0, 1),
    ("images/s", "images_per_second", 1.0, 1),
    ("memory, GB", "peak_memory_bytes", 1e9, 2),
    ("parameters, M", "parameters", 1e6, 2),
    ("best epoch", "best_epoch", 1.0, 0),
)
"""Heading, entry of metrics.json, what it is divided by, digits."""


def write_study_report(directory: Path) -> Path:
    """Write `report.html` into the folder of a study, from what lies in its jobs' directories.

    Returns:
        The page.

    Raises:
        DataError: the folder holds no job, or is one itself.
    """
    runs = find_runs(directory)
    if runs == [directory]:
        raise DataError(
            f"{directory} is a run, not a study",
            "A folder that holds the directories of several runs was expected",
            f"Name the folder above it, {directory.resolve().parent}",
        )
    path = directory / PAGE
    write_page(path, study_page(directory, [read_job(run, directory) for run in runs]))
    return path


def study_page(directory: Path, jobs: Sequence[Job]) -> str:
    """Return the page of a study; jobs are of that folder."""
    varied, split = varying_keys(jobs), main_split(jobs)
    jobs = labelled(jobs, varied)
    best = ranked(jobs, split)
    body = [
        _folds_verdict(directory, jobs) if "data.fold" in varied else _verdict(directory, jobs, best, split),
        _problems(jobs),
        folds_section(directory, jobs),
        _by_key(best, varied, split),
        _table(jobs, varied, split),
        _curves(directory, best, split),
        _settings(jobs, varied),
        _again(directory),
    ]
    title = f"Study {directory.resolve().name}"
    return document(title, *body, subtitle=str(directory.resolve()), style=STYLE + dot_plots.STYLE, script=SCRIPT)


def _folds_verdict(directory: Path, jobs: Sequence[Job]) -> Html:
    """Return the score of all folds together: that of the best fold says nothing."""
    done, found = sum(job.record is not None for job in jobs), pooled(jobs)
    text = f"{done} of {counted(len(jobs), 'job')} of a cross-validation finished."
    content = [paragraph(each) for each in found]
    if len(found) > 1:
        content.append(paragraph("Whether they really differ, case by case, says:"))
        content.append(code(f"python -m segexp.compare {shlex.quote(str(directory))}"))
    return notice("note" if done == len(jobs) else "warning", text, *content)


def _verdict(directory: Path, jobs: Sequence[Job], best: Sequence[Job], split: str) -> Html:
    done = sum(job.record is not None for job in jobs)
    level, text = "note" if done == len(jobs) else "warning", f"{done} of {counted(len(jobs), 'job')} finished."
    if not best:
        return notice(level, f"{text} None of them has a Dice.")
    first = best[0].dice[split]
    interval = "" if math.isnan(first.low) else f" (95 % interval {interval_text(first)})"
    text += f" The highest {split} Dice is {number(first.mean)}{interval} over {counted(first.cases, 'case')}: {best[0].label}."
    if len(best) == 1:
        return notice(level, text)
    near = sum(job.dice[split].mean >= first.low for job in best[1:])
    advice = f"{near} of the other {len(best) - 1} lie within its interval. " if near else ""
    advice += "The highest of many is partly luck. Whether jobs really differ, case by case, says:"
    return notice(level, text, paragraph(advice), code(f"python -m segexp.compare {shlex.quote(str(directory))}"))


def _problems(jobs: Sequence[Job]) -> Html:
    """Return each reason once, with the jobs that it stopped."""
    reasons: dict[str, list[str]] = {}
    for job in jobs:
        if job.problem:
            reasons.setdefault(job.problem, []).append(job.label)
    if not reasons:
        return Html("")
    content: list[Html] = []
    for reason, names in reasons.items():
        content.append(paragraph(element("strong", counted(len(names), "job")), f" {reason}"))
        content.append(details("Which", paragraph("; ".join(names)), opened=len(names) == 1))
    return section(
        "Jobs that are not finished", *content, paragraph("The study's command tries them again and skips the others.")
    )


def _by_key(best: Sequence[Job], varied: Sequence[str], split: str) -> Html:
    drawn = []
    for key in varied:
        found = [Dot(job.settings.get(key, "default"), job.dice[split].mean, job.label) for job in best]
        drawn.append(dot_plot(key, found, f"{split} Dice"))
    if not any(drawn):
        return Html("")
    note = paragraph(f"A dot is a job, at its {split} Dice; a bar is the mean over the jobs with that value.")
    return section("What varies", note, element("div", *drawn, class_="charts"))


def _table(jobs: Sequence[Job], varied: Sequence[str], split: str) -> Html:
    splits = list(dict.fromkeys([split, *(name for job in jobs for name in job.scores)]))
    others = [n for n in dict.fromkeys(n for job in jobs for s in job.scores.values() for n in s.measures) if n != "dice"]
    columns = [Column("job"), Column("state"), *(Column(key) for key in varied)]
    for name in splits:
        columns += [Column(f"{name} Dice", 4, "mean over cases"), Column("low", 4, "of the 95 % interval"), Column("high", 4)]
        for measure in others:
            values = [
                job.scores[name].values[measure] for job in jobs if measure in getattr(job.scores.get(name), "values", {})
            ]
            columns.append(Column(named(measure), digits(values), f"{name}: {meaning(measure)}".rstrip(": ")))
        columns.append(Column("cases", 0, f"of {name}, behind the Dice"))
    columns += [Column(heading, digits) for heading, _, _, digits in FACTS]
    rows: list[list[Cell]] = []
    for job in jobs:
        first: Cell = Link(job.label, f"{quote(job.name)}/{PAGE}") if job.page else job.label
        row: list[Cell] = [first, _state(job), *(job.settings.get(key, "") for key in varied)]
        for name in splits:
            row += _scores(job, name, others)
        rows.append([*row, *(_fact(job, key, unit) for _, key, unit, _ in FACTS)])
    return section(
        "Jobs", grid(columns, rows, sort=(2 + len(varied), False), choices=dict.fromkeys(range(1, 2 + len(varied)), ""))
    )


def _state(job: Job) -> str:
    return "finished" if job.record is not None else "failed" if job.problem.startswith("failed") else "unfinished"


def _scores(job: Job, split: str, others: Sequence[str]) -> list[Cell]:
    found, scores = job.dice.get(split), job.scores.get(split)
    if found is None or scores is None:
        return [None] * (4 + len(others))
    means = [scores.mean(measure) if measure in scores.values else None for measure in others]
    return [found.mean, found.low, found.high, *means, found.cases]


def _fact(job: Job, key: str, unit: float) -> Cell:
    value = job.record.facts.get(key) if job.record is not None else None
    return value / unit if isinstance(value, int | float) else None


def _curves(directory: Path, best: Sequence[Job], split: str) -> Html:
    """Return the validation Dice of the best jobs over the epochs."""
    lines = []
    for job in best[:CURVES]:
        values = read_history(directory / job.name).get("val/dice", {})
        lines.append(Line(job.label, list(values), list(values.values())))
    drawn = curves(lines, "Dice on the validation cases", "epoch")
    if not drawn:
        return Html("")
    note = paragraph(f"The {len(lines)} jobs with the highest {split} Dice.") if len(best) > CURVES else ""
    return section("Training", note, element("div", drawn, class_="wide-chart"))


def _settings(jobs: Sequence[Job], varied: Sequence[str]) -> Html:
    rows = []
    for key in varied:
        values = [job.settings.get(key, "(default)") for job in jobs]
        rows.append([key, ", ".join(f"{value} ({values.count(value)})" for value in dict.fromkeys(values))])
    same = dict.fromkeys(f"{key}={value}" for job in jobs for key, value in job.settings.items() if key not in varied)
    content = [table(("key", "values (jobs)"), rows) if rows else paragraph("No key varies.")]
    content.append(paragraph("The same in all jobs: ", element("code", " ".join(same))) if same else Html(""))
    return section("Settings", *content)


def _again(directory: Path) -> Html:
    command, cwd = study_command(directory)
    if not command:
        return section("The same study again", paragraph("The command is not known: multirun.yaml is missing or broken."))
    where = f"Typed in {cwd}. " if cwd else ""
    note = paragraph(f"{where}In the same folder it skips the jobs that are finished, and tries the others again.")
    return section("The same study again", code(command), note)
