"""Exported files wrapped as torch modules, for use in a `Segmenter`.

Shapes: B batch, C channels, K classes, h w working size.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from segexp.checkpoint.content import parse_config
from segexp.checkpoint.files import EXPORT_SUFFIXES, sidecar_path
from segexp.config.components import Trust
from segexp.config.overrides import shell_words
from segexp.deployment.formats import FORMATS, silence_exporters
from segexp.deployment.inspection import inspected_program, inspected_script
from segexp.deployment.metadata import parse_sidecar, read_sidecar
from segexp.errors import CheckpointError, ConfigError, DeviceError, require_packages
from segexp.inference.segmenter import Provenance, Segmenter


class Runner(nn.Module):
    """An exported file as a module: image batch in, its output (usually logits) out.

    Attributes:
        here: an empty parameter that carries the device.
    """

    def __init__(self, device: str = "cpu") -> None:
        """Store the device."""
        super().__init__()
        self.here = nn.Parameter(torch.empty(0, device=device), requires_grad=False)

    def forward(self, image: Tensor) -> Tensor:
        """Return the output of the file for a batch."""
        raise NotImplementedError


class OnnxRunner(Runner):
    """ONNX Runtime, on the CPU or on a GPU."""

    def __init__(self, path: Path, device: str = "cpu", threads: int | None = None) -> None:
        """Open a session.

        Args:
            path: the ONNX file.
            device: "cuda" selects the CUDA provider; images pass through main memory.
            threads: CPU threads; None for torch's number.

        Raises:
            CheckpointError: the file is broken or not ONNX.
            ValueError: onnxruntime was built without CUDA.
        """
        super().__init__()
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or torch.get_num_threads()
        options.log_severity_level = 4  # load errors are reported by `opened`
        provider = "CUDAExecutionProvider" if device.startswith("cuda") else "CPUExecutionProvider"
        if provider not in onnxruntime.get_available_providers():
            raise ValueError(provider)
        _, _, number = device.partition(":")
        settings = {"device_id": number or "0"} if device.startswith("cuda") else {}
        with convert_runtime_errors(path, "ONNX"):
            self.session = onnxruntime.InferenceSession(str(path), options, providers=[(provider, settings)])

    def forward(self, image: Tensor) -> Tensor:
        """Return the output of the file for a batch."""
        found: Any = self.session.run(None, {self.session.get_inputs()[0].name: image.contiguous().cpu().numpy()})[0]
        return torch.from_numpy(found).to(image.device)


class OpenvinoRunner(Runner):
    """OpenVINO on the CPU."""

    def __init__(self, path: Path, precision: str = "fp32", threads: int | None = None) -> None:
        """Compile the file.

        Args:
            path: the .xml file, or an ONNX file.
            precision: "bf16" allows bfloat16 where the CPU supports it.
            threads: CPU threads; None for torch's number.

        Raises:
            CheckpointError: the file is broken or not OpenVINO.
        """
        super().__init__()
        import openvino

        wanted: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads or torch.get_num_threads(), "PERFORMANCE_HINT": "LATENCY"}
        wanted["INFERENCE_PRECISION_HINT"] = "bf16" if precision == "bf16" else "f32"
        with convert_runtime_errors(path, "OpenVINO"):
            self.model = openvino.Core().compile_model(path, "CPU", wanted)

    def forward(self, image: Tensor) -> Tensor:
        """Return the output of the file for a batch."""
        return torch.from_numpy(self.model(image.contiguous().cpu().numpy())[0].copy())


class ProgramRunner(Runner):
    """A program of torch.export, or TorchScript."""

    def __init__(self, path: Path, script: bool, device: str = "cpu", trusted: bool = False) -> None:
        """Load the program.

        Args:
            path: the file.
            script: it is TorchScript.
            device: "cpu", "cuda" or "cuda:N".
            trusted: open it as it is; else only what `inspection` knows to be harmless.

        Raises:
            CheckpointError: the file is broken or another kind of file, or holds what needs trust.
        """
        super().__init__(device)
        with silence_exporters(), convert_runtime_errors(path, "TorchScript" if script else "torch.export"):
            if script:
                loaded = torch.jit.load(path if trusted else inspected_script(path), map_location=device)  # type: ignore[no-untyped-call]
            else:
                loaded = torch.export.load(path if trusted else inspected_program(path)).module()
        self.program = loaded.to(device)

    def eval(self) -> "ProgramRunner":
        """Return itself: exported programs are always in eval mode and raise on `eval()`."""
        return self

    def forward(self, image: Tensor) -> Tensor:
        """Return the output of the file for a batch."""
        found: Tensor = self.program(image.contiguous())
        return found


def open_runner(
    path: Path, kind: str, precision: str, device: str = "cpu", threads: int | None = None, trusted: bool = False
) -> Runner:
    """Open an exported file for inference.

    Args:
        path: the file.
        kind: a key of `formats.FORMATS`.
        precision: as in its sidecar.
        device: "cpu", "cuda" or "cuda:N".
        threads: CPU threads; None for torch's number.
        trusted: whether a torch file may hold anything.

    Raises:
        CheckpointError: the file is broken, or needs trust.
        ValueError: onnxruntime was built without CUDA.
    """
    if kind == "onnx":
        return OnnxRunner(path, device, threads)
    if kind == "openvino":
        return OpenvinoRunner(path, precision, threads)
    return ProgramRunner(path, kind == "torchscript", device, trusted)


class convert_runtime_errors:  # noqa: N801 - reads as the context manager that it is
    """Context manager that converts the errors of a runtime to CheckpointError."""

    def __init__(self, path: Path, title: str) -> None:
        self.path, self.title = path, title

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, problem: BaseException | None, trace: object) -> None:
        if isinstance(problem, Exception) and not isinstance(problem, CheckpointError):
            reason = (str(problem).strip().splitlines() or [type(problem).__name__])[0]
            raise CheckpointError(
                f"{self.path} cannot be read as {self.title}: it is truncated, or another kind of file ({reason[:160]})",
                "A file that python -m segexp.export wrote was expected",
                "Copy it again from where it was exported",
            ) from problem


def runs_on(path: Path, device: str) -> bool:
    """Return whether the runtime of an exported file (by its suffix) supports a device."""
    try:
        check_device(path, next(name for name, suffix in EXPORT_SUFFIXES.items() if suffix == path.suffix), device)
    except DeviceError:
        return False
    return True


def load_exported(path: Path, device: str = "cpu", prune_to: int | None = None, trust: Trust = ()) -> Segmenter:
    """Load an exported file as a segmenter.

    Args:
        path: the file; its sidecar is next to it.
        device: "cpu", "cuda" or "cuda:N".
        prune_to: must be None; networks are pruned before the export.
        trust: True opens torch files whatever they hold.

    Raises:
        CheckpointError: file or sidecar is missing or invalid, the file needs trust, or it includes preprocessing and therefore
            accepts only whole images.
        ConfigError: the runtime is not installed, or `prune_to` is given.
        DeviceError: the file cannot run on that device.
    """
    if not path.is_file():
        raise CheckpointError(
            f"model={path} does not exist", "A file that python -m segexp.export wrote was expected", "Look at its folder"
        )
    if prune_to is not None:
        raise ConfigError(
            f"model.prune_to={prune_to} with the exported {path.name}",
            "A file is as it was exported",
            f"Type python -m segexp.export checkpoint=RUN {shell_words({'output': path})} model.prune_to={prune_to}",
        )
    values = read_sidecar(path)
    preprocessing, spec, rule = parse_sidecar(values, path)
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
    network = open_runner(path, kind, values["precision"], device, trusted=trust is True)
    origin = Provenance(
        *(path, parse_config(values["config"], sidecar_path(path)), values["split_hash"]),
        fingerprint=values.get("fingerprint") or {},
        held_out=values.get("held_out") or {},
    )
    return Segmenter(network, preprocessing, spec, values["max_pixels"], "32", False, origin, rule)


def check_runtime(path: Path, kind: str) -> None:
    """Require the runtime of an exported file.

    Raises:
        CheckpointError: the format is unknown to this version.
        ConfigError: the runtime is not installed.
    """
    if kind not in FORMATS:
        raise CheckpointError(f"{sidecar_path(path)} names the format {kind}", "", "Install the version that wrote it")
    package = {"onnx": "onnxruntime", "openvino": "openvino"}.get(kind, "torch")
    require_packages(package, extra=FORMATS[kind].extra, purpose=str(path))


def check_device(path: Path, kind: str, device: str) -> None:
    """Require a device that the runtime supports.

    Raises:
        DeviceError: it does not.
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
