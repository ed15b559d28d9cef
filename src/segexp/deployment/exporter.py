"""The export workflow: write to a temporary name, verify, then move to the final name."""

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from segexp.checkpoint.files import sidecar_path
from segexp.data.preprocessing import working_size
from segexp.deployment.certificate import (
    ExportedModel,
    certificate_lines,
    certificate_record,
    certify,
    write_certificate,
)
from segexp.deployment.formats import FORMATS, ExportError, write_onnx, write_openvino, write_program, write_script
from segexp.deployment.metadata import file_digest, sidecar_content, write_sidecar
from segexp.deployment.modules import Returns, exportable_module
from segexp.deployment.plan import ExportData, ExportRequest, ExportResult
from segexp.deployment.quantization import QuantisationResult, quantise
from segexp.deployment.runtime import Runner, open_runner
from segexp.inference.segmenter import Segmenter
from segexp.reporting.export_report import certificate_page
from segexp.reporting.rendering import write_page
from segexp.types import Array
from segexp.visualization.masks import layer_mask


def publish(segmenter: Segmenter, wanted: ExportRequest, made: ExportResult) -> ExportResult:
    """Move a file to its final name, together with its sidecar and certificate; return the updated result."""
    opset = wanted.opset if wanted.kind in ("onnx", "openvino") else None
    values = sidecar_content(segmenter, wanted.kind, made.precision, wanted.returns, opset)
    draft = made.file.with_name(wanted.output.name)
    for source, target in zip(file_parts(made.file), file_parts(draft), strict=True):
        source.replace(target)
    write_sidecar(draft, values)
    facts = {key: values[key] for key in ("segexp", "format", "precision", "returns", "opset", "checkpoint")}
    facts |= {"file": wanted.output.name, "sha256": file_digest(draft)}
    facts |= {"int8": made.quantised.as_dict()} if made.quantised else {}
    found = certificate_record(facts, made.certificate, verdict(made))
    write_certificate(certificate_path(draft), found)
    write_page(
        certificate_page_path(draft), certificate_page(found, made.precision == "fp32" or not made.certificate.poor, made.look)
    )
    for each in (certificate_path(draft), certificate_page_path(draft), sidecar_path(draft), *reversed(file_parts(draft))):
        each.replace(wanted.output.with_name(each.name))
    return replace(made, file=wanted.output)


def verdict(made: ExportResult) -> str:
    """Return the verdict of the certificate as a sentence."""
    if made.precision == "fp32":
        return "The file gives what the network gives."
    poor = made.certificate.poor
    return (
        f"No success: {poor}; kept because it was asked for." if poor else "Dice holds, and the file is faster than in float32."
    )


def format_export_summary(made: ExportResult) -> str:
    """Return the text that is printed after an export."""
    return "\n".join(certificate_lines(made.certificate, verdict(made), made.quantised))


def file_parts(file: Path) -> list[Path]:
    """Return the files that make up an exported model, the main file first."""
    return [file, file.with_suffix(".bin")] if file.suffix == ".xml" else [file]


def size_of(file: Path) -> int:
    """Return the total size in bytes of an exported model."""
    return sum(part.stat().st_size for part in file_parts(file))


def certificate_path(output: Path) -> Path:
    """Return the path of the JSON certificate of an exported file."""
    return output.with_name(f"{output.name}.certificate.json")


def certificate_page_path(output: Path) -> Path:
    """Return the path of the HTML certificate of an exported file."""
    return output.with_name(f"{output.name}.certificate.html")


MOST = 512
"""Largest side (pixels) of the test images, before the enlargement by a quarter."""

Say = Callable[[str], None]


def export_segmenter(
    segmenter: Segmenter, wanted: ExportRequest, material: ExportData, say: Say, track: Callable[[int], Any]
) -> ExportResult:
    """Export a segmenter with sidecar and certificate to its final path.

    Args:
        segmenter: loaded from a checkpoint, on the CPU.
        wanted: parameters of the export.
        material: data to measure with.
        say: receives progress messages.
        track: `track(n)` returns a context manager whose value is called after each of n cases.

    Raises:
        ExportError: the network cannot be written, the outputs differ, or the low-precision file fails its check (the
            float32 file is kept in that case).
    """
    exact = replace(segmenter, precision="32")
    if wanted.returns != "logits":
        exact.max_pixels = None  # the exported file always processes whole images
    wanted.output.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".export-", dir=wanted.output.parent) as folder, ExitStack() as stack:
        work = Path(folder)
        shape = work / f"float{FORMATS[wanted.kind].suffix}"
        say(f"Writing {FORMATS[wanted.kind].title} …")
        write_format(exact, wanted, "fp32", shape)
        first = measure_file(exact, wanted, shape, "fp32", None, material, stack.enter_context(track(_count(material))))
        if first.certificate.wrong:
            raise ExportError(
                f"The {FORMATS[wanted.kind].title} file does not give what the network gives: {first.certificate.wrong}",
                "The same probabilities and classes were expected; nothing is written under the final name",
                "Type another format or opset, and report the network",
            )
        if wanted.precision == "fp32":
            return publish(exact, wanted, first)
        second = lower_precision(exact, wanted, shape, material, say, stack.enter_context(track(_count(material))))
        poor = second.certificate.poor
        if poor and not wanted.accept:
            kept = publish(exact, wanted, first)
            say(format_export_summary(kept))
            raise ExportError(
                f"{wanted.precision} is no success here: {poor}",
                f"{wanted.output} holds the float32 network, which is kept",
                "Type accept=true to keep the file in fewer bits all the same",
            )
        return publish(exact, wanted, second)


