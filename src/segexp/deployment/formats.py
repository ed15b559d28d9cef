"""Export formats and their writers; optional packages are imported on use."""

import logging
import math
import operator
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from segexp.checkpoint.files import EXPORT_SUFFIXES
from segexp.config.overrides import shell_words
from segexp.errors import ConfigError, SegexpError, nearest, require_packages

OLDEST, NEWEST, OPSET = 18, 23, 20
"""Supported ONNX opsets (oldest, newest) and the default."""
INPUT = "image"


@dataclass(frozen=True)
class Format:
    """An export format.

    Attributes:
        suffix: of the file.
        extra: optional dependency group of segexp; "" if torch suffices.
        packages: required to write and run the file.
        precisions: supported on the CPU.
        title: display name.
    """

    suffix: str
    extra: str
    packages: tuple[str, ...]
    precisions: tuple[str, ...]
    title: str


FORMATS = {
    "onnx": Format(EXPORT_SUFFIXES["onnx"], "export", ("onnx", "onnxruntime", "onnxscript"), ("fp32", "fp16", "int8"), "ONNX"),
    "torch_export": Format(EXPORT_SUFFIXES["torch_export"], "", (), ("fp32", "bf16", "fp16"), "torch.export"),
    "torchscript": Format(EXPORT_SUFFIXES["torchscript"], "", (), ("fp32", "bf16", "fp16"), "TorchScript"),
    "openvino": Format(
        EXPORT_SUFFIXES["openvino"],
        "openvino",
        ("openvino", "onnx", "onnxruntime", "onnxscript"),
        ("fp32", "bf16", "int8"),
        "OpenVINO",
    ),
}


def check_format(name: str, precision: str, opset: int, output: Path) -> None:
    """Validate the export parameters.

    Raises:
        ConfigError: unknown format, missing package, unsupported precision or opset, or an output that is a folder or has
            another suffix.
    """
    if name not in FORMATS:
        raise ConfigError(f"format={name} is not a format", nearest(name, FORMATS), "Type format=onnx")
    known = FORMATS[name]
    check_packages(name)
    if precision not in known.precisions:
        others = [other for other, each in FORMATS.items() if precision in each.precisions]
        raise ConfigError(
            f"format={name} precision={precision}: {WHY.get((name, precision), 'there is no such file')}",
            f"{known.title} in {' or '.join(known.precisions)} was expected",
            f"Type format={others[0]} precision={precision}, or precision=fp32" if others else "Type precision=fp32",
        )
    if not OLDEST <= opset <= NEWEST:
        raise ConfigError(
            f"opset={opset} is {'older' if opset < OLDEST else 'newer'} than what is written",
            f"An opset of ONNX from {OLDEST} to {NEWEST} was expected",
            f"Type opset={OLDEST if opset < OLDEST else NEWEST}, or leave it out for {OPSET}",
        )
    if output.is_dir():
        raise ConfigError(
            f"output={output} is a folder",
            f"The name of a file of format={name} was expected",
            f"Type {shell_words({'output': output / f'NAME{known.suffix}'})}",
        )
    if output.suffix != known.suffix:
        known_suffix = output.suffix in EXPORT_SUFFIXES.values()
        raise ConfigError(
            f"output={output} does not end as a file of format={name} does",
            f"{known.title} files end in {known.suffix}",
            f"Type {shell_words({'output': output.with_suffix(known.suffix) if known_suffix else f'{output}{known.suffix}'})}",
        )


WHY = {
    ("onnx", "bf16"): "ONNX Runtime has no convolution in bfloat16 on the CPU",
    ("openvino", "fp16"): "OpenVINO calculates in float32 or bfloat16 on the CPU",
    ("torch_export", "int8"): "torch quantises no segmentation network that could be run elsewhere",
    ("torchscript", "int8"): "torch quantises no segmentation network that could be run elsewhere",
}


def check_packages(name: str) -> None:
    """Require the packages of a format.

    Raises:
        ConfigError: with the missing packages and the extra that installs them.
    """
    require_packages(*FORMATS[name].packages, extra=FORMATS[name].extra, purpose=f"format={name}")


class ExportError(SegexpError):
    """The network cannot be exported to this format, or its output changes."""


def write_onnx(module: nn.Module, example: Tensor, path: Path, returns: str, opset: int = OPSET) -> None:
    """Write a module as a single ONNX file with dynamic batch, height and width.

    The program is captured before the ONNX exporter starts, because some libraries take size-specific shortcuts while it runs.

    Args:
        module: see `modules.deployed`.
        example: a batch of two images.
        path: the file to write.
        returns: name of the output.
        opset: ONNX opset.

    Raises:
        ExportError: an operation is not supported or not independent of the image size.
    """
    import onnx

    captured = capture_program(module, example)
    with silence_exporters(), convert_export_errors("ONNX"):
        found = torch.onnx.export(
            captured, input_names=[INPUT], output_names=[returns], dynamo=True, verbose=False, opset_version=opset
        )
        assert found is not None, "with dynamo a program comes back"
        found.save(path, external_data=False)
    model = onnx.load(path)
    name_axes(model, example)
    onnx.save(model, path)


