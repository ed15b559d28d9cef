"""Finding, reading and updating checkpoint files."""

from pathlib import Path
from typing import Any

import torch

from segexp import __version__
from segexp.atomic import atomic_write
from segexp.errors import CheckpointError, listed, nearest

SCHEMA = 2
"""Version of the "segexp" entry."""
READABLE = (1, 2)
"""Readable versions; 1 is that of segexp 0.1, with other key names."""


EXPORT_SUFFIXES = {"onnx": ".onnx", "torch_export": ".pt2", "torchscript": ".pt", "openvino": ".xml"}
"""The suffixes of exported files, by format."""


def sidecar_path(model: Path) -> Path:
    """Return the path of the sidecar of an exported file."""
    return model.with_name(f"{model.name}.json")


def is_exported(path: Path) -> bool:
    """Return whether a path is an exported file, by its suffix; .pt files without a sidecar are checkpoints."""
    known = not path.is_dir() and path.suffix in EXPORT_SUFFIXES.values()
    return known and (path.suffix != EXPORT_SUFFIXES["torchscript"] or sidecar_path(path).is_file())


def find_checkpoint(path: Path) -> Path:
    """Return the checkpoint of a file, a run directory (its best), or a checkpoints folder.

    Raises:
        CheckpointError: there is none, or it is an exported file.
    """
    if path.is_file() and is_exported(path):
        raise CheckpointError(
            f"checkpoint={path} is an exported file",
            "A trained network was expected: a run directory or a .ckpt file",
            f"Type checkpoint=RUN with the run that it was exported from; {sidecar_path(path).name} names it",
        )
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
        CheckpointError: the file is truncated, contains code, or was not written by segexp.
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
    if values["segexp"].get("schema") not in READABLE:
        raise CheckpointError(
            f"{path} has form {values['segexp'].get('schema')} and this segexp ({__version__}) reads {listed(READABLE)}",
            "A checkpoint of one of these forms was expected",
            f"Install the version that wrote it ({values['segexp'].get('versions', {}).get('segexp', 'unknown')})",
        )
    return values


def store_postprocessing(path: Path, record: dict[str, Any] | None) -> None:
    """Store a post-processing in a checkpoint file atomically, or remove it; everything else is unchanged.

    Args:
        path: of the file.
        record: plain values, the `Postprocessing` as "parameters" and how it was chosen; None to remove it.

    Raises:
        CheckpointError: the file is broken or foreign, or its folder is not writable.
    """
    values = read_checkpoint(path)
    values["segexp"].pop("postprocessing", None)
    if record is not None:
        values["segexp"]["postprocessing"] = record
    try:
        with atomic_write(path) as part:
            torch.save(values, part)
            part.chmod(path.stat().st_mode & 0o777)
    except (OSError, RuntimeError) as problem:  # torch reports missing permissions or a full disk as RuntimeError
        reason = getattr(problem, "strerror", None) or (str(problem).splitlines() or ["no reason given"])[0]
        raise CheckpointError(
            f"{path} cannot be written ({reason})",
            "The chosen post-processing is stored in the checkpoint, so its folder must be writable and have room for a copy",
            "Copy the run to a folder of your own and name that one with checkpoint=…",
        ) from problem
