"""report.html of a study: its jobs, varied settings, combined folds and failures."""

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote

from segexp.config.naming import strip_prefix
from segexp.config.overrides import shell_words
from segexp.config.saved_runs import read_saved_run, study_command
from segexp.errors import DataError, pluralise, sentence
from segexp.evaluation.case_scores import parse_metric
from segexp.evaluation.grouping import Entry, build_entries, group_runs, missing_folds, rerun_advice, split_conflict
from segexp.evaluation.records import Record, find_runs, read_record, unfinished_reason
from segexp.evaluation.summary_text import format_interval, format_score
from segexp.metrics.significance import Interval
from segexp.reporting.charts import Chart, JobScore, dot_plot, line_chart
from segexp.reporting.rendering import REPORT_FILE, Notice, render, write_page
from segexp.reporting.run_report import LOCATION_KEYS, history_line, read_history
from segexp.reporting.scores import SplitScores, decimals, definition, display_name, interval_text, split_scores
from segexp.reporting.tables import Cell, Column, Grid, Link, Table, grid

MAX_CURVES = 8
"""Maximum number of jobs with training curves."""
FACT_COLUMNS = (
    ("minutes", "seconds", 60.0, 1),
    ("images/s", "images_per_second", 1.0, 1),
    ("memory, GB", "peak_memory_bytes", 1e9, 2),
    ("parameters, M", "parameters", 1e6, 2),
    ("best epoch", "best_epoch", 1.0, 0),
)
"""Heading, entry of metrics.json, divisor, decimals."""


@dataclass(frozen=True, eq=False)
class Job:
    """One job of a study.

    Attributes:
        name: of its folder, relative to the study.
        settings: its overrides by key.
        record: its results; None if unfinished.
        problem: why it is unfinished; "" if it is finished.
        scores: by split.
        dice: mean and interval by split.
        has_report: whether it has its own report.
        label: short unique name.
    """

    name: str
    settings: Mapping[str, str]
    record: Record | None = None
    problem: str = ""
    scores: Mapping[str, SplitScores] = field(default_factory=dict)
    dice: Mapping[str, Interval] = field(default_factory=dict)
    has_report: bool = False
    label: str = ""


@dataclass(frozen=True)
class Folds:
    """The combined folds of a cross-validation: problems, scores and useful commands."""

    problems: Sequence[Notice]
    scores: Table
    commands: str


def read_job(run: Path, study: Path) -> Job:
    """Read the directory of a job in any state; a broken one counts as unfinished."""
    name, kept = run.relative_to(study).as_posix(), read_saved_run(run)
    pairs = [text.partition("=") for text in (kept.overrides if kept else ())]
    settings = {key: value for word, _, value in pairs if (key := strip_prefix(word)) not in LOCATION_KEYS}
    if problem := unfinished_reason(run):
        return Job(name, settings, problem=_failure(run) or problem)
    try:
        record = read_record(run)
    except DataError as error:
        return Job(name, settings, problem=str(error))
    scores = {split: split_scores(record, split) for split in record.splits}
    dice = {split: found.interval("dice") for split, found in scores.items() if "dice" in found.values}
    return Job(name, settings, record, "", scores, dice, (run / REPORT_FILE).is_file())


def _failure(run: Path) -> str:
    """Return the first paragraph of failed.txt."""
    try:
        text = (run / "failed.txt").read_text(encoding="utf-8")
    except OSError:
        return ""
    return "failed: " + text.partition("\n\n")[0].strip().removeprefix("segexp: ")


def label_jobs(jobs: Sequence[Job], varied: Sequence[str]) -> list[Job]:
    """Return the jobs with labels made of varied settings, as in "unetpp lr=0.001 seed=2", or their names if not unique."""
    labels = [_label(job, varied) for job in jobs]
    return [replace(job, label=text if labels.count(text) == 1 else job.name) for job, text in zip(jobs, labels, strict=True)]


def _label(job: Job, varied: Sequence[str]) -> str:
    lasts = [key.rpartition(".")[2] for key in varied]
    parts = []
    for key, last in zip(varied, lasts, strict=True):
        if (value := job.settings.get(key)) is not None:
            group = "." not in key and key != "seed"
            parts.append(value if group else f"{last if lasts.count(last) == 1 else key}={value}")
    return " ".join(parts) or job.name


def varying_keys(jobs: Sequence[Job]) -> list[str]:
    """Return the keys whose values differ between jobs, in the order of the overrides."""
    keys = dict.fromkeys(key for job in jobs for key in job.settings)
    return [key for key in keys if len({job.settings.get(key) for job in jobs}) > 1]


def ranking_split(jobs: Sequence[Job]) -> str:
    """Return val if all finished jobs have it, because it is used for selection; else another common split."""
    done = [job for job in jobs if job.record is not None]
    return next((split for split in ("val", "test", "all", "train") if all(split in job.scores for job in done)), "val")


