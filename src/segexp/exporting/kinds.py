"""The formats of exported files, and which packages they take; nothing heavy is imported here."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from segexp.errors import ConfigError, SegexpError, nearest

OLDEST, NEWEST, OPSET = 18, 23, 20
"""Opsets of ONNX that the exporter writes, and the one it writes unless told otherwise."""
INPUT = "image"


@dataclass(frozen=True)
class Format:
    """One way to leave the framework.

    Attributes:
        suffix: of the file.
        extra: of segexp, which brings the packages; empty where torch suffices.
        packages: that are imported, to write it and to run it.
        precisions: that a program on the CPU can calculate in.
        title: for people.
    """

    suffix: str
    extra: str
    packages: tuple[str, ...]
    precisions: tuple[str, ...]
    title: str


FORMATS = {
    "onnx": Format(".onnx", "export", ("onnx", "onnxruntime", "onnxscript"), ("fp32", "fp16", "int8"), "ONNX"),
    "torch_export": Format(".pt2", "", (), ("fp32", "bf16", "fp16"), "torch.export"),
    "torchscript": Format(".pt", "", (), ("fp32", "bf16", "fp16"), "TorchScript"),
    "openvino": Format(
        ".xml", "openvino", ("openvino", "onnx", "onnxruntime", "onnxscript"), ("fp32", "bf16", "int8"), "OpenVINO"
    ),
}
SUFFIXES = {each.suffix: name for name, each in FORMATS.items()}


def sidecar_of(model: Path) -> Path:
    """Return where the sidecar of an exported file lies."""
    return model.with_name(f"{model.name}.json")


def is_exported(path: Path) -> bool:
    """Return whether a path has the ending of an exported file; some call their checkpoints .pt, which have no sidecar."""
    return not path.is_dir() and path.suffix in SUFFIXES and (path.suffix != ".pt" or sidecar_of(path).is_file())


def check_format(name: str, precision: str, opset: int, output: Path) -> None:
    """Refuse what cannot be written, before anything heavy is imported.

    Raises:
        ConfigError: an unknown format, a package that is not installed, a number format that nothing runs in, an opset that is
            not written, or the name of a folder, or one with the ending of another format.
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
            f"Type output={output / f'NAME{known.suffix}'}",
        )
    if output.suffix != known.suffix:
        raise ConfigError(
            f"output={output} does not end as a file of format={name} does",
            f"{known.title} files end in {known.suffix}",
            f"Type output={output.with_suffix(known.suffix) if output.suffix in SUFFIXES else f'{output}{known.suffix}'}",
        )


WHY = {
    ("onnx", "bf16"): "ONNX Runtime has no convolution in bfloat16 on the CPU",
    ("openvino", "fp16"): "OpenVINO calculates in float32 or bfloat16 on the CPU",
    ("torch_export", "int8"): "torch quantises no segmentation network that could be run elsewhere",
    ("torchscript", "int8"): "torch quantises no segmentation network that could be run elsewhere",
}


def check_packages(name: str) -> None:
    """Refuse a format whose packages are not installed.

    Raises:
        ConfigError: naming them and the extra.
    """
    known = FORMATS[name]
    missing = [package for package in known.packages if find_spec(package) is None]
    if missing:
        raise ConfigError(
            f"format={name} needs {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed",
            f"They come with the extra {known.extra}",
            f"Type pip install 'segexp[{known.extra}]'",
        )


class ExportError(SegexpError):
    """A network cannot leave the framework in this format, or not unchanged."""
