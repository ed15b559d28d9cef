"""python -m segexp.export: a trained network as a file that runs elsewhere, with proof that it is the same network."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segexp import __version__
from segexp.cli import hydra_app
from segexp.config import plain, report
from segexp.config.schema import ExportConfig, TrainedConfig, check_fields
from segexp.errors import ConfigError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from segexp.deployment.plan import Made

HELP = """
Export a trained network as a file that runs elsewhere, with proof that it is the same network.

  python -m segexp.export checkpoint=RUN_OR_FILE output=FILE [key=value ...]

Examples
  python -m segexp.export checkpoint=runs/liver/unet/DATE_TIME output=liver.onnx
  python -m segexp.export checkpoint=RUN format=torch_export output=liver.pt2
  python -m segexp.export checkpoint=RUN output=liver.onnx include_preprocessing=true    bytes in, probabilities out
  python -m segexp.export checkpoint=RUN output=liver_int8.onnx precision=int8           calibrated on training images
  python -m segexp.predict model=liver.onnx input=DIR output=DIR                         runs it, without the checkpoint

What is written
  FILE                        of .xml the weights too, NAME.bin
  FILE.json                   classes, palette, preprocessing, threshold: what one must know to use it
  FILE.certificate.json       differences to the network at three sizes, Dice before and after, latency, size
  FILE.certificate.html       the same for people

Main keys
  format=onnx                 onnx, torch_export (.pt2), torchscript (.pt) or openvino (.xml)
  include_preprocessing=true  images (batch, height, width, channels) uint8 in; resizing and normalisation inside
  returns=probabilities       or classes, with include_preprocessing
  precision=fp32              int8, bf16 or fp16: kept if Dice falls by at most 0.01 and it is faster than fp32 here
  accept=true                 keep it also where it is not
  calibration=32              training images that int8 is calibrated with
  opset=20                    of ONNX
  data.root=DIR               where the run's images are now
  model.prune_to=2            a unetpp with deep supervision up to this level alone
  trust=[package]             build networks of a package of yours

A float32 file whose probabilities differ by more than 1e-4, or that changes the class of more than one pixel in 100,000, is
not written, and the exit code is 1. Where fewer bits are no success FILE is the float32 network, and the exit code is 1 too.
"""


def task(config: "DictConfig") -> None:
    """What Hydra calls with the composed configuration."""
    try:
        values = plain(config)
        network = values["model"] if isinstance(values["model"], dict) else {}
        report([*check_fields("", values, ExportConfig), *check_fields("model", network, TrainedConfig), *problems(values)])
        export(values)
    except Exception as error:
        raise hydra_app.Stopped(error) from error


def problems(config: dict[str, Any]) -> list[str]:
    """Return what does not go together, in sentences."""
    found = []
    if config["returns"] == "classes" and not config["include_preprocessing"]:
        found.append(
            "returns=classes is for include_preprocessing=true: without it a file returns class scores, which predict needs. "
            "Type include_preprocessing=true, or leave returns out."
        )
    if config["include_preprocessing"] and config["precision"] == "int8":
        found.append(
            "precision=int8 with include_preprocessing=true: the bytes of a picture would be calibrated as layers are. "
            "Type include_preprocessing=false."
        )
    return found


def export(config: dict[str, Any]) -> "Made":
    """Export as `conf/export.yaml` says; print the certificate and where everything is.

    Raises:
        ConfigError: a wrong key, format or package.
        CheckpointError: the checkpoint is missing, broken or foreign.
        DataError: the data are no longer those of the run, or are missing where they are needed.
        ExportError: the network cannot be written, not unchanged, or not with success in fewer bits.
    """
    from segexp.deployment.formats import check_format

    output = Path(config["output"])
    check_format(config["format"], config["precision"], config["opset"], output)
    from segexp.api.loading import load_members
    from segexp.checkpoint import find_checkpoint
    from segexp.checkpoint.splits import check_spec, merged
    from segexp.console import quieten
    from segexp.deployment.exporter import make, told
    from segexp.deployment.modules import check_bytes, left_out
    from segexp.deployment.plan import Wanted, check_material
    from segexp.deployment.samples import gather
    from segexp.inference.folder import progress
    from segexp.inference.outputs import check_writable

    quieten()

    def say(text: str) -> None:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    [segmenter] = load_members([find_checkpoint(Path(config["checkpoint"]))], "cpu", config["trust"], **config["model"])
    run: dict[str, Any] = segmenter.facts["config"]  # type: ignore[assignment]
    run = run | {"data": merged(run["data"], config["data"])}
    check_spec(run["data"], segmenter.spec)
    say(f"Network: {segmenter.facts['file']} ({', '.join(segmenter.spec.classes)}), to {output}")
    if config["include_preprocessing"]:
        check_bytes(segmenter.preprocessing)
        if outside := left_out(segmenter.postprocessing):
            say(outside)
    check_writable(output.parent)
    material, missing = gather(segmenter, run, config["calibration"] if config["precision"] == "int8" else 0)
    if missing:
        say(missing)
    check_material(material, config["precision"])
    returns: Any = config["returns"] if config["include_preprocessing"] else "logits"
    wanted = Wanted(config["format"], config["precision"], returns, config["opset"], output, config["accept"])
    made = make(segmenter, wanted, material, say, progress)
    say(told(made))
    say(f"File: {output}, with {output.name}.json, and the certificate in {output.name}.certificate.html")
    return made


def command(argv: Sequence[str]) -> int:
    """Understand the command line and run it; return the exit code."""
    if {"--help", "-h"} & set(argv):
        sys.stdout.write(f"{HELP.strip()}\n\nsegexp {__version__}\n")
        return 0
    from segexp.cli.overrides import parse

    line = parse([f"+{word}" if word.startswith("data.") else word for word in argv])
    if line.multirun:
        raise ConfigError("-m is on the command line", "One checkpoint is exported at a time", "Leave -m out")
    hydra_app.run_hydra(task, line, "export")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the console script leaves with what this returns."""
    return hydra_app.rim(lambda: command(sys.argv[1:] if argv is None else argv))


if __name__ == "__main__":
    sys.exit(main())
