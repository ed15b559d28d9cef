"""Exported files as networks: what tiles, averages, scores and writes need not know that it is not a network of torch.

Legend: B batch, C channels, K classes, h w working size.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from segexp.errors import CheckpointError
from segexp.exporting.writing import quiet


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
        with quiet(), opened(path, "TorchScript" if script else "torch.export"):
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