def name_axes(model: Any, example: Tensor) -> None:
    """Give the dynamic axes of an ONNX model's input and output readable names."""
    names = dict(zip((0, *spatial_axes(example)), ("batch", "height", "width"), strict=True))
    shape = model.graph.input[0].type.tensor_type.shape.dim
    known = {shape[axis].dim_param: name for axis, name in names.items()}
    for axis, name in names.items():
        shape[axis].dim_param = name
    for dim in model.graph.output[0].type.tensor_type.shape.dim:
        if dim.HasField("dim_param"):
            dim.dim_param = known.get(dim.dim_param, dim.dim_param)
    del model.graph.value_info[:]  # optional, and still with the old axis names


def write_program(module: nn.Module, example: Tensor, path: Path) -> None:
    """Write a module with torch.export, with dynamic batch, height and width.

    Raises:
        ExportError: the network cannot be captured.
    """
    captured = capture_program(module, example)
    with silence_exporters(), convert_export_errors("torch.export"):
        torch.export.save(captured, path)


def capture_program(module: nn.Module, example: Tensor) -> torch.export.ExportedProgram:
    """Capture a module with dynamic batch, height and width.

    Raises:
        ExportError: the network cannot be captured.
    """
    axes = dict.fromkeys((0, *spatial_axes(example)), torch.export.Dim.DYNAMIC)
    with silence_exporters(), convert_export_errors("torch.export"), torch.no_grad():
        captured = torch.export.export(module, (example,), dynamic_shapes=(axes,))
        replace_ceil_division(captured.graph_module)
        return captured


def replace_ceil_division(captured: torch.fx.GraphModule) -> None:
    """Rewrite ceil(a / b) of symbolic sizes, which torch.export cannot save, as integer arithmetic."""
    for node in list(captured.graph.nodes):
        quotient = node.args[0] if node.target is math.ceil else None
        if isinstance(quotient, torch.fx.Node) and quotient.target is operator.truediv:
            above, below = quotient.args
            steps: list[tuple[Any, list[Any]]] = [
                (operator.neg, [above]),
                (operator.floordiv, [None, below]),  # None stands for the previous result
                (operator.neg, [None]),
            ]
            with captured.graph.inserting_before(node):
                for target, arguments in steps:
                    given = tuple(node.prev if each is None else each for each in arguments)
                    step = captured.graph.call_function(target, given)
                    step.meta["val"] = target(
                        *(each.meta["val"] if isinstance(each, torch.fx.Node) else each for each in given)
                    )
            node.replace_all_uses_with(node.prev)
            captured.graph.erase_node(node)
            if not quotient.users:
                captured.graph.erase_node(quotient)
    captured.recompile()


def write_script(module: nn.Module, example: Tensor, path: Path) -> None:
    """Write a module as traced TorchScript (deprecated in torch, still used by C++ programs).

    Raises:
        ExportError: the network cannot be traced.
    """
    with silence_exporters(), convert_export_errors("TorchScript"), torch.no_grad():
        torch.jit.save(torch.jit.trace(module, example, check_trace=False), path)  # type: ignore[no-untyped-call]


def write_openvino(onnx_file: Path, path: Path) -> None:
    """Convert an ONNX file to OpenVINO: `path` and the weights next to it, NAME.bin.

    Raises:
        ExportError: an operation is not supported.
    """
    import openvino

    with silence_exporters(), convert_export_errors("OpenVINO"):
        model = openvino.Core().read_model(onnx_file)  # not convert_model, which sends telemetry
        openvino.save_model(model, path, compress_to_fp16=False)


def spatial_axes(example: Tensor) -> tuple[int, int]:
    """Return the axes of height and width of raw (B, H, W, C) or prepared images (B, C, h, w)."""
    return (1, 2) if example.dtype == torch.uint8 else (2, 3)


@contextmanager
def convert_export_errors(title: str) -> Iterator[None]:
    """Convert any exception of an exporter.

    Raises:
        ExportError: with the relevant line of the exporter's message.
    """
    try:
        yield
    except Exception as problem:  # exporters raise many classes of their own
        words = [line.strip() for line in str(problem).splitlines() if line.strip()] or [type(problem).__name__]
        reason = next((line for line in words if "Error" in line), words[0])
        raise ExportError(
            f"The network cannot be written as {title}: {type(problem).__name__}: {reason[:240]}",
            "Operations that the exporter knows, for any batch, height and width, were expected",
            "Type another format; SEGEXP_DEBUG=1 shows where in the network it fails",
        ) from problem


@contextmanager
def silence_exporters() -> Iterator[None]:
    """Suppress log messages and warnings of the exporters."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
