"""The answers of a run, in its directory: a run that is resumed, or has several processes, asks once."""

import json
from pathlib import Path
from typing import Any

from segexp.config.auto import AUTO
from segexp.whole import whole_file

FILE = "found.json"
KEYS = ("trainer.batch_size", "optimizer.lr")
"""The keys that can be `auto`."""


def fill(config: dict[str, Any], directory: Path) -> None:
    """Replace each `auto` in a config by the answer that the run directory has, if it has one."""
    found = _read(directory)
    for key in KEYS:
        section, _, name = key.partition(".")
        if config[section].get(name) == AUTO and key in found:
            config[section][name] = found[key]


def keep(config: dict[str, Any], directory: Path, key: str, value: float) -> None:
    """Put an answer into the config and into the run directory."""
    section, _, name = key.partition(".")
    config[section][name] = value
    with whole_file(directory / FILE) as part:
        part.write_text(json.dumps(_read(directory) | {key: value}, indent=1) + "\n", encoding="utf-8")


def _read(directory: Path) -> dict[str, Any]:
    path = directory / FILE
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}
