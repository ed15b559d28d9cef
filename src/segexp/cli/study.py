"""Studies: `-m` over any key. One folder per job with a deterministic name, so that the same command continues the study.

The state of a job is in its folder: `metrics.json` (finished), `failed.txt`, `checkpoints/last.ckpt` (resumable).
"""

import gc
import json
import os
import sys
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segexp.atomic import atomic_write
from segexp.cli.hydra_app import paragraph
from segexp.config.composition import compose, save_settings
from segexp.config.naming import STUDIES, slug, strip_prefix, study_name
from segexp.config.overrides import CommandLine, last_overrides, quoted
from segexp.config.saved_runs import read_yaml, study_overrides
from segexp.config.suggestions import explain_errors
from segexp.errors import ConfigError, listed
from segexp.locking import LOCK_FILE, LockedError, folder_lock, owner

if TYPE_CHECKING:
    from segexp.config.composition import Job


STARTED = "SEGEXP_STUDY_STARTED"
"""Environment variable of a job with the start of its study: what failed later is not tried again by the same command."""


@dataclass(frozen=True)
class Study:
    """A planned study.

    Attributes:
        command: the command line, with the names of study and jobs.
        directory: of the study; contains a folder per job.
        fixed: overrides shared by all jobs.
        started: seconds since the epoch; jobs finished before are skipped.
    """

    command: CommandLine
    directory: Path
    fixed: list[str]
    started: float


def plan_study(command: CommandLine) -> Study:
    """Plan the study of a command line with -m.

    Raises:
        ConfigError: a value is repeated, or the folder holds jobs with other fixed settings.
    """
    settings = last_overrides(command)
    for override, text in settings.values():
        values = list(override.sweep_string_iterator()) if override.is_choice_sweep() and "glob(" not in text else []
        if len(set(values)) < len(values):
            raise ConfigError(f"{text} names a value twice", "Each value is one job", "Name each value once")
    swept = [key for key, (override, _) in settings.items() if override.is_sweep_override()]
    own = {key: text for key, (o, text) in settings.items() if not o.is_hydra_override() and key != "study"}
    fixed = sorted(text for key, text in own.items() if key not in swept)
    whole = list(own.values()) + [flag for flag in command.flags if flag != "--multirun"]
    name = command.value("study") or study_name(swept, whole)
    directory = Path(str(command.value("hydra.sweep.dir") or STUDIES / slug(name)))
    excluded = ",".join(quoted(key) for key in own if key not in swept)
    started = time.time()
    extra = [f"+hydra.job.env_set.{STARTED}={quoted(str(started))}"]
    extra.append(f"hydra.job.config.override_dirname.exclude_keys=[{excluded}]")
    if command.value("study") is None:
        extra.append(f"study={quoted(name)}")
    check_fixed(directory, fixed)
    return Study(replace(command, overrides=[*command.overrides, *extra]), directory, fixed, started)


def check_data_named(study: Study) -> None:
    """Refuse a study whose jobs would have no data, before its folder is made: Hydra composes them one by one.

    Raises:
        ConfigError: neither data nor an experiment is typed, and what is fixed cannot be composed.
    """
    command = study.command
    if not {"data", "experiment"} & set(command.keys):
        with explain_errors(study.fixed, command.folders):
            compose(command.config_name or "train", study.fixed, command.folders[1:])


def check_fixed(directory: Path, fixed: list[str]) -> None:
    """Refuse a study folder with jobs of other fixed settings: their folders would have the same names.

    Raises:
        ConfigError: names the difference.
    """
    saved = study_overrides(directory)
    if not saved:  # no study yet; or another process that begins the same one is about to write them
        return
    settings = last_overrides(CommandLine(list(saved)))
    before = {text for key, (o, text) in settings.items() if not o.is_sweep_override() and key != "study"}
    if before != set(fixed):
        raise ConfigError(
            f"The study in {directory} was made with {listed(sorted(before)) or 'no fixed setting'}, and now with "
            f"{listed(fixed) or 'none'}",
            "The jobs of a study differ in what is swept only",
            "Name another study (study=NAME), or delete that folder",
        )


