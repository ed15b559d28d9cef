"""An export under its final name, with its sidecar and its certificate."""

from dataclasses import replace
from pathlib import Path

from segexp.exporting.certificate import record, write_record
from segexp.exporting.kinds import sidecar_of
from segexp.exporting.plan import Made, Wanted
from segexp.exporting.sidecar import content, digest, write_sidecar
from segexp.exporting.words import lines
from segexp.report.certificate import certificate_page
from segexp.report.page import write_page
from segexp.segmenter import Segmenter


def put(segmenter: Segmenter, wanted: Wanted, made: Made) -> Made:
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


def verdict(made: Made) -> str:
    """Return in a sentence what the certificate says."""
    if made.precision == "fp32":
        return "The file gives what the network gives."
    poor = made.certificate.poor
    return (
        f"No success: {poor}; kept because it was asked for." if poor else "Dice holds, and the file is faster than in float32."
    )


def told(made: Made) -> str:
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
