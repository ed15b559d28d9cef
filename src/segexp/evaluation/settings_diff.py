"""Settings that differ between runs, and short run names made of them."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from segexp.config.schema import FIRST
from segexp.evaluation.records import Record

NEUTRAL = (
    "resume",
    "trust",
    "study",
    "run_dir",
    "tags",
    "logger",
    "callbacks",
    "data.root",
    "data.cache",
    "trainer.gpus",
    "data.num_workers",
    "hydra",
)
"""Settings (with all keys below) that do not affect the scores."""

EMPTY: tuple[Any, ...] = (None, {}, [])
"""Values that count as absent, as in runs of versions that did not have their keys."""
ABSENT = "none"
"""Placeholder for a setting that a run does not have."""

_BACKGROUND = "data.background"
_DEFAULTS = {_BACKGROUND: FIRST, "data.exif": "apply"}
"""What runs of versions without these keys did."""

_LONGEST = 4
"""Maximum number of settings in a run name."""


def varying_settings(records: Sequence[Record], without: Iterable[str] = ()) -> dict[str, list[Any]]:
    """Return the settings that differ among N runs, with their N values by key (ABSENT if missing).

    If the runs chose different options of a group (`model`), the group stands for all keys that follow from the choice.
    Neutral settings and the keys in `without` are ignored.
    """
    left_out = (*NEUTRAL, *without)
    flats = [_used(record) for record in records]
    keys = [key for key in dict.fromkeys(key for each in flats for key in each) if not _under(key, left_out)]
    differing = {
        key: values for key in keys if _differ(values := [each.get(key, _DEFAULTS.get(key, ABSENT)) for each in flats])
    }
    found: dict[str, list[Any]] = {}
    for key, values in differing.items():
        section = key.partition(".")[0]
        for groups in ((section,), ("experiment",), ("experiment", section)):
            if _follows(values, list(zip(*(_options(records, group) for group in groups), strict=True))):
                found |= {group: _options(records, group) for group in groups}
                break
        else:
            found[key] = values
    return found


def settings_key(record: Record, without: Iterable[str] = ()) -> str:
    """Return a key that is equal for runs whose settings differ only in NEUTRAL ones and in `without`.

    Null and empty settings count as absent, as in runs of older versions.
    """
    left_out = (*NEUTRAL, *without)
    kept = {key: value for key, value in _used(record).items() if value not in EMPTY and not _under(key, left_out)}
    return json.dumps(kept, sort_keys=True, default=str)


def _used(record: Record) -> dict[str, Any]:
    """Return the settings of a run by dotted key, without the pseudo-label settings if pseudo-labels are off.

    The null of `data.background` is text, for it differs from the absence of the key, which is its default.
    """
    settings = flatten(record.config)
    if settings.get(_BACKGROUND, "") is None:
        settings[_BACKGROUND] = "null"
    settings = {key: value for key, value in settings.items() if key not in _DEFAULTS or value != _DEFAULTS[key]}
    off = settings.get("data.unlabeled") is None
    return {key: value for key, value in settings.items() if not (off and _under(key, ("data.pseudo",)))}


def flatten(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by dotted key; lists are values."""
    found: dict[str, Any] = {}
    for key, value in node.items():
        name = f"{prefix}{key}"
        found |= flatten(value, f"{name}.") if isinstance(value, dict) and value else {name: value}
    return found


def row_names(rows: Sequence[Sequence[Record]], without: Iterable[str] = ()) -> list[str]:
    """Return a short distinct name for each row.

    User-chosen folder names if possible; else the settings that differ, as in "unetpp lr=0.001"; else the differing part of
    the path.

    Args:
        rows: the runs of each row of a table.
        without: settings that differ within rows.
    """
    firsts = [row[0] for row in rows]
    folders = [record.directory.resolve().name for record in firsts]
    if all(len(row) == 1 for row in rows) and all(map(_named, firsts)) and _distinct(folders):
        return folders
    if len(rows) == 1:
        return [firsts[0].choices.get("model") or folders[0]]
    found = _of_settings(firsts, without) or _of_settings(firsts, ())
    return found or distinct_suffixes([_folder(row).resolve() for row in rows])


def _folder(row: Sequence[Record]) -> Path:
    """Return the folder of a run, or the study folder of several runs."""
    studies = {record.study for record in row}
    study = studies.pop() if len(row) > 1 and len(studies) == 1 else None
    return study or row[0].directory


def _of_settings(records: Sequence[Record], without: Iterable[str]) -> list[str]:
    """Return names made of the differing settings; empty if there are too many, or too few to distinguish the runs."""
    differing = varying_settings(records, without)
    if not 0 < len(differing) <= _LONGEST:
        return []
    short = _short(differing)
    found = [" ".join(_part(short[key], values[n]) for key, values in differing.items()) for n in range(len(records))]
    return found if _distinct(found) else []


def distinct_suffixes(paths: Sequence[Path]) -> list[str]:
    """Return the shortest path suffixes that are distinct."""
    longest = max(len(path.parts) for path in paths)
    for count in range(1, longest + 1):
        found = ["/".join(path.parts[-count:]) for path in paths]
        if _distinct(found):
            return found
    return [str(path) for path in paths]


def _named(record: Record) -> bool:
    """Return whether the folder was named by the user, not by a timestamp or a study."""
    return record.study is None and not re.match(r"\d{4}-\d\d-\d\d_", record.directory.resolve().name)


def _part(key: str, value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return f"{key}={text}" if key else text


def _short(keys: Iterable[str]) -> dict[str, str]:
    """Return short key names: empty for a group, the last part of a key if unique."""
    lasts = [key.rpartition(".")[2] for key in keys]
    return {
        key: "" if "." not in key and key != "seed" else last if lasts.count(last) == 1 else key
        for key, last in zip(keys, lasts, strict=True)
    }


def _options(records: Sequence[Record], group: str) -> list[Any]:
    return [record.choices.get(group, ABSENT) for record in records]


def _follows(values: Sequence[Any], choices: Sequence[Any]) -> bool:
    """Return whether the values are a function of the choices."""
    seen: dict[Any, Any] = {}
    return all(seen.setdefault(choice, value) == value for choice, value in zip(choices, values, strict=True))


def _differ(values: Sequence[Any]) -> bool:
    """Return whether values differ; null and empty count as absent."""
    known = [ABSENT if value in EMPTY else value for value in values]
    return any(value != known[0] for value in known)


def _distinct(texts: Sequence[str]) -> bool:
    return len(set(texts)) == len(texts)


def _under(key: str, roots: Iterable[str]) -> bool:
    return any(key == root or key.startswith(f"{root}.") for root in roots)
