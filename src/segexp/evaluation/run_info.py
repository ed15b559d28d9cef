"""Settings, classes, training images and versions of a run, from `run.json` or its checkpoint."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segexp.atomic import write_json
from segexp.config.saved_runs import as_plain, read_saved_config
from segexp.errors import SegexpError
from segexp.evaluation.records import BACKGROUND, Record
from segexp.visualization import Colour

FILE = "run.json"


@dataclass(frozen=True)
class RunInfo:
    """Metadata of a run; unknown entries are empty.

    Attributes:
        config: with resolved references and values detected from the data.
        classes: names; the background, if any, is the first one.
        background: whether there is one.
        palette: a colour per class.
        fingerprint: of the training images, see `types.Fingerprint`.
        versions: of the packages, by name.
        more: further entries: device, started …
    """

    config: dict[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    palette: tuple[Colour, ...] = ()
    fingerprint: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)
    background: bool = True


def write_run_info(directory: Path, content: Mapping[str, Any]) -> None:
    """Write `run.json`: the result of `checkpoint.describe` and further plain values such as `device` and `started`."""
    write_json(directory / FILE, content)


def read_run_info(record: Record) -> RunInfo:
    """Return the metadata of a run; for an evaluation, that of the run that was scored."""
    directory = training_directory(record)
    content = _json(directory / FILE) or _checkpoint(directory)
    spec, config = as_plain(content.get("spec")), as_plain(content.get("config")) or read_saved_config(directory)
    used = ("config", "spec", "fingerprint", "versions", "preprocessing", "schema")
    return RunInfo(
        config,
        tuple(map(str, spec.get("classes") or record.classes)),
        tuple((int(red), int(green), int(blue)) for red, green, blue in spec.get("palette") or ()),
        as_plain(content.get("fingerprint")),
        {name: str(text) for name, text in as_plain(content.get("versions")).items()},
        {key: value for key, value in content.items() if key not in used},
        bool(record.facts.get(BACKGROUND, True)),
    )


def training_directory(record: Record) -> Path:
    """Return the directory of the training run, also for an evaluation."""
    checkpoint = record.facts.get("checkpoint")
    return Path(str(checkpoint)).parent.parent if checkpoint else record.directory


def _json(path: Path) -> dict[str, Any]:
    try:
        return as_plain(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def _checkpoint(directory: Path) -> dict[str, Any]:
    from segexp.checkpoint import find_checkpoint, read_checkpoint

    try:
        return as_plain(read_checkpoint(find_checkpoint(directory))["segexp"])
    except SegexpError:
        return {}
