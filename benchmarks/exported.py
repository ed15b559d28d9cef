"""Exports of finished runs with their certificates, for the other benchmarks; what is there already is not made again."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from segexp.checkpoint import load_segmenter
from segexp.deployment.exporter import certificate_path, export_segmenter
from segexp.deployment.formats import FORMATS
from segexp.deployment.plan import ExportRequest, collect_export_data
from segexp.errors import SegexpError
from segexp.inference.folder_runner import progress

CALIBRATION = 32


def certificate(
    run: Path, output: Path, kind: str, precision: str = "fp32", prune_to: int | None = None, say: Callable[[str], None] = print
) -> dict[str, Any]:
    """Return the certificate of an export, {"failed": reason} where it cannot be made.

    Args:
        run: a finished run whose data are where they were.
        output: the file, without its ending.
        kind: a key of `segexp.deployment.formats.FORMATS`.
        precision: "fp32", "bf16", "fp16" or "int8"; kept also where it is no success.
        prune_to: level of a UNet++.
        say: takes a sentence.
    """
    file = output.with_name(f"{output.name}{FORMATS[kind].suffix}")
    record = certificate_path(file)
    if not record.is_file():
        try:
            segmenter = load_segmenter(run, prune_to=prune_to)
            material, missing = collect_export_data(
                segmenter, segmenter.origin.config, CALIBRATION if precision == "int8" else 0
            )
            if missing:
                raise SystemExit(missing)
            export_segmenter(
                segmenter, ExportRequest(kind, precision, "logits", 20, file, accept=True), material, say, progress
            )
        except SegexpError as problem:
            return {"failed": str(problem)}
    found: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
    return found
