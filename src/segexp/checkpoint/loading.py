"""From a checkpoint file to the segmenter that it describes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from segexp.checkpoint.files import find_checkpoint, read_checkpoint
from segexp.errors import CheckpointError, ConfigError
from segexp.postprocess import Postprocessing
from segexp.preprocessing import Preprocessing
from segexp.segmenter import Segmenter
from segexp.types import DataSpec


def load_segmenter(path: str | Path, *, device: str = "cpu", trust: Sequence[str] = ()) -> Segmenter:
    """Rebuild the segmenter from a run directory or checkpoint file; needs nothing else.

    Args:
        path: a run directory (its best checkpoint is taken) or a .ckpt file.
        device: where to put the weights.
        trust: further packages whose networks may be built from the file.

    Raises:
        CheckpointError: no such file, broken, foreign, a network from an untrusted or missing package, weights that do not
            fit, or a post-processing that this version does not know.
    """
    from segexp.config.targets import check_targets, instantiate

    file = find_checkpoint(Path(path))
    values = read_checkpoint(file)
    content = values["segexp"]
    check_targets(content["config"]["model"], trust)
    network = instantiate(content["config"]["model"])
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
    spec = content["spec"]
    segmenter = Segmenter(
        network,
        Preprocessing.from_dict(content["preprocessing"]),
        DataSpec(spec["name"], tuple(spec["classes"]), spec["channels"], tuple(tuple(c) for c in spec["palette"])),
        content["config"]["data"]["max_pixels"],
        content["precision"],
        content["config"]["trainer"]["channels_last"],
        {**content, "file": str(file)},
        _postprocessing(content, file),
    )
    return segmenter.to(device)


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
