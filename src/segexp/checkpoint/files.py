"""Finding, reading and updating checkpoint files."""

import io
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any, NotRequired

import torch
from pydantic import InstanceOf, TypeAdapter, ValidationError
from typing_extensions import TypedDict  # pydantic needs this one before Python 3.12

from segexp import __version__
from segexp.atomic import atomic_write
from segexp.errors import CheckpointError, listed, nearest

SCHEMA = 2
"""Version of the "segexp" entry."""
READABLE = (1, 2)
"""Readable versions; 1 is that of segexp 0.1, with other key names."""

SEAL = b"segexp crc32 "
"""Begins the comment of a checkpoint's zip archive; the CRC-32 of all bytes before it follows, as eight hexadecimal digits."""
BLOCK = 1 << 20
"""Bytes read at once."""


class StoredSpec(TypedDict):
    """The data specification in a checkpoint."""

    name: str
    classes: list[str]
    channels: int
    palette: list[list[int]]
    overlapping: NotRequired[bool]


class StoredContent(TypedDict):
    """The entries of "segexp" that are read; `describe` writes them."""

    schema: int
    config: Any
    spec: StoredSpec
    preprocessing: dict[str, Any]
    split_hash: str
    held_out: NotRequired[dict[str, list[str]]]
    precision: str
    versions: dict[str, str]
    fingerprint: NotRequired[dict[str, Any] | None]
    postprocessing: NotRequired[dict[str, Any]]


class StoredCheckpoint(TypedDict):
    """The entries of a checkpoint that are read; Lightning's are there to resume from."""

    segexp: StoredContent
    state_dict: dict[str, InstanceOf[torch.Tensor]]
    epoch: NotRequired[int]
    global_step: NotRequired[int]
    loops: NotRequired[dict[str, Any]]
    callbacks: NotRequired[dict[str, Any]]
    optimizer_states: NotRequired[list[Any]]
    lr_schedulers: NotRequired[list[Any]]


CHECKPOINT = TypeAdapter(StoredCheckpoint)

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
        "Type checkpoint=RUN, the directory that training printed. " + (nearest(path.name, beside) if beside else ""),
    )


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Load a checkpoint's plain values and tensors on the CPU.

    Raises:
        CheckpointError: the file is damaged, contains code, or was not written by segexp.
        OSError: it cannot be opened.
    """
    check_bytes(path)
    try:
        with warnings.catch_warnings(action="ignore"):  # about pickles and TorchScript, which are refused below
            values = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as problem:  # a foreign file can fail anywhere in the unpickler
        reason = str(problem).strip().splitlines()[0] if str(problem).strip() else type(problem).__name__
        raise CheckpointError(
            f"{path} cannot be read as a checkpoint: it is truncated, not a checkpoint, or holds more than weights and plain "
            f"values ({reason[:160]})",
            "A file that training wrote as checkpoints/best.ckpt or last.ckpt was expected",
            "Copy the file again from where it was trained, or name another one with checkpoint=RUN",
        ) from problem
    if not isinstance(values, dict) or "segexp" not in values or "state_dict" not in values:
        keys = listed(values) if isinstance(values, dict) else type(values).__name__
        raise CheckpointError(
            f"{path} is a torch file but not one of segexp's: it holds {keys}",
            "The entries segexp and state_dict were expected",
            "Name a file that segexp.train wrote: checkpoint=RUN/checkpoints/best.ckpt",
        )
    if isinstance(values["segexp"], dict) and values["segexp"].get("schema") not in READABLE:
        raise CheckpointError(
            f"{path} has form {values['segexp'].get('schema')} and this segexp ({__version__}) reads {listed(READABLE)}",
            "A checkpoint of one of these forms was expected",
            f"Install the version that wrote it ({values['segexp'].get('versions', {}).get('segexp', 'unknown')})",
        )
    try:
        CHECKPOINT.validate_python(values, strict=True)
    except ValidationError as problem:
        first = problem.errors()[0]
        raise CheckpointError(
            f"{path} has no usable entry {'.'.join(map(str, first['loc']))} ({first['msg']})",
            "The entries that training writes were expected",
            "Copy the file again from where it was trained, or name another one with checkpoint=RUN",
        ) from problem
    return values


def write_checkpoint(path: Path, values: dict[str, Any]) -> None:
    """Write plain values and tensors as a checkpoint, atomically, with a checksum of the whole file.

    Raises:
        OSError: the file cannot be written.
    """
    buffer = io.BytesIO()
    torch.save(values, buffer)
    with buffer.getbuffer() as content, atomic_write(path) as part, part.open("wb") as file:
        content[-2:] = (len(SEAL) + 8).to_bytes(2, "little")  # the archive ends with the length of its comment
        file.write(content)
        file.write(SEAL + b"%08x" % zlib.crc32(SEAL, zlib.crc32(content)))


def check_bytes(path: Path) -> None:
    """Compare a checkpoint with its checksum; of one without, such as of segexp 0.1, the checksums of the archive's members.

    Raises:
        CheckpointError: they differ.
        OSError: the file cannot be opened.
    """
    digits = 8
    with path.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(max(0, size - digits - len(SEAL)))
        seal = file.read()
        if sealed := seal.startswith(SEAL):
            file.seek(0)
            found, left = 0, size - digits
            while left and (block := file.read(min(BLOCK, left))):
                found, left = zlib.crc32(block, found), left - len(block)
            intact = seal[len(SEAL) :] == b"%08x" % found
    if not sealed:
        if not zipfile.is_zipfile(path):
            return  # refused by torch
        try:
            with zipfile.ZipFile(path) as archive:
                intact = not archive.comment and archive.testzip() is None
        except Exception:  # a damaged archive can fail anywhere in the reader
            intact = False
    if not intact:
        raise CheckpointError(
            f"{path} is damaged: its bytes are not those that were written (checksum)",
            "The file as training wrote it was expected",
            "Copy it again from where it was trained; in a run, checkpoints has a second file (last.ckpt beside best.ckpt)",
        )


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
        mode = path.stat().st_mode & 0o777
        write_checkpoint(path, values)
        path.chmod(mode)
    except OSError as problem:
        raise CheckpointError(
            f"{path} cannot be written ({problem.strerror or problem})",
            "The chosen post-processing is stored in the checkpoint, so its folder must be writable and have room for a copy",
            "Copy the run to a folder of your own and name that one with checkpoint=RUN",
        ) from problem