def study_job(job: "Job") -> None:
    """Run a job of a study: skip, resume or start it; errors are saved and the study continues.

    A job that another process works on is left to that one.
    """
    from segexp.api.train import lock_run

    started = float(os.environ.get(STARTED, "inf"))
    known = (job.directory / ".hydra" / "overrides.yaml").is_file()
    if known and not to_do(job.directory, started):  # before locking, so that a finished study can be read-only
        return
    try:
        with lock_run(job.directory):
            if not known:
                save_settings(job.directory, job.config, job.hydra)
            if to_do(job.directory, started):  # another process may have finished it just now
                _run_job(job)
    except LockedError:
        sys.stdout.write(f"[{job.directory.name}] is left to {owner(job.directory / LOCK_FILE)}\n")


def _run_job(job: "Job") -> None:
    """Run a job whose directory is locked."""
    from segexp.api.resume import find_resume_state
    from segexp.api.train import run_job

    directory = job.directory
    sys.stdout.write(f"[{directory.name}]\n")
    failed = directory / "failed.txt"
    failed.unlink(missing_ok=True)
    try:
        run_job(job, resume=directory if find_resume_state(directory) else None)
    except Exception as error:
        with suppress(OSError), atomic_write(failed) as part:  # a full disk may be what failed
            part.write_text(f"{paragraph(error)}\n\n{traceback.format_exc()}", encoding="utf-8")
        sys.stderr.write(f"{paragraph(error)}\n[{directory.name} failed; the study continues]\n")
    finally:
        _free_memory()


def wait_for_others(study: Study, seconds: float = 1.0) -> bool:
    """Wait until no other process works on a job of the study; return whether one has ended without finishing its job.

    Args:
        study: whose jobs this process has gone through.
        seconds: between two looks at the locks.
    """
    told = set[str]()
    while True:
        held = False
        for lock in sorted(study.directory.glob(f"*/{LOCK_FILE}")):
            folder = lock.parent
            if not to_do(folder, study.started):
                continue
            try:
                with folder_lock(folder, "job"):
                    if to_do(folder, study.started):
                        return True
            except LockedError:
                held = True
                if folder.name not in told:
                    sys.stdout.write(f"Waiting for [{folder.name}], which {owner(lock)} works on\n")
                    told.add(folder.name)
        if not held:
            return False
        time.sleep(seconds)


def _free_memory() -> None:
    """Free the memory of a finished job: the next one runs in the same process."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def job_rows(study: Study) -> list[dict[str, Any]]:
    """Return a row per job: job, status, swept keys, and the content of metrics.json."""
    found = []
    fixed = {strip_prefix(text).partition("=")[0] for text in study.fixed} | {"study"}
    for file in sorted(study.directory.glob("*/.hydra/overrides.yaml")):
        folder = file.parent.parent
        pairs = [str(text).partition("=") for text in read_yaml(file)]
        swept = {strip_prefix(key): value for key, _, value in pairs if strip_prefix(key) not in fixed}
        found.append({"job": folder.name, "status": job_status(folder, study.started), **swept, **_metrics(folder)})
    return found


def to_do(folder: Path, started: float) -> bool:
    """Return whether a job has neither finished, nor failed since `started`."""
    failed = folder / "failed.txt"
    return not (folder / "metrics.json").is_file() and not (failed.is_file() and failed.stat().st_mtime >= started)


def job_status(folder: Path, started: float) -> str:
    """Return done, skipped (done before this call), failed or unfinished."""
    metrics = folder / "metrics.json"
    if metrics.is_file():
        return "done" if metrics.stat().st_mtime >= started else "skipped"
    return "failed" if (folder / "failed.txt").is_file() else "unfinished"


def _metrics(folder: Path) -> dict[str, Any]:
    try:
        content = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict):
        return {}
    scores = content.get("scores")
    facts = {key: content[key] for key in ("seconds", "parameters", "epochs", "best_epoch") if key in content}
    return {**(scores if isinstance(scores, dict) else {}), **facts}