def rank_jobs(jobs: Sequence[Job], split: str) -> list[Job]:
    """Return the jobs with a Dice on a split, the best one first."""
    known = [job for job in jobs if split in job.dice and not math.isnan(job.dice[split].mean)]
    return sorted(known, key=lambda job: -job.dice[split].mean)


def write_study_report(directory: Path) -> Path:
    """Write `report.html` into the folder of a study.

    Returns:
        The page.

    Raises:
        DataError: the folder contains no job, or is a job itself.
    """
    runs = find_runs(directory)
    if runs == [directory]:
        raise DataError(
            f"{directory} is a run, not a study",
            "A folder that holds the directories of several runs was expected",
            f"Name the folder above it, {directory.resolve().parent}",
        )
    path = directory / REPORT_FILE
    write_page(path, study_page(directory, [read_job(run, directory) for run in runs]))
    return path


def study_page(directory: Path, jobs: Sequence[Job]) -> str:
    """Return the page of a study; jobs are of that folder."""
    varied, split = varying_keys(jobs), ranking_split(jobs)
    jobs = label_jobs(jobs, varied)
    best = rank_jobs(jobs, split)
    command, cwd = study_command(directory)
    shown = best[:MAX_CURVES]
    lines = [history_line(read_history(directory / job.name), "val/dice", job.label) for job in shown]
    return render(
        "study.html.j2",
        interactive=True,
        title=f"Study {directory.resolve().name}",
        subtitle=str(directory.resolve()),
        summary=_fold_notice(directory, jobs) if "data.fold" in varied else _job_notice(directory, jobs, best, split),
        problems=_problems(jobs),
        folds=combine_folds(directory, jobs),
        split=split,
        plots=_score_plots(best, varied, split),
        jobs=job_grid(jobs, varied, split),
        curves=line_chart(lines, "Dice on the validation cases", "epoch"),
        curves_of=(len(shown), len(best)),
        varied=_varied_settings(jobs, varied),
        shared=" ".join(_shared_settings(jobs, varied)),
        command=command,
        cwd=cwd,
    )


def _job_notice(directory: Path, jobs: Sequence[Job], best: Sequence[Job], split: str) -> Notice:
    done = sum(job.record is not None for job in jobs)
    level, text = "note" if done == len(jobs) else "warning", f"{done} of {pluralise(len(jobs), 'job')} finished."
    if not best:
        return Notice(level, f"{text} None of them has a Dice.")
    first = best[0].dice[split]
    interval = "" if math.isnan(first.low) else f" (95 % interval {interval_text(first)})"
    over = f"{interval} over {pluralise(first.cases, 'case')}"
    text += f" The highest {split} Dice is {format_score(first.mean)}{over}: {best[0].label}."
    if len(best) == 1:
        return Notice(level, text)
    near = sum(job.dice[split].mean >= first.low for job in best[1:])
    advice = f"{near} of the other {len(best) - 1} lie within its interval. " if near else ""
    advice += "The highest of many scores is partly luck. To compare the jobs case by case:"
    return Notice(level, text, [advice], f"python -m segexp.compare {shlex.quote(str(directory))}")


def _fold_notice(directory: Path, jobs: Sequence[Job]) -> Notice:
    """Return the combined score of all folds; the score of the best fold would be meaningless."""
    done, found = sum(job.record is not None for job in jobs), describe_folds(jobs)
    level = "note" if done == len(jobs) else "warning"
    title = f"{done} of {pluralise(len(jobs), 'job')} of a cross-validation finished."
    if len(found) < 2:
        return Notice(level, title, found)
    command = f"python -m segexp.compare {shlex.quote(str(directory))}"
    return Notice(level, title, [*found, "To compare them case by case:"], command)


def describe_folds(jobs: Sequence[Job]) -> list[str]:
    """Return a sentence on the combined score for each network; empty if folds overlap or have no Dice."""
    found = _fold_entries(_fold_records(jobs), "val")
    texts = []
    for entry in found:
        name = f"{entry.name}: val" if len(found) > 1 else "Val"
        score, which = entry.interval, "all folds" if not missing_folds(entry.runs) else f"{_fold_count(entry)} folds"
        inside = f"(95 % interval {format_interval(score)}) over {pluralise(score.cases, 'case')}, "
        inside += "each scored by the run that held it out"
        texts.append(f"{name} Dice of {which} together: {format_score(score.mean)} {inside}.")
    return texts


def combine_folds(directory: Path, jobs: Sequence[Job]) -> Folds | None:
    """Return the combined folds; None without folds."""
    records = _fold_records(jobs)
    if len({record.fold for record in records}) < 2:
        return None
    rows = [
        [
            entry.name,
            split,
            format_score(entry.interval.mean),
            format_interval(entry.interval),
            str(entry.interval.cases),
            _fold_count(entry),
        ]
        for split in ("val", "test")
        for entry in _fold_entries([record for record in records if split in record.splits], split)
    ]
    words = shell_words({"checkpoint": directory})
    commands = (
        f"python -m segexp.predict {words} input=DIR output=DIR\n"
        f"python -m segexp.evaluate {words}\n"
        f"python -m segexp.check {shell_words({'runs': directory})} data=NAME"
    )
    heads = ("network", "split", "Dice", "95 % interval", "cases", "folds")
    return Folds(_fold_problems(directory, records), Table(heads, rows, (2, 4)), commands)


