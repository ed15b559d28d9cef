"""The JSON sidecar of an exported file (FILE.json): classes and colours, preprocessing, output and post-processing."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from segexp import __version__
from segexp.atomic import SEAL, is_intact, sealed, write_json
from segexp.checkpoint.content import reason
from segexp.checkpoint.files import sidecar_path
from segexp.config.overrides import shell_words
from segexp.data.preprocessing import Preprocessing
from segexp.errors import CheckpointError, ConfigError, listed
from segexp.inference.postprocessing import Postprocessing
from segexp.inference.segmenter import Segmenter
from segexp.types import IGNORE, DataSpec

FORM = 2
"""Version of the sidecar format."""
READABLE = (1, 2)
"""Readable versions; 1 is that of segexp 0.1, without a checksum of the sidecar itself."""
MARK = "segexp-export"
LARGEST = 1 << 22
"""Bytes of a sidecar that is read; those of the largest class tables take a hundredth."""
ENTRIES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("format", "precision", "returns"), (str,)),
    **dict.fromkeys(("spec", "preprocessing", "postprocessing", "config"), (dict,)),
    **{"max_pixels": (int, type(None)), "split_hash": (str, type(None))},
}
"""Required entries of the sidecar and their types."""

INPUTS = (
    "images (batch, channels, height, width) float32, at the working size and normalised, see preprocessing",
    "images (batch, height, width, channels) uint8, as they are on disk",
)
MEANING = {
    "logits": "class scores (batch, classes, height, width) float32 at the working size; {softmax}",
    "probabilities": "probabilities (batch, classes, height, width) float32 at the image's own size",
    "classes": "{classes} (batch, height, width) uint8 at the image's own size",
}


def sidecar_content(segmenter: Segmenter, kind: str, precision: str, returns: str, opset: int | None) -> dict[str, Any]:
    """Return the sidecar of an export as plain values.

    Args:
        segmenter: the exported segmenter.
        kind: a key of `formats.FORMATS`.
        precision: number format of the network.
        returns: "logits", "probabilities" or "classes".
        opset: ONNX opset; None for other formats.
    """
    origin = segmenter.origin
    classes = (
        "sets of bits, 1 for the first foreground class, 2 for the second," if segmenter.spec.overlapping else "class indices"
    )
    softmax = "sigmoid of the difference to the first one" if segmenter.spec.overlapping else "softmax gives probabilities"
    return {
        "what": MARK,
        "form": FORM,
        "segexp": __version__,
        "format": kind,
        "precision": precision,
        "opset": opset,
        "input": INPUTS[returns != "logits"],
        "output": MEANING[returns].format(softmax=softmax, classes=classes),
        "returns": returns,
        "spec": asdict(segmenter.spec),
        "preprocessing": segmenter.preprocessing.as_dict(),
        "postprocessing": segmenter.postprocessing.as_dict(),
        "max_pixels": segmenter.max_pixels,
        "checkpoint": str(origin.file),
        "split_hash": origin.split_hash,
        "held_out": {split: list(ids) for split, ids in origin.held_out.items()},
        "fingerprint": dict(origin.fingerprint),
        "config": origin.config.plain(),
    }


def write_sidecar(model: Path, values: dict[str, Any]) -> Path:
    """Write the sidecar of an existing file, including the digest of the file and a checksum; return its path."""
    path = sidecar_path(model)
    write_json(path, sealed({**values, "sha256": file_digest(model)}))
    return path


def read_sidecar(model: Path) -> dict[str, Any]:
    """Return the sidecar of an exported file.

    Raises:
        CheckpointError: it is missing, damaged, not from segexp, of another version, or of another file.
    """
    path = sidecar_path(model)
    again = f"python -m segexp.export checkpoint=RUN {shell_words({'output': model})}"
    if not path.is_file():
        raise CheckpointError(
            f"{model} has no {path.name} beside it",
            "An export of segexp was expected; its sidecar says which classes there are and how a picture is prepared",
            f"Copy {path.name} from where it was exported, or export it again: {again}",
        )
    try:
        if (size := path.stat().st_size) > LARGEST:
            raise ValueError(f"{size >> 20} MiB")
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as problem:
        raise CheckpointError(
            f"{path} cannot be read ({reason(problem)})",
            "The JSON that an export wrote was expected",
            f"Export again: {again}",
        ) from problem
    if not isinstance(values, dict) or values.get("what") != MARK:
        raise CheckpointError(
            f"{path} was not written by segexp", "The sidecar of an export of segexp was expected", f"Export again: {again}"
        )
    if values.get("form") not in READABLE:
        raise CheckpointError(
            f"{path} has form {values.get('form')} and this segexp ({__version__}) reads {listed(READABLE)}",
            "An export of one of these forms was expected",
            f"Export again, or install the version that wrote it ({values.get('segexp')})",
        )
    if (SEAL in values or values.get("form") == FORM) and not is_intact(values):
        raise CheckpointError(
            f"{path} was changed or damaged: its checksum differs",
            "The sidecar as the export wrote it was expected",
            f"Copy it again from where it was exported, or export again: {again}",
        )
    if values.get("sha256") != file_digest(model):
        raise CheckpointError(
            f"{path} belongs to another file than {model.name}: its sha256 differs",
            "The two files of one export were expected",
            f"Copy both again from where they were exported, or export again: {again}",
        )
    return values


def parse_sidecar(values: dict[str, Any], model: Path) -> tuple[Preprocessing, DataSpec, Postprocessing]:
    """Return preprocessing, data specification and post-processing from a sidecar.

    Raises:
        CheckpointError: an entry is missing or invalid.
    """
    try:
        for entry, kinds in ENTRIES.items():
            if not isinstance(values[entry], kinds):
                raise TypeError(f"{entry} is {str(values[entry])[:80]!r}")
        preprocessing = TypeAdapter(Preprocessing).validate_python(values["preprocessing"])
        spec = TypeAdapter(DataSpec).validate_python(values["spec"])
        if not (1 < len(spec.classes) == len(spec.palette) <= IGNORE and 0 < spec.channels == preprocessing.channels):
            raise ValueError(f"{len(spec.classes)} classes, {len(spec.palette)} colours, {spec.channels} channels")
        return preprocessing, spec, TypeAdapter(Postprocessing).validate_python(values["postprocessing"])
    except (KeyError, TypeError, ValueError, AttributeError, ConfigError) as problem:
        raise CheckpointError(
            f"{sidecar_path(model)} lacks or misnames something ({reason(problem)})",
            "The sidecar as the export wrote it was expected",
            "Copy it again from where it was exported",
        ) from problem


def file_digest(model: Path) -> str:
    """Return the SHA-256 of an exported file, including the weights file of OpenVINO."""
    found = hashlib.sha256()
    for path in (model, *([model.with_suffix(".bin")] if model.suffix == ".xml" else [])):
        if path.is_file():
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    found.update(block)
    return found.hexdigest()
