"""What a checkpoint says about itself: its "segexp" entry, and whether a run of now may resume from it."""

import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from segexp import __version__
from segexp.checkpoint.files import SCHEMA, read_checkpoint
from segexp.config.migration import upgrade
from segexp.config.schema import TrainConfig, TrainerConfig
from segexp.data.preprocessing import Preprocessing
from segexp.errors import CheckpointError, ConfigError, listed
from segexp.types import DataSpec


def describe(
    config: TrainConfig, spec: DataSpec, preprocessing: Preprocessing, split_hash: str, precision: str, found: dict[str, Any]
) -> dict[str, Any]:
    """Return the "segexp" entry of a checkpoint: plain Python values only.

    Args:
        config: of the run.
        spec: classes, channels, palette.
        preprocessing: image array to network input.
        split_hash: of the split the run trained on.
        precision: in which validation ran.
        found: the fingerprint of the training images.
    """
    import numpy as np

    return {
        "schema": SCHEMA,
        "config": config.plain(),
        "spec": {
            "name": spec.name,
            "classes": list(spec.classes),
            "channels": spec.channels,
            "palette": [list(colour) for colour in spec.palette],
            "overlapping": spec.overlapping,
        },
        "preprocessing": preprocessing.as_dict(),
        "fingerprint": found,
        "split_hash": split_hash,
        "precision": precision,
        "versions": {
            "segexp": __version__,
            "torch": str(torch.__version__),
            "pytorch-lightning": version("pytorch-lightning"),
            "numpy": str(np.__version__),
            "python": platform.python_version(),
        },
    }


def saved_config(values: Any, file: Path) -> TrainConfig:
    """Return the configuration that a file has saved, whichever version wrote it.

    Args:
        values: plain values out of the file.
        file: for messages.

    Raises:
        CheckpointError: it is no configuration of a training.
    """
    try:
        return TrainConfig.model_validate(upgrade(values))
    except (ValidationError, AttributeError, TypeError, ValueError) as problem:
        reason = str(problem).splitlines()
        if isinstance(problem, ValidationError):
            first = problem.errors()[0]
            reason = [f"{'.'.join(map(str, first['loc']))}: {first['msg']}"]
        raise CheckpointError(
            f"{file} holds a configuration that segexp {__version__} does not understand ({(reason or ['empty'])[0][:160]})",
            "The configuration that training saved was expected",
            "Copy the file again from where it was trained, or install the version that wrote it",
        ) from problem


def check_resume(path: Path, config: TrainConfig, spec: DataSpec, split_hash: str) -> None:
    """Refuse to resume a run whose network, optimizer, classes or split are not those of now, or that has gone further.

    Args:
        path: of the checkpoint to resume from.
        config: of now.
        spec: classes and channels of now.
        split_hash: of now.

    Raises:
        CheckpointError: naming what differs; or the file is broken, foreign, or of a version that cannot be resumed.
        ConfigError: fewer epochs than are done.
    """
    values = read_checkpoint(path)
    content, done = values["segexp"], int(values.get("epoch", -1)) + 1
    check_version(path, content)
    before = _facts(saved_config(content["config"], path), content["spec"]["classes"], content["spec"]["channels"])
    now = _facts(config, spec.classes, spec.channels)
    changed = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    if not changed and content["split_hash"] == split_hash:
        check_epochs(path, done, config.trainer)
        return
    texts = [f"{key} {before.get(key, 'absent')} (now {now.get(key, 'absent')})" for key in changed]
    found = f"{path} was trained with {listed(texts)}" if texts else f"{path} was trained with another split of the data"
    raise CheckpointError(
        found,
        "A resumed run goes on with the same classes, split, network and optimizer",
        "Leave such keys out of the command; or leave resume=… out to start a new run",
    )


def check_version(path: Path, content: dict[str, Any]) -> None:
    """Refuse to resume a run of a version whose runs cannot be resumed.

    Args:
        path: of the checkpoint to resume from.
        content: its "segexp" entry.

    Raises:
        CheckpointError: naming the version that wrote it.
    """
    if content["schema"] < SCHEMA:
        wrote = content.get("versions", {}).get("segexp", "unknown")
        raise CheckpointError(
            f"{path} was written by segexp {wrote}, and this segexp ({__version__}) cannot resume it",
            "A run resumes with the version that began it, so that it ends as an uninterrupted one",
            f"Type pip install segexp=={wrote} to resume it; its weights can be used as they are",
        )


def check_epochs(path: Path, done: int, trainer: TrainerConfig) -> None:
    """Refuse to go on to an epoch that lies behind.

    Raises:
        ConfigError: naming how many are done.
    """
    most = trainer.max_epochs
    if trainer.minutes is None and most is not None and most < done:
        raise ConfigError(
            f"trainer.max_epochs={most}, and {path} has {done} epochs behind it",
            "To go on, more than these were expected",
            f"Type trainer.max_epochs={2 * done}, say",
        )


def _facts(config: TrainConfig, classes: "list[str] | tuple[str, ...]", channels: int) -> dict[str, Any]:
    """Return what a resumed run must share with the run of before, by key."""
    facts: dict[str, Any] = {
        "data.classes": ", ".join(classes),
        "data.channels": channels,
        "data.labels": config.data.labels,
    }
    for name, component in (("model", config.model), ("optimizer", config.optimizer)):
        facts |= {f"{name}.{key}": value for key, value in component.plain().items()}
    trainer = config.trainer
    if trainer.encoder_lr_scale != 1 or trainer.freeze_encoder != 0:  # the encoder has parameter groups of its own
        facts |= {f"trainer.{key}": getattr(trainer, key) for key in ("encoder_lr_scale", "freeze_encoder")}
    return facts
