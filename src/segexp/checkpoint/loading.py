"""Load segmenters from checkpoint files."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from segexp.checkpoint.content import parse_config
from segexp.checkpoint.files import find_checkpoint, read_checkpoint
from segexp.config.components import Trust, check_targets, instantiate, locate, parameters, without_weights
from segexp.config.schema import Component, TrainConfig
from segexp.data.preprocessing import Preprocessing
from segexp.errors import CheckpointError, ConfigError
from segexp.inference.postprocessing import Postprocessing
from segexp.inference.segmenter import Provenance, Segmenter, has_finite_sum
from segexp.types import DataSpec


def with_pruning(model: Component, prune_to: int | None, file: Path) -> Component:
    """Return the model section of a checkpoint with the level to prune the network to.

    Args:
        model: the network, whose target is trusted.
        prune_to: None for no change.
        file: the checkpoint, for messages.

    Raises:
        ConfigError: the network cannot be pruned, was trained without deep supervision, or is already pruned further. A level
            beyond its depth is refused when it is built.
    """
    if prune_to is None:
        return model
    without = "leave model.prune_to out"
    if "prune_to" not in (parameters(locate(model.target)) or {}):
        raise ConfigError(
            f"model.prune_to={prune_to}, and the network of {file} is {model.target}, which has no levels to prune to",
            "A network that learned to predict at each of its levels: model=unetpp trained with deep_supervision=true",
            f"Name such a run, or {without}",
        )
    if not model.arguments.get("deep_supervision"):
        raise ConfigError(
            f"model.prune_to={prune_to}, and {file} was trained without deep supervision: its inner levels have no heads",
            "A run that was trained with deep_supervision=true",
            f"Train it again with that, or {without}",
        )
    stored = model.arguments.get("prune_to")
    if stored is not None and prune_to > stored:
        raise ConfigError(
            f"model.prune_to={prune_to}, and the network of {file} was trained with model.prune_to={stored}",
            f"One of {', '.join(map(str, range(1, stored + 1)))}",
            f"Type model.prune_to={stored} or less, or {without}",
        )
    return model.with_arguments(prune_to=prune_to)


def without_pretrained(model: Component) -> Component:
    """Return the network's configuration without pretrained weights, for a network whose weights are loaded afterwards.

    Networks of unknown packages are not changed.
    """
    return Component.model_validate(without_weights(model.plain()))


def load_segmenter(path: str | Path, *, device: str = "cpu", trust: Trust = (), prune_to: int | None = None) -> Segmenter:
    """Load a segmenter from a run directory or checkpoint file.

    Args:
        path: a run directory (its best checkpoint is used) or a .ckpt file.
        device: of the weights.
        trust: further packages whose networks may be built from the file; True for all of one's own.
        prune_to: the level that a UNet++ trained with deep supervision is pruned to; None for the whole network.

    Raises:
        CheckpointError: the file is missing, broken or foreign, its network is from an untrusted or missing package, the
            weights do not fit, or the post-processing is unknown to this version.
        ConfigError: the network cannot be pruned to that level.
    """
    file = find_checkpoint(Path(path))
    values = read_checkpoint(file)
    content = values["segexp"]
    config = parse_config(content["config"], file)
    check_targets(config.model.plain(), trust)
    config = config.changed(model=with_pruning(config.model, prune_to, file))
    network = instantiate(without_pretrained(config.model), "model")
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
    check_finite(network, file)
    if config.trainer.channels_last:
        network.to(memory_format=torch.channels_last)
    network.eval()
    return make_segmenter(content, config, network, file).to(device)


def check_finite(network: nn.Module, file: Path) -> None:
    """Require weights that are finite numbers; buffers, such as masks, may hold infinity.

    Args:
        network: with loaded weights.
        file: the checkpoint, for messages.

    Raises:
        CheckpointError: naming the first one that is not.
    """
    with torch.no_grad():
        for name, tensor in (*network.named_parameters(), *network.named_buffers()):
            if not tensor.is_floating_point() or has_finite_sum(tensor):
                continue
            fine = torch.isfinite(tensor) if isinstance(tensor, nn.Parameter) else ~torch.isnan(tensor)
            if not fine.all():
                raise CheckpointError(
                    f"{file} holds weights that are not finite numbers: {int((~fine).sum())} of {fine.numel()} in {name}",
                    "Finite numbers were expected: with others every mask is empty or arbitrary",
                    "The training diverged: train again with a lower optimizer.lr, or with trainer.precision=32",
                )


def make_segmenter(content: dict[str, Any], config: TrainConfig, network: nn.Module, file: Path) -> Segmenter:
    """Return the segmenter described by the "segexp" entry of a checkpoint.

    Args:
        content: the entry.
        config: from the entry.
        network: built from the entry.
        file: the checkpoint.

    Raises:
        CheckpointError: preprocessing or post-processing are unknown to this version.
    """
    try:
        preprocessing = Preprocessing.from_dict(content["preprocessing"])
    except (TypeError, ValueError) as problem:
        raise CheckpointError(
            f"{file} stores a preprocessing that this segexp does not know: {content['preprocessing']}",
            "The entries that training writes were expected",
            f"Copy the file again, or install the version that wrote it: {content['versions']}",
        ) from problem
    return Segmenter(
        network,
        preprocessing,
        _spec(content["spec"]),
        config.data.max_pixels,
        content["precision"],
        config.trainer.channels_last,
        Provenance(
            *(file, config, content["split_hash"], content.get("fingerprint") or {}, "postprocessing" in content),
            content.get("held_out") or {},
        ),
        _postprocessing(content, file),
    )


def _spec(plain: dict[str, Any]) -> DataSpec:
    """Rebuild the data specification; in older checkpoints the first class is the background, and classes are exclusive."""
    palette = tuple(tuple(colour) for colour in plain["palette"])
    known = {key: plain[key] for key in ("overlapping", "background") if key in plain}
    return DataSpec(plain["name"], tuple(plain["classes"]), plain["channels"], palette, **known)


def _postprocessing(content: dict[str, Any], file: Path) -> Postprocessing:
    """Return the post-processing stored by `evaluate tune=postprocess`, if any."""
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
