"""The jobs of a study as they lie in its folder: finished, failed, or stopped."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from segexp.config.naming import bare
from segexp.config.saved_runs import saved
from segexp.errors import DataError
from segexp.evaluation.records import Record, read_record, unfinished
from segexp.metrics.significance import Interval
from segexp.reporting.run_sections import LEFT_OUT
from segexp.reporting.score_sections import SplitScores, split_scores

PAGE = "report.html"


@dataclass(frozen=True, eq=False)
class Job:
    """One job of a study.

    Attributes:
        name: of its folder, seen from the study.
        settings: what was typed for it, by key.
        record: what it left behind; None while it is not finished.
        problem: why it is not finished; empty when it is.
        scores: by split.
        dice: mean and interval by split.
        page: whether it has a report.
        label: short name, different from those of the other jobs.
    """

    name: str
    settings: Mapping[str, str]
    record: Record | None = None
    problem: str = ""
    scores: Mapping[str, SplitScores] = field(default_factory=dict)
    dice: Mapping[str, Interval] = field(default_factory=dict)
    page: bool = False
    label: str = ""


def read_job(run: Path, study: Path) -> Job:
    """Read the directory of a job, whatever its state; one whose files are broken counts as not finished."""
    name, kept = run.relative_to(study).as_posix(), saved(run)
    pairs = [text.partition("=") for text in (kept.overrides if kept else ())]
    settings = {key: value for word, _, value in pairs if (key := bare(word)) not in LEFT_OUT}
    if problem := unfinished(run):
        return Job(name, settings, problem=_reason(run) or problem)
    try:
        record = read_record(run)
    except DataError as error:
        return Job(name, settings, problem=str(error))
    scores = {split: split_scores(record, split) for split in record.splits}
    dice = {split: found.interval("dice") for split, found in scores.items() if "dice" in found.values}
    return Job(name, settings, record, "", scores, dice, (run / PAGE).is_file())


def _reason(run: Path) -> str:
    """Return the first paragraph of failed.txt."""
    try:
        text = (run / "failed.txt").read_text(encoding="utf-8")
    except OSError:
        return ""
    return "failed: " + text.partition("\n\n")[0].strip().removeprefix("segexp: ")


def labelled(jobs: Sequence[Job], varied: Sequence[str]) -> list[Job]:
    """Return the jobs with labels made of what varies, as in "unetpp lr=0.001 seed=2"; or their names where these are alike."""
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
    """Return the keys whose value is not the same in all jobs, in the order in which they were typed."""
    keys = dict.fromkeys(key for job in jobs for key in job.settings)
    return [key for key in keys if len({job.settings.get(key) for job in jobs}) > 1]


def main_split(jobs: Sequence[Job]) -> str:
    """Return val where all finished jobs have it, because jobs are chosen on it; else another split that all have."""
    done = [job for job in jobs if job.record is not None]
    return next((split for split in ("val", "test", "all", "train") if all(split in job.scores for job in done)), "val")


def ranked(jobs: Sequence[Job], split: str) -> list[Job]:
    """Return the jobs that have a Dice on a split, the best one first."""
    known = [job for job in jobs if split in job.dice and not math.isnan(job.dice[split].mean)]
    return sorted(known, key=lambda job: -job.dice[split].mean)
