"""Load checkpoints: one run, several, or all runs of a study."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from segexp.api.calls import short_traceback
from segexp.checkpoint import find_checkpoint, load_segmenter
from segexp.checkpoint.files import is_exported
from segexp.config.components import Trust
from segexp.config.schema import PostprocessConfig, PredictConfig
from segexp.deployment.runtime import load_exported, runs_on
from segexp.devices import choose_devices
from segexp.errors import CheckpointError, ConfigError, listed
from segexp.inference.postprocessing import Postprocessing
from segexp.inference.predictor import Predictor
from segexp.inference.segmenter import Segmenter


@short_traceback
def load(model: "str | os.PathLike[str]", *, device: str = "cpu", trust: Trust = (), prune_to: int | None = None) -> Segmenter:
    """Load a trained network from a run, a checkpoint or an exported file.

    Args:
        model: a run directory or a `Run` (its best weights), a .ckpt file, or the output of `export`.
        device: "cpu", "cuda" or "cuda:1".
        trust: packages of your own whose networks may be built from the file; True for all of them, and for any code in a
            .pt2 or .pt file.
        prune_to: the level that a UNet++ trained with deep supervision is pruned to.

    Returns:
        The network with its preprocessing and classes; `predict` takes an image.

    Raises:
        CheckpointError: the file is missing, broken or untrusted, or a study with several networks.
        ConfigError: the network cannot be pruned, or the runtime of an exported file is not installed.

    Example:
        >>> model = segexp.load("runs/liver/unet/2026-01-01")
        >>> mask = model.predict("scan.png")
    """
    files = checkpoint_files([os.fspath(model)])
    if len(files) > 1:
        raise CheckpointError(
            f"{os.fspath(model)} holds {len(files)} networks",
            "One run, checkpoint or exported file was expected",
            f"Name one of them, such as {files[0].parent.parent}; segexp.predict takes all of them as an ensemble",
        )
    (segmenter,) = load_members(files, device, trust, prune_to)
    return segmenter


def checkpoint_files(named: Sequence[str], exported: bool = True) -> list[Path]:
    """Return the files of runs, checkpoints, studies (the best one of each run) and exports.

    Args:
        named: as typed.
        exported: whether exported files are allowed; they have no layers or gradients.

    Raises:
        CheckpointError: nothing is named, a file is missing or exported, or a study is unfinished or lacks a fold.
    """
    if not named:
        raise CheckpointError("checkpoint names nothing", "A run directory or a .ckpt file was expected", "Type checkpoint=RUN")
    files: list[Path] = []
    for text in named:
        path = Path(text)
        if exported and is_exported(path):
            files.append(path)
            continue
        own = any((folder / f"{name}.ckpt").is_file() for folder in (path, path / "checkpoints") for name in ("best", "last"))
        files += ([] if own else _of_study(path)) or [find_checkpoint(path)]
    return list(dict.fromkeys(files))


def _of_study(path: Path) -> list[Path]:
    from segexp.evaluation.ensemble import study_checkpoints  # imports SciPy

    return study_checkpoints(path)


def heterogeneity_warning(files: Sequence[Path]) -> str:
    """Return a warning if the members of an ensemble were trained with different settings, else ""."""
    if len(files) < 2:
        return ""
    from segexp.evaluation.ensemble import differing_settings  # imports SciPy

    keys = differing_settings(files)
    return f"The {len(files)} networks differ in {listed(keys, 4)}; of a sweep name those that are good." if keys else ""


def device_for(files: Sequence[Path], gpus: str | int | list[int]) -> str:
    """Return the device for networks; "auto" is the CPU if the runtime of an exported file supports nothing else.

    Raises:
        DeviceError: missing GPUs.
    """
    kind, ids = choose_devices(gpus, "gpus")
    device = f"{kind}:{ids[0]}" if isinstance(ids, list) else kind
    return "cpu" if gpus == "auto" and not all(runs_on(file, device) for file in files if is_exported(file)) else device


def load_members(files: Sequence[Path], device: str, trust: Trust, prune_to: int | None = None) -> list[Segmenter]:
    """Load the segmenters of checkpoints (pruned if `prune_to` is given) and exported files.

    Raises:
        CheckpointError: a file is broken or untrusted, or the code of its network cannot be imported.
        ConfigError: a network cannot be pruned, or the runtime of an exported file is not installed.
        DeviceError: an exported file does not run on the device.
    """
    members = []
    for file in files:
        try:
            if is_exported(file):
                members.append(load_exported(file, device, prune_to, trust))
            else:
                members.append(load_segmenter(file, device=device, trust=trust, prune_to=prune_to))
        except (CheckpointError, ConfigError) as error:
            named = "" if str(file) in error.found else f"{file} cannot be used: "  # one of several, perhaps
            raise type(error)(f"{named}{error.found}", error.expected, error.do) from error
    return members


def make_predictor(members: Sequence[Segmenter], config: PredictConfig) -> Predictor:
    """Return the predictor of one or several segmenters.

    Raises:
        ConfigError: the members have different classes or channels, or the post-processing does not fit them.
    """
    if config.max_pixels is not None:
        for member in members:
            member.max_pixels = config.max_pixels or None
    stored = Predictor(members, config.tta, uncertainty=config.uncertainty)
    rule = resolve_postprocessing(config.postprocess, stored.rule)
    rule.check(stored.spec.num_classes)
    return replace(stored, postprocessing=rule)


def resolve_postprocessing(typed: str | PostprocessConfig, stored: Postprocessing) -> Postprocessing:
    """Return the post-processing for "stored", "none", or keys that change that of `start`."""
    chosen = PostprocessConfig(start=typed) if isinstance(typed, str) else typed  # type: ignore[arg-type]
    start = Postprocessing() if chosen.start == "none" else stored
    changed = {key: value for key, value in chosen.plain().items() if key != "start" and value is not None}
    return replace(start, **changed)
