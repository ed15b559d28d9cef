"""From a checkpoint file to the segmenter that it describes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from segexp.checkpoint.files import find_checkpoint, read_checkpoint
from segexp.config.instantiate import locate, parameters
from segexp.data.preprocessing import Preprocessing
from segexp.errors import CheckpointError, ConfigError
from segexp.inference.postprocessing import Postprocessing
from segexp.inference.segmenter import Segmenter
from segexp.types import DataSpec


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


PRETRAINED: dict[str, dict[str, Any]] = {
    "segexp.models": {"weights": "none"},
    "torchvision.models.segmentation": {"weights": None, "weights_backbone": None},
    "segmentation_models_pytorch": {"encoder_weights": None},
}
"""What keeps the networks of a package from asking for pretrained weights."""


def without_pretrained(model: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config of a network that is built only to be given weights of our own: from a checkpoint, or to go on.

    The pretrained weights that it started from are not asked for again; they may be out of reach now.

    Args:
        model: plain values with a `_target_`. Networks of other packages are left as they are.
    """
    from segexp.config.instantiate import locate, parameters

    target = str(model["_target_"])
    off = next((arguments for package, arguments in PRETRAINED.items() if target.startswith(f"{package}.")), {})
    accepted = parameters(locate(target)) or {} if off else {}
    return {**model, **{key: value for key, value in off.items() if key in accepted}}


def load_segmenter(
    path: str | Path, *, device: str = "cpu", trust: Sequence[str] = (), prune_to: int | None = None
) -> Segmenter:
    """Rebuild the segmenter from a run directory or checkpoint file; needs nothing else.

    Args:
        path: a run directory (its best checkpoint is taken) or a .ckpt file.
        device: where to put the weights.
        trust: further packages whose networks may be built from the file.
        prune_to: the level that a UNet++ trained with deep supervision is pruned to; None is the whole network.

    Raises:
        CheckpointError: no such file, broken, foreign, a network from an untrusted or missing package, weights that do not
            fit, or a post-processing that this version does not know.
        ConfigError: the network cannot be pruned to that level.
    """
    from segexp.config.instantiate import check_targets, instantiate

    file = find_checkpoint(Path(path))
    values = read_checkpoint(file)
    content = values["segexp"]
    check_targets(content["config"]["model"], trust)
    content["config"]["model"] = pruned(content["config"]["model"], prune_to, file)
    network = instantiate(without_pretrained(content["config"]["model"]))
    weights = {
        name.removeprefix("network."): tensor for name, tensor in values["state_dict"].items() if name.startswith("network.")
    }
    try:
        network.load_state_dict(weights)
    except RuntimeError as problem:
        raise CheckpointError(
            f"The weights in {file} do not fit the network it names ({str(problem).splitlines()[-1].strip()[:200]})",
            "Weights and network of one version were expected",
            f"Install the version that wrote it: {content['versions']}",
        ) from problem
    if content["config"]["trainer"]["channels_last"]:
        network.to(memory_format=torch.channels_last)
    network.eval()
    segmenter = Segmenter(
        network,
        Preprocessing.from_dict(content["preprocessing"]),
        _spec(content["spec"]),
        content["config"]["data"]["max_pixels"],
        content["precision"],
        content["config"]["trainer"]["channels_last"],
        {**content, "file": str(file)},
        _postprocessing(content, file),
    )
    return segmenter.to(device)


def _spec(plain: dict[str, Any]) -> DataSpec:
    """Return what `describe` wrote; without `overlapping`, as in older checkpoints, the classes exclude each other."""
    palette = tuple(tuple(colour) for colour in plain["palette"])
    return DataSpec(plain["name"], tuple(plain["classes"]), plain["channels"], palette, plain.get("overlapping", False))


def _postprocessing(content: dict[str, Any], file: Path) -> Postprocessing:
    """Return what `evaluate tune=postprocess` stored, or nothing to do."""
    if "postprocessing" not in content:
        return Postprocessing()
    try:
        return Postprocessing.from_dict(content["postprocessing"]["parameters"])
    except (ConfigError, TypeError, KeyError) as problem:
        raise CheckpointError(
            f"{file} stores a post-processing that this segexp does not know: {content['postprocessing']}",
            "Parameters that python -m segexp.evaluate tune=postprocess stored were expected",
            f"Install the version that wrote it: {content['versions']}",
        ) from problem
