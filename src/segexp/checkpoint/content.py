"""What a checkpoint says about itself: its "segexp" entry, and whether a run of now may go on with it."""

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from segexp import __version__
from segexp.checkpoint.files import SCHEMA, read_checkpoint
from segexp.data.preprocessing import Preprocessing
from segexp.errors import CheckpointError, ConfigError, listed
from segexp.types import DataSpec


def describe(
    config: dict[str, Any], spec: DataSpec, preprocessing: Preprocessing, split_hash: str, precision: str, found: dict[str, Any]
) -> dict[str, Any]:
    """Return the "segexp" entry of a checkpoint: plain Python values only.

    Args:
        config: the resolved config.
        spec: classes, channels, palette.
        preprocessing: image array to network input.
        split_hash: of the split the run trained on.
        precision: in which validation ran.
        found: the fingerprint of the training images.
    """
    import numpy as np

    return {
        "schema": SCHEMA,
        "config": config,
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


def check_resume(path: Path, config: dict[str, Any], spec: DataSpec, split_hash: str) -> None:
    """Refuse to go on with a run whose network, optimizer, classes or split are not those of now, or that has gone further.

    Args:
        path: of the checkpoint to go on from.
        config: the resolved config of now.
        spec: classes and channels of now.
        split_hash: of now.

    Raises:
        CheckpointError: naming what differs; or the file is broken or foreign.
        ConfigError: fewer epochs than are done.
    """
    values = read_checkpoint(path)
    content, done = values["segexp"], int(values.get("epoch", -1)) + 1
    before = _facts(content["config"], content["spec"]["classes"], content["spec"]["channels"])
    now = _facts(config, spec.classes, spec.channels)
    changed = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    if not changed and content["split_hash"] == split_hash:
        check_epochs(path, done, config.get("trainer") or {})
        return
    texts = [f"{key} {before.get(key, 'absent')} (now {now.get(key, 'absent')})" for key in changed]
    found = f"{path} was trained with {listed(texts)}" if texts else f"{path} was trained with another split of the data"
    raise CheckpointError(
        found,
        "A resumed run goes on with the same classes, split, network and optimizer",
        "Leave such keys out of the command; or leave resume=… out to start a new run",
    )


def check_epochs(path: Path, done: int, trainer: Mapping[str, Any]) -> None:
    """Refuse to go on to an epoch that lies behind.

    Raises:
        ConfigError: naming how many are done.
    """
    most = trainer.get("max_epochs")
    if trainer.get("minutes") is None and most is not None and most < done:
        raise ConfigError(
            f"trainer.max_epochs={most}, and {path} has {done} epochs behind it",
            "To go on, more than these were expected",
            f"Type trainer.max_epochs={2 * done}, say",
        )


def _facts(config: dict[str, Any], classes: Sequence[str], channels: int) -> dict[str, Any]:
    """Return what a resumed run must share with the run of before, by key."""
    sections = {f"{name}.{key}": value for name in ("model", "optimizer") for key, value in config[name].items()}
    labels = config["data"].get("labels", "exclusive")  # as in older checkpoints
    trainer = config.get("trainer") or {}
    own = trainer.get("encoder_lr_scale", 1.0) != 1 or trainer.get("freeze_encoder", 0) != 0  # groups of the encoder's own
    if own:
        sections |= {f"trainer.{key}": trainer.get(key) for key in ("encoder_lr_scale", "freeze_encoder")}
    return {"data.classes": ", ".join(classes), "data.channels": channels, "data.labels": labels, **sections}
