"""From an exported file and its sidecar to a segmenter, without a checkpoint."""

from importlib.util import find_spec
from pathlib import Path

import torch

from segexp.errors import CheckpointError, ConfigError, DeviceError
from segexp.exporting.kinds import FORMATS, SUFFIXES, sidecar_of
from segexp.exporting.running import runner
from segexp.exporting.sidecar import facts_of, read_sidecar
from segexp.segmenter import Segmenter


def runs_on(path: Path, device: str) -> bool:
    """Return whether the runtime of an exported file, by its ending, has a device."""
    try:
        check_device(path, SUFFIXES[path.suffix], device)
    except DeviceError:
        return False
    return True


def load_exported(path: Path, device: str = "cpu", prune_to: int | None = None) -> Segmenter:
    """Return the segmenter of an exported file.

    Args:
        path: of the file; its sidecar lies beside it.
        device: "cpu", "cuda" or "cuda:N".
        prune_to: refused; a file is pruned when it is exported.

    Raises:
        CheckpointError: no such file, no sidecar, a broken or foreign one; or one with the preprocessing inside, which takes
            whole pictures and no windows of them.
        ConfigError: the package that runs it is not installed; or a level to prune it to.
        DeviceError: it does not run on that device.
    """
    if not path.is_file():
        raise CheckpointError(
            f"model={path} does not exist", "A file that python -m segexp.export wrote was expected", "Look at its folder"
        )
    if prune_to is not None:
        raise ConfigError(
            f"model.prune_to={prune_to} with the exported {path.name}",
            "A file is as it was exported",
            f"Type python -m segexp.export checkpoint=RUN output={path} model.prune_to={prune_to}",
        )
    values = read_sidecar(path)
    preprocessing, spec, rule = facts_of(values, path)
    if values["returns"] != "logits":
        raise CheckpointError(
            f"{path} has the preprocessing inside and returns {values['returns']}: it takes whole pictures, and predict "
            "shows a network windows and views of them",
            "An export without include_preprocessing was expected",
            "Export again without include_preprocessing for predict; this file is for programs of your own",
        )
    kind = values["format"]
    check_runtime(path, kind)
    check_device(path, kind, device)
    network = runner(path, kind, values["precision"], device)
    facts: dict[str, object] = {**values, "file": str(path)}
    return Segmenter(network, preprocessing, spec, values["max_pixels"], "32", False, facts, rule)


def check_runtime(path: Path, kind: str) -> None:
    """Refuse a file whose runtime is not installed.

    Raises:
        CheckpointError: a format that this version does not know.
        ConfigError: naming the package and the extra.
    """
    if kind not in FORMATS:
        raise CheckpointError(f"{sidecar_of(path)} names the format {kind}", "", "Install the version that wrote it")
    package = {"onnx": "onnxruntime", "openvino": "openvino"}.get(kind, "torch")
    if find_spec(package) is None:
        raise ConfigError(
            f"{path} needs {package}, which is not installed",
            f"It comes with the extra {FORMATS[kind].extra}",
            f"Type pip install 'segexp[{FORMATS[kind].extra}]', or pip install {package}",
        )


def check_device(path: Path, kind: str, device: str) -> None:
    """Refuse a device that the runtime does not have.

    Raises:
        DeviceError: naming it.
    """
    if kind == "openvino" and not device.startswith("cpu"):
        raise DeviceError(f"{path} is OpenVINO's, and runs on the CPU here", "gpus=0 was expected", "Type gpus=0")
    if kind == "onnx" and device.startswith("cuda") and find_spec("onnxruntime"):
        import onnxruntime

        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            raise DeviceError(
                f"{path} cannot run on {device}: onnxruntime {onnxruntime.__version__} was built without CUDA",
                "The package onnxruntime-gpu was expected",
                "Type pip install onnxruntime-gpu, or gpus=0 for the CPU",
            )
    if kind == "onnx" and device.startswith("mps"):
        raise DeviceError(f"{path} cannot run on {device}", "The CPU or a CUDA GPU was expected", "Type gpus=0")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise DeviceError(f"{path} cannot run on {device}", "A CUDA GPU was expected", "Type gpus=0")
