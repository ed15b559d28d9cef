"""Train a network from a folder or configuration keys."""

import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from segexp.api.calls import command_line, short_traceback
from segexp.api.run import Run
from segexp.config.composition import Job, compose_job, to_plain, with_data
from segexp.config.naming import AUTO_VALUES
from segexp.config.overrides import shell_words
from segexp.config.schema import DataConfig, TrainConfig
from segexp.config.suggestions import explain_errors
from segexp.config.validation import validate, validate_section
from segexp.errors import CheckpointError, ConfigError, SegexpError
from segexp.failures import AGAIN, explain
from segexp.locking import LOCK_FILE, WAIT, folder_lock, is_main_process


@short_traceback
def train(
    folder: "str | os.PathLike[str] | None" = None,
    /,
    *,
    overrides: Sequence[str] = (),
    config_dir: "str | os.PathLike[str] | None" = None,
    **keys: Any,
) -> Run:
    """Train and score a network, as `segexp train` does.

    Args:
        folder: of images and masks, whose layout is inferred; or an option of the group `data`, such as "liver".
        overrides: keys as on the command line, such as "loss=focal_dice" or "model.width=16".
        config_dir: your own configuration folder.
        keys: the same keys as arguments: `model="unetpp"`, `data={"size": 256}`, `trainer={"minutes": 10}`, `seed=1`,
            `run_dir="runs/first"`, `resume=RUN`. See the key reference.

    Returns:
        The run, with its scores.

    Raises:
        ConfigError: an unknown key or option, or an invalid value.
        DataError: the data do not match the keys.
        CheckpointError: the run to resume does not exist or does not fit.

    Example:
        >>> run = segexp.train("data/liver", model="unetpp", trainer={"minutes": 10})
        >>> run = segexp.train("liver", data={"root": "DIR"}, loss="focal_dice")
    """
    from segexp.api.resume import check_trust, resume_command

    command = command_line(folder, keys, overrides, config_dir)
    line = command if command.value("resume") is None else resume_command(command)
    if line is not command:
        check_trust(line, command)
    with explain_errors(line.overrides, line.folders):
        job = compose_job("train", line.overrides, line.folders[1:])
    start_run(job)
    return Run(job.directory)


def start_run(job: Job) -> dict[str, float]:
    """Train a composed configuration in its run directory, or resume it there; return the scores by "<split>/<score>".

    The directory is locked, then its settings are saved. Refused settings leave it as it was.

    Raises:
        LockedError: another process trains in the directory.
        ConfigError: the directory of a new run already holds one.
        SegexpError: see `run_job`.
    """
    resuming = job.config.get("resume") is not None
    with lock_run(job.directory):
        if not resuming and is_main_process():
            check_unused(job)
        try:
            return run_job(job)
        except SegexpError:
            if not resuming and is_main_process():
                discard_empty(job.directory)
            raise


def run_job(job: Job, resume: Path | None = None) -> dict[str, float]:
    """Train a job whose directory is locked, resuming the run directory `resume` if given; return the scores.

    Raises:
        SegexpError: see `prepare_config` and `training.run.run`.
    """
    with job.saved_settings() if is_main_process() else nullcontext():
        config = prepare_config(job)
        if resume is not None:
            config = config.updated({"resume": str(resume)})
        from segexp.training.run import run  # slow import, after the validation

        try:
            return run(config, job.directory)
        except Exception as error:
            known = explain(error, job.directory, go_on(job.directory), lighter_training(config)) or unresumable(error, config)
            if known is None or known is error:
                raise
            raise known from error


def lock_run(directory: Path) -> AbstractContextManager[None]:
    """Return the lock of a run directory for the process that writes files.

    Raises:
        LockedError: on entry, if another process writes there.
    """
    do = f"{WAIT}; a new run needs a directory of its own: run_dir=OTHER"
    return folder_lock(directory, "run directory", do) if is_main_process() else nullcontext()


