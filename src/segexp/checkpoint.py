"""One file rebuilds everything: weights, config, class table, preprocessing. It is loaded without running code from it.

`torch.load(weights_only=True)` admits tensors and plain values only; the network named inside is built by
`targets.instantiate` after `targets.check_targets`, which follows it into known packages and nowhere else.
"""

import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from segexp import __version__
from segexp.errors import CheckpointError, listed, nearest
from segexp.preprocessing import Preprocessing
from segexp.segmenter import Segmenter
from segexp.types import DataSpec

SCHEMA = 1
"""Version of the "segexp" entry; raised when its form changes."""


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


def find_checkpoint(path: Path) -> Path:
    """Return the checkpoint file meant by a file, a run directory (its best), or a checkpoints folder.

    Raises:
        CheckpointError: there is none.
    """
    if path.is_file():
        return path
    for folder in (path / "checkpoints", path):
        for name in ("best.ckpt", "last.ckpt"):
            if (folder / name).is_file():
                return folder / name
    found = "is a folder without checkpoints/best.ckpt" if path.is_dir() else "does not exist"
    beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    raise CheckpointError(
        f"checkpoint={path} {found}",
        "A run directory or a .ckpt file was expected",
        "Type checkpoint=runs/…, the directory that training printed. " + (nearest(path.name, beside) if beside else ""),
    )


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Load a checkpoint's plain values and tensors on the CPU.

    Raises:
        CheckpointError: the file is truncated, holds code, or was not written by segexp.
    """
    try:
        values = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as problem:  # a foreign file can fail anywhere in the unpickler
        reason = str(problem).strip().splitlines()[0] if str(problem).strip() else type(problem).__name__
        raise CheckpointError(
            f"{path} cannot be read as a checkpoint: it is truncated, not a checkpoint, or holds more than weights and plain "
            f"values ({reason[:160]})",
            "A file that training wrote as checkpoints/best.ckpt or last.ckpt was expected",
            "Copy the file again from where it was trained, or name another one with checkpoint=…",
        ) from problem
    if not isinstance(values, dict) or "segexp" not in values or "state_dict" not in values:
        keys = listed(values) if isinstance(values, dict) else type(values).__name__
        raise CheckpointError(
            f"{path} is a torch file but not one of segexp's: it holds {keys}",
            "The entries segexp and state_dict were expected",
            "Name a file that segexp.train wrote: checkpoint=runs/…/checkpoints/best.ckpt",
        )
    if values["segexp"].get("schema") != SCHEMA:
        raise CheckpointError(
            f"{path} has form {values['segexp'].get('schema')} and this segexp ({__version__}) reads form {SCHEMA}",
            "A checkpoint of the same form was expected",
            f"Install the version that wrote it ({values['segexp'].get('versions', {}).get('segexp', 'unknown')})",
        )
    return values


def check_resume(path: Path, config: dict[str, Any], spec: DataSpec, split_hash: str) -> None:
    """Refuse to go on with a run whose network, optimizer, classes or split are not those of now.

    Args:
        path: of the checkpoint to go on from.
        config: the resolved config of now.
        spec: classes and channels of now.
        split_hash: of now.

    Raises:
        CheckpointError: naming what differs; or the file is broken or foreign.
    """
    content = read_checkpoint(path)["segexp"]
    before = _facts(content["config"], content["spec"]["classes"], content["spec"]["channels"])
    now = _facts(config, spec.classes, spec.channels)
    changed = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    if not changed and content["split_hash"] == split_hash:
        return
    texts = [f"{key} {before.get(key, 'absent')} (now {now.get(key, 'absent')})" for key in changed]
    found = f"{path} was trained with {listed(texts)}" if texts else f"{path} was trained with another split of the data"
    raise CheckpointError(
        found,
        "A resumed run goes on with the same classes, split, network and optimizer",
        "Leave such keys out of the command; or leave resume=… out to start a new run",
    )


def _facts(config: dict[str, Any], classes: Sequence[str], channels: int) -> dict[str, Any]:
    """Return what a resumed run must share with the run of before, by key."""
    sections = {f"{name}.{key}": value for name in ("model", "optimizer") for key, value in config[name].items()}
    return {"data.classes": ", ".join(classes), "data.channels": channels, **sections}


def load_segmenter(path: str | Path, *, device: str = "cpu", trust: Sequence[str] = ()) -> Segmenter:
    """Rebuild the segmenter from a run directory or checkpoint file; needs nothing else.

    Args:
        path: a run directory (its best checkpoint is taken) or a .ckpt file.
        device: where to put the weights.
        trust: further packages whose networks may be built from the file.

    Raises:
        CheckpointError: no such file, broken, foreign, a network from an untrusted package, or weights that do not fit.
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
    )
    return segmenter.to(device)