def lower_precision(
    segmenter: Segmenter, wanted: ExportRequest, shape: Path, material: ExportData, say: Say, done: Callable[[], None]
) -> ExportResult:
    """Write and measure a low-precision file; `shape` is the float32 file of the same format."""
    file = shape.with_name(f"{wanted.precision}{shape.suffix}")
    found = None
    say(f"Writing {wanted.precision} …")
    if wanted.precision == "int8":
        source, target = shape.with_suffix(".onnx"), file.with_suffix(".onnx")
        found = quantise(source, target, material.calibration, say)
        if wanted.kind == "openvino":
            write_openvino(target, file)
    elif wanted.kind == "openvino":  # computes in bfloat16 from a float32 file
        for source, target in zip(file_parts(shape), file_parts(file), strict=True):
            shutil.copyfile(source, target)
    else:
        write_format(segmenter, wanted, wanted.precision, file)
    return measure_file(segmenter, wanted, file, wanted.precision, shape, material, done, found)


def write_format(segmenter: Segmenter, wanted: ExportRequest, precision: str, path: Path) -> None:
    """Write one file in the given precision."""
    module = exportable_module(segmenter, precision, wanted.returns)
    example = (
        torch.zeros(2, segmenter.spec.channels, 96, 80)
        if wanted.returns == "logits"
        else torch.zeros(2, 96, 80, segmenter.spec.channels, dtype=torch.uint8)
    )
    if wanted.kind == "torch_export":
        write_program(module, example, path)
    elif wanted.kind == "torchscript":
        write_script(module, example, path)
    else:
        onnx_file = path.with_suffix(".onnx")
        write_onnx(module, example, onnx_file, wanted.returns, wanted.opset)
        if wanted.kind == "openvino":
            write_openvino(onnx_file, path)


def measure_file(
    segmenter: Segmenter,
    wanted: ExportRequest,
    file: Path,
    precision: str,
    shape: Path | None,
    material: ExportData,
    done: Callable[[], None],
    quantised: QuantisationResult | None = None,
) -> ExportResult:
    """Measure one file; `shape` is the float32 reference of a low-precision file."""
    fp32 = None if shape is None else open_runner(shape, wanted.kind, "fp32", "cpu", None, True)
    own = open_runner(file, wanted.kind, precision, "cpu", None, True)
    subject = ExportedModel(segmenter, own, wanted.returns, size_of(file), fp32)
    size = trial_size(segmenter, material, wanted.returns)
    found = certify(subject, material.images, size, material.validation, done)
    look = (
        side_by_side(segmenter, own, material.images[0])
        if wanted.returns == "logits" and material.validation is not None
        else ()
    )
    return ExportResult(file, precision, found, quantised, look)


def side_by_side(segmenter: Segmenter, file: Runner, image: Array) -> list[tuple[str, Array]]:
    """Return titles and overlays of an image (H, W, C) as segmented by the network and by the file."""
    draw = layer_mask(segmenter.spec.overlapping, segmenter.spec.background)
    both = {"PyTorch, float32": segmenter.network, "this file": file}
    return [
        (title, draw(image, replace(segmenter, network=network).classes(image), segmenter.spec.palette))
        for title, network in both.items()
    ]


def trial_size(segmenter: Segmenter, material: ExportData, returns: Returns) -> tuple[int, int]:
    """Return the training size (of crops, else of an image), at most `MOST` pixels per side."""
    own = (material.images[0].shape[0], material.images[0].shape[1])
    size = own if returns != "logits" else material.crop or working_size(segmenter.preprocessing.size, own)
    return min(MOST, size[0]), min(MOST, size[1])


def _count(material: ExportData) -> int:
    return 2 * len(material.validation.cases) if material.validation is not None else 0