def check_unused(job: Job) -> None:
    """Refuse to mix the files of a new run with those of another run or of a study; remove what tuning left of a failed start.

    Raises:
        ConfigError: the directory holds a run, scores or a study.
    """
    from segexp.api.resume import find_resume_state

    directory = job.directory
    named = job.config.get("run_dir") or directory
    kinds = {"metrics.json": "scores", "checkpoints/best.ckpt": "a trained network", "multirun.yaml": "a study"}
    held = next((kind for name, kind in kinds.items() if (directory / name).exists()), None)
    do = "Name another directory"
    if find_resume_state(directory):
        held, do = "a run", f"Type {shell_words({'resume': str(named)})} to resume that run, or name another directory"
    if held:
        raise ConfigError(f"run_dir={named} already holds {held}", "A new run needs a directory of its own", do)
    (directory / AUTO_VALUES).unlink(missing_ok=True)


def go_on(directory: Path) -> str:
    """Return what to type when the cause of a failure is gone."""
    from segexp.api.resume import find_resume_state

    return f"Then go on: python -m segexp.train {shell_words({'resume': directory})}" if find_resume_state(directory) else AGAIN


def unresumable(error: Exception, config: TrainConfig) -> CheckpointError | None:
    """Return the error about a checkpoint from which Lightning cannot restore the training; None for other errors."""
    if not any(Path(frame.filename).name == "checkpoint_connector.py" for frame in traceback.extract_tb(error.__traceback__)):
        return None
    return CheckpointError(
        f"The last.ckpt of resume={config.resume} lacks or misnames something ({type(error).__name__}: {str(error)[:160]})",
        "The state that training wrote was expected",
        "Copy the run again from where it was trained, or leave resume out to start a new run",
    )


def lighter_training(config: TrainConfig) -> str:
    """Return what to type for a training that needs less memory."""
    size = config.data.batch_size
    smaller = f"data.batch_size={size // 2}, or " if isinstance(size, int) and size > 1 else ""
    return f"Add {smaller}a smaller data.size or data.crop, or data.cache=disk to the command"


def prepare_config(job: Job) -> TrainConfig:
    """Return the validated configuration of a job; print undone settings and inferred facts about the data.

    Raises:
        SegexpError: a key is wrong, the data are missing, or pretrained weights are not available.
    """
    from segexp.config.components import fit_to_targets
    from segexp.config.experiment import fit_to_choices
    from segexp.models.pretrained import check_weights

    if job.config.get("resume") is None:
        check_weights(job.config.get("model") or {})
    fit_to_targets(job.config, job.typed)
    undone = fit_to_choices(job.config, job.typed, job.choices, job.folders)
    values, found = resolve_data(job)
    config = validate(values | {"run_dir": str(job.directory)})
    from segexp.devices import choose_devices  # imports torch, after the configuration is checked

    choose_devices(config.trainer.gpus)  # refuses missing GPUs
    if is_main_process():
        sys.stdout.writelines(f"{text}\n" for text in (*undone, found) if text)
    return config


def resolve_data(job: Job) -> tuple[dict[str, Any], str]:
    """Return plain values with inferred facts about the data, and a sentence that describes them.

    Network and loss refer to channels and classes by interpolation, so the data come first.

    Raises:
        ConfigError: see `composition.to_plain`; or a key of the data section is wrong.
        DataError: the data folder is missing or has no known layout.
    """
    from segexp.data.autoconfig import complete_keys

    values = to_plain(job.config)
    try:
        data = validate_section(DataConfig, values["data"], "data")
    except ConfigError:
        if values["data"].get("image") and not values["data"].get("family"):
            validate(values)  # report the problems of other sections too
        raise
    found, sentence = complete_keys(data)
    return (to_plain(with_data(job.config, found)) if found else values), sentence


def discard_empty(directory: Path) -> None:
    """Remove a run directory that contains only the saved configuration, its lock and an empty log."""
    own = [path for path in directory.glob("*.log") if not path.stat().st_size] + list(directory.glob(LOCK_FILE))
    saved = list((directory / ".hydra").glob("*.yaml"))
    if set(directory.iterdir()) - {directory / ".hydra", *own}:
        return
    for path in (*own, *saved):
        path.unlink()
    if saved:
        (directory / ".hydra").rmdir()
    directory.rmdir()
