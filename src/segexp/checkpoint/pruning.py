"""A trained network with fewer levels: `model.prune_to` on the command line of what reads checkpoints."""

from pathlib import Path
from typing import Any

from segexp.config.targets import locate, parameters
from segexp.errors import ConfigError


def pruned(model: dict[str, Any], prune_to: int | None, file: Path) -> dict[str, Any]:
    """Return the model section of a checkpoint with the level that its network is to be pruned to.

    Args:
        model: the network's `_target_`, which is trusted, and its arguments.
        prune_to: None leaves everything as it is.
        file: the checkpoint, for messages.

    Raises:
        ConfigError: the network cannot be pruned, was trained without the heads that a pruned one ends at, or has been pruned
            further already. A level beyond its depth is refused when it is built.
    """
    if prune_to is None:
        return model
    without = "leave model.prune_to out"
    if "prune_to" not in (parameters(locate(model["_target_"])) or {}):
        raise ConfigError(
            f"model.prune_to={prune_to}, and the network of {file} is {model['_target_']}, which has no levels to prune to",
            "A network that learned to predict at each of its levels: model=unetpp trained with deep_supervision=true",
            f"Name such a run, or {without}",
        )
    if not model.get("deep_supervision"):
        raise ConfigError(
            f"model.prune_to={prune_to}, and {file} was trained without deep supervision: its inner levels have no heads",
            "A run that was trained with deep_supervision=true",
            f"Train it again with that, or {without}",
        )
    stored = model.get("prune_to")
    if stored is not None and prune_to > stored:
        raise ConfigError(
            f"model.prune_to={prune_to}, and the network of {file} was trained with model.prune_to={stored}",
            f"One of {', '.join(map(str, range(1, stored + 1)))}",
            f"Type model.prune_to={stored} or less, or {without}",
        )
    return model | {"prune_to": prune_to}
