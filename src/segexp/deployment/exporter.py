"""An export from start to end: written beside its final name, measured, and moved there when it is right."""

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from segexp.checkpoint.files import sidecar_of
from segexp.data.preprocessing import working_size
from segexp.deployment.certificate import Held, Subject, certify, lines, record, write_record
from segexp.deployment.formats import FORMATS, ExportError, write_onnx, write_openvino, write_program, write_script
from segexp.deployment.metadata import content, digest, write_sidecar
from segexp.deployment.modules import Returns, deployed
from segexp.deployment.plan import ExportData, ExportRequest, ExportResult
from segexp.deployment.quantization import Quantised, quantise
from segexp.deployment.runtime import Runner, runner
from segexp.inference.segmenter import Segmenter
from segexp.reporting.export_report import certificate_page
from segexp.reporting.rendering import write_page
from segexp.visualization.masks import layered, overlay


def publish(segmenter: Segmenter, wanted: ExportRequest, made: ExportResult) -> ExportResult:
    """Move a file to its final name, its sidecar and certificate before it; return it there."""
    opset = wanted.opset if wanted.kind in ("onnx", "openvino") else None
    values = content(segmenter, wanted.kind, made.precision, wanted.returns, opset)
    draft = made.file.with_name(wanted.output.name)
    for source, target in zip(parts(made.file), parts(draft), strict=True):
        source.replace(target)
    write_sidecar(draft, values)
    facts = {key: values[key] for key in ("segexp", "format", "precision", "returns", "opset", "checkpoint")}
    facts |= {"file": wanted.output.name, "sha256": digest(draft)}
    facts |= {"int8": made.quantised.as_dict()} if made.quantised else {}
    found = record(facts, made.certificate, verdict(made))
    write_record(certificate_of(draft), found)
    write_page(page_of(draft), certificate_page(found, made.precision == "fp32" or not made.certificate.poor, made.look))
    for each in (certificate_of(draft), page_of(draft), sidecar_of(draft), *reversed(parts(draft))):
        each.replace(wanted.output.with_name(each.name))
    return replace(made, file=wanted.output)


def verdict(made: ExportResult) -> str:
    """Return in a sentence what the certificate says."""
    if made.precision == "fp32":
        return "The file gives what the network gives."
    poor = made.certificate.poor
    return (
        f"No success: {poor}; kept because it was asked for." if poor else "Dice holds, and the file is faster than in float32."
    )


def format_export_summary(made: ExportResult) -> str:
    """Return what is printed of a finished export."""
    return "\n".join(lines(made.certificate, verdict(made), made.quantised))


def parts(file: Path) -> list[Path]:
    """Return the files that an exported one is made of, itself first."""
    return [file, file.with_suffix(".bin")] if file.suffix == ".xml" else [file]


def size_of(file: Path) -> int:
    """Return the bytes of an exported file with all its parts."""
    return sum(part.stat().st_size for part in parts(file))


def certificate_of(output: Path) -> Path:
    """Return where the certificate of an exported file lies."""
    return output.with_name(f"{output.name}.certificate.json")


def page_of(output: Path) -> Path:
    """Return where the certificate for people lies."""
    return output.with_name(f"{output.name}.certificate.html")


MOST = 512
"""Pixels of a side at which an export is tried at most, before it is made a quarter larger."""

Array = np.ndarray[Any, np.dtype[Any]]
Say = Callable[[str], None]


def make(
    segmenter: Segmenter, wanted: ExportRequest, material: ExportData, say: Say, track: Callable[[int], Any]
) -> ExportResult:
    """Export a segmenter; what is returned lies under its final name, with sidecar and certificate.

    Args:
        segmenter: of a checkpoint, on the CPU.
        wanted: what is asked for.
        material: pictures to measure with.
        say: takes a sentence.
        track: gives a context with what is called after each of so many cases.

    Raises:
        ExportError: the network cannot be written, the file gives something else, or what is in fewer bits is no success, in
            which case the float32 file is there.
    """
    exact = replace(segmenter, precision="32")
    if wanted.returns != "logits":
        exact.max_pixels = None  # the file has no windows: it sees a picture as a whole
    wanted.output.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".export-", dir=wanted.output.parent) as folder, ExitStack() as stack:
        work = Path(folder)
        shape = work / f"float{FORMATS[wanted.kind].suffix}"
        say(f"Writing {FORMATS[wanted.kind].title} …")
        write(exact, wanted, "fp32", shape)
        first = measured(exact, wanted, shape, "fp32", None, material, stack.enter_context(track(_count(material))))
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
    """Write and measure a file in fewer bits; `shape` is the float32 file of the same format."""
    file = shape.with_name(f"{wanted.precision}{shape.suffix}")
    found = None
    say(f"Writing {wanted.precision} …")
    if wanted.precision == "int8":
        source, target = shape.with_suffix(".onnx"), file.with_suffix(".onnx")
        found = quantise(source, target, material.calibration, say)
        if wanted.kind == "openvino":
            write_openvino(target, file)
    elif wanted.kind == "openvino":  # which calculates in bfloat16 from a float32 file
        for source, target in zip(parts(shape), parts(file), strict=True):
            shutil.copyfile(source, target)
    else:
        write(segmenter, wanted, wanted.precision, file)
    return measured(segmenter, wanted, file, wanted.precision, shape, material, done, found)


def write(segmenter: Segmenter, wanted: ExportRequest, precision: str, path: Path) -> None:
    """Write one file in one number format."""
    module = deployed(segmenter, precision, wanted.returns)
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


def measured(
    segmenter: Segmenter,
    wanted: ExportRequest,
    file: Path,
    precision: str,
    shape: Path | None,
    material: ExportData,
    done: Callable[[], None],
    quantised: Quantised | None = None,
) -> ExportResult:
    """Measure one file; `shape` is the float32 file that one in fewer bits is compared with."""
    fp32 = None if shape is None else runner(shape, wanted.kind, "fp32")
    own = runner(file, wanted.kind, precision)
    subject = Subject(segmenter, own, wanted.returns, size_of(file), fp32)
    size = trying_size(segmenter, material, wanted.returns)
    found = certify(subject, material.images, size, held(material), done)
    look = side_by_side(segmenter, own, material.images[0]) if wanted.returns == "logits" and material.cases is not None else ()
    return ExportResult(file, precision, found, quantised, look)


def held(material: ExportData) -> Held | None:
    """Return the validation cases, None where there are none."""
    return None if material.cases is None else Held(material.cases, material.groups, material.picture)


def side_by_side(segmenter: Segmenter, file: Runner, image: Array) -> list[tuple[str, Array]]:
    """Return titles and overlays of a picture (H, W, C): what the network makes of it, and the file."""
    draw = layered if segmenter.spec.overlapping else overlay
    both = {"PyTorch, float32": segmenter.network, "this file": file}
    return [
        (title, draw(image, replace(segmenter, network=network).classes(image), segmenter.spec.palette))
        for title, network in both.items()
    ]


def trying_size(segmenter: Segmenter, material: ExportData, returns: Returns) -> tuple[int, int]:
    """Return the size that the network was trained at: of the crops, or of a picture, at most `MOST` pixels a side."""
    own = (material.images[0].shape[0], material.images[0].shape[1])
    size = own if returns != "logits" else material.crop or working_size(segmenter.preprocessing.size, own)
    return min(MOST, size[0]), min(MOST, size[1])


def _count(material: ExportData) -> int:
    return 2 * len(material.cases) if material.cases is not None else 0