def _fold_problems(directory: Path, records: Sequence[Record]) -> list[Notice]:
    found = []
    for runs in group_runs(records):
        if problem := split_conflict(runs):
            found.append(Notice("warning", sentence(problem.found), [sentence(problem.do)]))
        if lacking := missing_folds(runs):
            text = f"{lacking[0].upper()}{lacking[1:]}."
            found.append(Notice("warning", text, [sentence(rerun_advice(directory, runs[0].folds))]))
    return found


def _fold_records(jobs: Sequence[Job]) -> list[Record]:
    return [job.record for job in jobs if job.record is not None and job.record.folds]


def _fold_entries(records: Sequence[Record], split: str) -> list[Entry]:
    if not records or not all("dice" in record.columns and split in record.splits for record in records):
        return []
    try:
        return build_entries(records, split, parse_metric("dice", records))
    except DataError:  # folds that share a case; see `_fold_problems`
        return []


def _fold_count(entry: Entry) -> str:
    seeds = f", {pluralise(len(entry.seeds), 'seed')}" if len(entry.seeds) > 1 else ""
    return f"{len(entry.folds)} of {entry.runs[0].folds}{seeds}"


def _problems(jobs: Sequence[Job]) -> dict[str, list[str]]:
    """Return the labels of the affected jobs by problem."""
    reasons: dict[str, list[str]] = {}
    for job in jobs:
        if job.problem:
            reasons.setdefault(job.problem, []).append(job.label)
    return reasons


def _score_plots(best: Sequence[Job], varied: Sequence[str], split: str) -> list[Chart]:
    """Return a dot plot of the jobs for each key that varies."""
    found = []
    for key in varied:
        jobs = [JobScore(job.settings.get(key, "default"), job.dice[split].mean, job.label) for job in best]
        found.append(dot_plot(key, jobs, f"{split} Dice"))
    return [chart for chart in found if chart is not None]


def job_grid(jobs: Sequence[Job], varied: Sequence[str], split: str) -> Grid:
    """Return a row per job with settings, scores of all splits and facts; the best one on a split first."""
    splits = list(dict.fromkeys([split, *(name for job in jobs for name in job.scores)]))
    others = [n for n in dict.fromkeys(n for job in jobs for s in job.scores.values() for n in s.measures) if n != "dice"]
    columns = [Column("job"), Column("state"), *(Column(key) for key in varied)]
    for name in splits:
        columns += [Column(f"{name} Dice", 4, "mean over cases"), Column("low", 4, "of the 95 % interval"), Column("high", 4)]
        for measure in others:
            known = [job.scores[name].values for job in jobs if name in job.scores]
            digits = decimals([values[measure] for values in known if measure in values])
            columns.append(Column(display_name(measure), digits, f"{name}: {definition(measure)}".rstrip(": ")))
        columns.append(Column("cases", 0, f"{name} cases that have a Dice"))
    columns += [Column(heading, digits) for heading, _, _, digits in FACT_COLUMNS]
    rows: list[list[Cell]] = []
    for job in jobs:
        first: Cell = Link(job.label, f"{quote(job.name)}/{REPORT_FILE}") if job.has_report else job.label
        row: list[Cell] = [first, _state(job), *(job.settings.get(key, "") for key in varied)]
        for name in splits:
            row += _score_cells(job, name, others)
        rows.append([*row, *(_fact_cell(job, key, unit) for _, key, unit, _ in FACT_COLUMNS)])
    return grid(columns, rows, sort=(2 + len(varied), False), choices=dict.fromkeys(range(1, 2 + len(varied)), ""))


def _state(job: Job) -> str:
    return "finished" if job.record is not None else "failed" if job.problem.startswith("failed") else "unfinished"


def _score_cells(job: Job, split: str, others: Sequence[str]) -> list[Cell]:
    found, scores = job.dice.get(split), job.scores.get(split)
    if found is None or scores is None:
        return [None] * (4 + len(others))
    means = [scores.mean(measure) if measure in scores.values else None for measure in others]
    return [found.mean, found.low, found.high, *means, found.cases]


def _fact_cell(job: Job, key: str, unit: float) -> Cell:
    value = job.record.facts.get(key) if job.record is not None else None
    return value / unit if isinstance(value, int | float) else None


def _varied_settings(jobs: Sequence[Job], varied: Sequence[str]) -> Table:
    rows = []
    for key in varied:
        values = [job.settings.get(key, "(default)") for job in jobs]
        rows.append([key, ", ".join(f"{value} ({values.count(value)})" for value in dict.fromkeys(values))])
    return Table(("key", "values (jobs)"), rows)


def _shared_settings(jobs: Sequence[Job], varied: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(f"{key}={value}" for job in jobs for key, value in job.settings.items() if key not in varied))
