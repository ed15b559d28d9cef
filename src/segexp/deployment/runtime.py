"""Exported files as networks: what tiles, averages, scores and writes need not know that it is not a network of torch.

Legend: B batch, C channels, K classes, h w working size.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from segexp.checkpoint.content import saved_config
from segexp.checkpoint.files import EXPORT_SUFFIXES, sidecar_of
from segexp.deployment.formats import FORMATS, silence_exporters
from segexp.deployment.metadata import facts_of, read_sidecar
from segexp.errors import CheckpointError, ConfigError, DeviceError, require_packages
from segexp.inference.segmenter import Provenance, Segmenter


class Runner(nn.Module):
    """An exported file that is called as a network is: images in, class scores (or whatever it returns) out.

    Attributes:
        here: an empty parameter, by which others see where images are wanted.
    """

    def __init__(self, device: str = "cpu") -> None:
        """Remember where images are wanted."""
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
            path: of the file.
            device: "cuda" takes the CUDA provider; images pass through main memory.
            threads: of the CPU; None takes what torch takes.

        Raises:
            CheckpointError: the file is broken or no ONNX.
            ValueError: onnxruntime was built without CUDA.
        """
        super().__init__()
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or torch.get_num_threads()
        options.log_severity_level = 4  # what cannot be read is told in our own words
        provider = "CUDAExecutionProvider" if device.startswith("cuda") else "CPUExecutionProvider"
        if provider not in onnxruntime.get_available_providers():
            raise ValueError(provider)
        _, _, number = device.partition(":")
        settings = {"device_id": number or "0"} if device.startswith("cuda") else {}
        with opened(path, "ONNX"):
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
            path: of the .xml file, or of an ONNX file.
            precision: "bf16" lets the CPU calculate in bfloat16 where it can; else what the file says.
            threads: of the CPU; None takes what torch takes.

        Raises:
            CheckpointError: the file is broken or not OpenVINO's.
        """
        super().__init__()
        import openvino

        wanted: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads or torch.get_num_threads(), "PERFORMANCE_HINT": "LATENCY"}
        wanted["INFERENCE_PRECISION_HINT"] = "bf16" if precision == "bf16" else "f32"
        with opened(path, "OpenVINO"):
            self.model = openvino.Core().compile_model(path, "CPU", wanted)

    def forward(self, image: Tensor) -> Tensor:
        """Return the output of the file for a batch."""
        return torch.from_numpy(self.model(image.contiguous().cpu().numpy())[0].copy())


class ProgramRunner(Runner):
    """A program of torch.export, or TorchScript."""

    def __init__(self, path: Path, script: bool, device: str = "cpu") -> None:
        """Load the program.

        Raises:
            CheckpointError: the file is broken or no such program.
        """
        super().__init__(device)
        with silence_exporters(), opened(path, "TorchScript" if script else "torch.export"):
            loaded = torch.jit.load(path, map_location=device) if script else torch.export.load(path).module()  # type: ignore[no-untyped-call]
        self.program = loaded.to(device)

    def eval(self) -> "ProgramRunner":
        """Return itself: an exported program has no other mode, and refuses to be asked."""
        return self

    def forward(self, image: Tensor) -> Tensor:
        """Return the output of the file for a batch."""
        found: Tensor = self.program(image.contiguous())
        return found


def runner(path: Path, kind: str, precision: str, device: str = "cpu", threads: int | None = None) -> Runner:
    """Return what runs an exported file.

    Args:
        path: of the file.
        kind: a key of `kinds.FORMATS`.
        precision: that its sidecar names.
        device: "cpu", "cuda" or "cuda:N".
        threads: of the CPU; None takes what torch takes.

    Raises:
        CheckpointError: the file is broken.
        ValueError: onnxruntime was built without CUDA.
    """
    if kind == "onnx":
        return OnnxRunner(path, device, threads)
    if kind == "openvino":
        return OpenvinoRunner(path, precision, threads)
    return ProgramRunner(path, kind == "torchscript", device)


class opened:  # noqa: N801 - reads as the context manager that it is
    """Turn what a runtime throws at a foreign file into a sentence."""

    def __init__(self, path: Path, title: str) -> None:
        self.path, self.title = path, title

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, problem: BaseException | None, trace: object) -> None:
        if isinstance(problem, Exception):
            reason = (str(problem).strip().splitlines() or [type(problem).__name__])[0]
            raise CheckpointError(
                f"{self.path} cannot be read as {self.title}: it is truncated, or another kind of file ({reason[:160]})",
                "A file that python -m segexp.export wrote was expected",
                "Copy it again from where it was exported",
            ) from problem


def runs_on(path: Path, device: str) -> bool:
    """Return whether the runtime of an exported file, by its ending, has a device."""
    try:
        check_device(path, next(name for name, suffix in EXPORT_SUFFIXES.items() if suffix == path.suffix), device)
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
    origin = Provenance(
        path, saved_config(values["config"], sidecar_of(path)), values["split_hash"], values.get("fingerprint") or {}
    )
    return Segmenter(network, preprocessing, spec, values["max_pixels"], "32", False, origin, rule)


def check_runtime(path: Path, kind: str) -> None:
    """Refuse a file whose runtime is not installed.

    Raises:
        CheckpointError: a format that this version does not know.
        ConfigError: naming the package and the extra.
    """
    if kind not in FORMATS:
        raise CheckpointError(f"{sidecar_of(path)} names the format {kind}", "", "Install the version that wrote it")
    package = {"onnx": "onnxruntime", "openvino": "openvino"}.get(kind, "torch")
    require_packages(package, extra=FORMATS[kind].extra, purpose=str(path))


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
