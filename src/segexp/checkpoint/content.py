"""The "segexp" metadata of a checkpoint, and the compatibility check for resuming."""

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
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
    config: TrainConfig,
    spec: DataSpec,
    preprocessing: Preprocessing,
    split_hash: str,
    precision: str,
    found: dict[str, Any],
    held_out: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Any]:
    """Return the "segexp" entry of a checkpoint as plain Python values.

    Args:
        config: of the run.
        spec: classes, channels, palette.
        preprocessing: image array to network input.
        split_hash: of the run's split.
        precision: used for validation.
        found: the fingerprint of the training images.
        held_out: see `SegmentationDataModule.held_out`.
    """
    return {
        "schema": SCHEMA,
        "config": config.plain(),
        "spec": {
            "name": spec.name,
            "classes": list(spec.classes),
            "channels": spec.channels,
            "palette": [list(colour) for colour in spec.palette],
            "overlapping": spec.overlapping,
            "background": spec.background,
        },
        "preprocessing": preprocessing.as_dict(),
        "fingerprint": found,
        "split_hash": split_hash,
        **({"held_out": {split: list(ids) for split, ids in held_out.items()}} if held_out else {}),
        "precision": precision,
        "versions": {
            "segexp": __version__,
            "torch": str(torch.__version__),
            "pytorch-lightning": version("pytorch-lightning"),
            "numpy": str(np.__version__),
            "python": platform.python_version(),
        },
    }


def parse_config(values: Any, file: Path) -> TrainConfig:
    """Return the configuration saved in a file by any version.

    Args:
        values: plain values from the file.
        file: for messages.

    Raises:
        CheckpointError: it is not a training configuration.
    """
    try:
        return TrainConfig.model_validate(upgrade(values))
    except (ValidationError, AttributeError, TypeError, ValueError) as problem:
        raise CheckpointError(
            f"{file} holds a configuration that segexp {__version__} does not understand ({reason(problem)})",
            "The configuration that training saved was expected",
            "Copy the file again from where it was trained, or install the version that wrote it",
        ) from problem


def reason(problem: Exception) -> str:
    """Return the first line of why values are invalid, of pydantic the first problem with its place."""
    if isinstance(problem, ValidationError):
        first = problem.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"[:160]
    return (str(problem).splitlines() or ["empty"])[0][:160]


def check_resume(path: Path, config: TrainConfig, spec: DataSpec, split_hash: str) -> None:
    """Require that a run can be resumed: same network, optimizer, classes and split, and not too many epochs.

    Args:
        path: of the checkpoint.
        config: current configuration.
        spec: current classes and channels.
        split_hash: current split.

    Raises:
        CheckpointError: naming the differences; or the file is broken, foreign, or of a version that cannot be resumed.
        ConfigError: `max_epochs` is below the number of completed epochs.
    """
    values = read_checkpoint(path)
    content, done = values["segexp"], int(values.get("epoch", -1)) + 1
    check_version(path, content)
    stored = parse_config(content["config"], path)
    before = _facts(stored, content["spec"]["classes"], content["spec"]["channels"])
    now = _facts(config, spec.classes, spec.channels)
    if content.get("held_out"):  # the split is the stored one, whatever these are
        before, now = before | _split_facts(stored), now | _split_facts(config)
    changed = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    if not changed and content["split_hash"] == split_hash:
        check_epochs(path, done, config.trainer)
        return
    texts = [f"{key} {before.get(key, 'absent')} (now {now.get(key, 'absent')})" for key in changed]
    found = f"{path} was trained with {listed(texts)}" if texts else f"{path} was trained with another split of the data"
    raise CheckpointError(
        found,
        "A resumed run continues with the same classes, split, network and optimizer",
        "Leave such keys out of the command; or leave resume out to start a new run",
    )


def check_version(path: Path, content: dict[str, Any]) -> None:
    """Require a checkpoint of a version whose runs can be resumed.

    Args:
        path: of the checkpoint.
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
    """Require that `max_epochs` is not below the number of completed epochs.

    Raises:
        ConfigError: it is.
    """
    most = trainer.max_epochs
    if trainer.minutes is None and most is not None and most < done:
        raise ConfigError(
            f"trainer.max_epochs={most}, and {path} has {done} epochs behind it",
            "To go on, more than these were expected",
            f"Type trainer.max_epochs={2 * done}, say",
        )


def unusable_state(path: Path, reason: str) -> CheckpointError:
    """Return the error about a checkpoint whose training state is incomplete."""
    return CheckpointError(
        f"{path} cannot be resumed: its training state lacks an entry or has a wrong one ({' '.join(reason.split())[:160]})",
        "The entries that training writes were expected",
        "Copy the file again from where it was trained, or start a new run; checkpoints/best.ckpt may be intact",
    )


def find_mismatch(found: Any, expected: Any, name: str) -> str | None:
    """Return the dotted name of the first entry that is missing, or is no mapping or number where one is expected; or None.

    Args:
        found: plain values from a file.
        expected: values of the same structure.
        name: of both.
    """
    if isinstance(expected, Mapping):
        if not isinstance(found, Mapping):
            return name
        inner = (
            find_mismatch(found[key], value, f"{name}.{key}") if key in found else f"{name}.{key}"
            for key, value in expected.items()
        )
        return next(filter(None, inner), None)
    return name if isinstance(expected, int | float) and not isinstance(found, int | float) else None


def stored_split(path: Path) -> dict[str, list[str]]:
    """Return the ids of val and test of the run that wrote a checkpoint; {} where they follow from its seed alone.

    Raises:
        CheckpointError: the file is broken or foreign.
    """
    return read_checkpoint(path)["segexp"].get("held_out") or {}


def _split_facts(config: TrainConfig) -> dict[str, Any]:
    data = config.data
    drawn = {f"data.{key}": getattr(data, key) for key in ("val_fraction", "test_fraction", "folds", "fold", "groups")}
    return drawn | ({"seed": config.seed} if data.split_seed is None else {"data.split_seed": data.split_seed})


def _facts(config: TrainConfig, classes: "list[str] | tuple[str, ...]", channels: int) -> dict[str, Any]:
    """Return the settings that must not change on resuming, by key."""
    facts: dict[str, Any] = {
        "data.classes": ", ".join(classes),
        "data.channels": channels,
        "data.labels": config.data.labels,
        "data.background": "null" if config.data.background is None else classes[0],
    }
    for name, component in (("model", config.model), ("optimizer", config.optimizer)):
        facts |= {f"{name}.{key}": value for key, value in component.plain().items()}
    trainer = config.trainer
    if trainer.encoder_lr_scale != 1 or trainer.freeze_encoder != 0:  # the encoder has parameter groups of its own
        facts |= {f"trainer.{key}": getattr(trainer, key) for key in ("encoder_lr_scale", "freeze_encoder")}
    return facts
