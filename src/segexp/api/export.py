"""Export a trained network to a file that runs elsewhere."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segexp.api.calls import plain_values, short_traceback
from segexp.config.schema import ExportConfig
from segexp.config.validation import report, validate_section

if TYPE_CHECKING:
    from segexp.deployment.plan import ExportResult


@short_traceback
def export(checkpoint: "str | os.PathLike[str]", output: "str | os.PathLike[str]", **keys: Any) -> "ExportResult":
    """Export a trained network with a certificate, as `segexp export` does.

    Args:
        checkpoint: a run or a checkpoint.
        output: NAME.onnx, NAME.pt2, NAME.pt or NAME.xml.
        keys: the other keys of the command: `format="torch_export"`, `precision="int8"`, `include_preprocessing=True`, …

    Returns:
        The file and its certificate.

    Raises:
        ConfigError: a wrong key, format or package.
        CheckpointError: the checkpoint is missing, broken or untrusted.
        DataError: the data differ from those of the run, or are missing where needed.
        ExportError: the network cannot be exported, or the export differs too much.

    Example:
        >>> segexp.export(run, "liver.onnx")
    """
    config = validate_section(ExportConfig, plain_values({"checkpoint": checkpoint, "output": output, **keys}))
    report(_problems(config))
    return export_network(config)


def _problems(config: ExportConfig) -> list[str]:
    """Return messages for contradictory keys."""
    found = []
    if config.returns == "classes" and not config.include_preprocessing:
        found.append(
            "returns=classes is for include_preprocessing=true: without it a file returns class scores, which predict needs. "
            "Type include_preprocessing=true, or leave returns out."
        )
    if config.include_preprocessing and config.precision == "int8":
        found.append(
            "precision=int8 with include_preprocessing=true: the bytes of a picture would be calibrated as layers are. "
            "Type include_preprocessing=false."
        )
    return found


def export_network(config: ExportConfig) -> "ExportResult":
    """Export the network of a configuration; print certificate and files.

    Raises:
        SegexpError: see `export`.
    """
    from segexp.deployment.formats import check_format

    output = Path(config.output)
    check_format(config.format, config.precision, config.opset, output)
    from segexp.api.loading import load_members
    from segexp.checkpoint import find_checkpoint
    from segexp.checkpoint.splits import check_spec, merge_data_config
    from segexp.console import silence_libraries
    from segexp.deployment.exporter import export_segmenter, format_export_summary
    from segexp.deployment.modules import check_8bit, describe_excluded_steps
    from segexp.deployment.plan import ExportRequest, check_export_data, collect_export_data
    from segexp.inference.folder_runner import progress
    from segexp.inference.outputs import check_writable

    silence_libraries()

    def say(text: str) -> None:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    [segmenter] = load_members([find_checkpoint(Path(config.checkpoint))], "cpu", config.trust, config.model.prune_to)
    run = segmenter.origin.config
    run = run.changed(data=merge_data_config(run.data, config.data))
    check_spec(run.data, segmenter.spec)
    say(f"Network: {segmenter.origin.file} ({', '.join(segmenter.spec.classes)}), to {output}")
    if config.include_preprocessing:
        check_8bit(segmenter.preprocessing)
        if outside := describe_excluded_steps(segmenter.postprocessing):
            say(outside)
    check_writable(output.parent)
    material, missing = collect_export_data(segmenter, run, config.calibration if config.precision == "int8" else 0)
    if missing:
        say(missing)
    check_export_data(material, config.precision)
    returns: Any = config.returns if config.include_preprocessing else "logits"
    wanted = ExportRequest(config.format, config.precision, returns, config.opset, output, config.accept)
    made = export_segmenter(segmenter, wanted, material, say, progress)
    say(format_export_summary(made))
    say(f"File: {output}, with {output.name}.json, and the certificate in {output.name}.certificate.html")
    return made
