"""What the networks reach in the same number of minutes: each trained by the real command, in a process of its own."""

import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segexp.atomic import atomic_write
from segexp.evaluation.records import read_record
from segexp.reporting.scores import split_scores

PROCESSOR_TIME = (
    "import runpy, time; from types import SimpleNamespace; from pytorch_lightning.callbacks import timer; "
    "timer.time = SimpleNamespace(monotonic=time.process_time); runpy.run_module('segexp.train', run_name='__main__')"
)
"""Trains by the processor time of its own process: with one thread, a fair budget on a machine that others use as well."""


@dataclass(frozen=True)
class Job:
    """One training.

    Attributes:
        data: name of the data set, which is that of its experiment too.
        network: option of the group model.
        words: what is typed after `python -m segexp.train`.
        model: the model section that these words give; where it has changed, what was trained before does not count.
        folder: of the run; what is found goes beside it, into <folder>.json.
        clock: of the budget, "wall" or "cpu".
    """

    data: str
    network: str
    words: tuple[str, ...]
    model: dict[str, Any]
    folder: Path
    clock: str = "wall"

    @property
    def record(self) -> Path:
        """The file that says what was found."""
        return self.folder.with_name(f"{self.folder.name}.json")


def kept(job: Job) -> dict[str, Any] | None:
    """Return what a training left behind; None where it is missing, failed, or was made with other settings."""
    try:
        found = json.loads(job.record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    same = isinstance(found, dict) and (found.get("words"), found.get("model")) == (list(job.words), job.model)
    return found if same and "failed" not in found else None


def kept_all(jobs: Sequence[Job]) -> dict[tuple[str, str], dict[str, Any]]:
    """Return what trainings left behind, by data set and network."""
    return {(job.data, job.network): record for job in jobs if (record := kept(job)) is not None}


def run(job: Job, threads: int) -> dict[str, Any]:
    """Train, unless it is done; return what was found: `dice`, `low`, `high` and what they are over, or `failed`."""
    if (found := kept(job)) is not None:
        return found
    if job.folder.is_dir():
        shutil.rmtree(job.folder)  # a training that was stopped: its minutes cannot be shared out fairly
    job.folder.parent.mkdir(parents=True, exist_ok=True)
    command = ["-c", PROCESSOR_TIME] if job.clock == "cpu" else ["-m", "segexp.train"]
    words = [sys.executable, *command, *job.words, f"run_dir={job.folder}"]
    limits = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=os.environ | limits)
    said = [line for line in done.stderr.splitlines() if line.strip()]
    found = {"failed": said[-1] if said else f"exit code {done.returncode}"} if done.returncode else outcome(job.folder)
    found = {"words": list(job.words), "model": job.model, **found}
    with atomic_write(job.record) as part:
        part.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return found


def train(jobs: Sequence[Job], threads: int, say: Callable[[str], None]) -> None:
    """Train what is missing, one after the other.

    Raises:
        SystemExit: a training failed.
    """
    for count, job in enumerate(jobs, start=1):
        found = run(job, threads)
        if "failed" in found:
            raise SystemExit(f"{job.folder}: {found['failed']}")
        say(f"[{count} of {len(jobs)}] {job.folder}: Dice {found['dice']:.4f}, {found['seconds']:.0f} s")


def outcome(folder: Path) -> dict[str, Any]:
    """Return the Dice of a finished run on its validation cases, with the 95 % interval as its report has it."""
    record = read_record(folder)
    part = split_scores(record, "val")
    dice = part.interval("dice")
    defined = math.isfinite(dice.low)
    return {
        "dice": dice.mean,
        "low": dice.low if defined else None,
        "high": dice.high if defined else None,
        "cases": dice.cases,
        "groups": dice.groups,
        "few_groups": part.few_groups,
        "epochs": record.facts.get("epochs"),
        "seconds": record.facts.get("seconds"),
    }


def run_all(
    jobs: Sequence[Job], threads: int, at_once: int, say: Callable[[str], None]
) -> dict[tuple[str, str], dict[str, Any]]:
    """Train what is missing, `at_once` side by side; return what was found by data set and network."""
    found = kept_all(jobs)
    missing = [job for job in jobs if (job.data, job.network) not in found]
    if found:
        say(f"{len(found)} of {len(jobs)} trainings are there already")
    started = time.monotonic()
    with ThreadPoolExecutor(at_once) as pool:
        try:
            waiting = {pool.submit(run, job, threads): job for job in missing}
            for count, future in enumerate(as_completed(waiting), start=1):
                job = waiting[future]
                found[job.data, job.network] = future.result()
                say(progress(job, found[job.data, job.network], count, len(missing), time.monotonic() - started))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return found


def progress(job: Job, found: dict[str, Any], count: int, missing: int, seconds: float) -> str:
    """Return what is done and how long the rest will take, judged by what is done."""
    reached = f"failed: {found['failed']}" if "failed" in found else f"Dice {found['dice']:.3f}"
    left = seconds / count * (missing - count) / 60
    return f"[{count} of {missing}] {job.data} {job.network}: {reached}; about {left:.0f} minutes left"
