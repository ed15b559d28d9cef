"""Groups of cases (slices of one scan, images of one patient) that must not be split apart."""

import csv
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from segexp.errors import ConfigError, DataError, listed, nearest

_KEYS = ("file", "match", "column", "regex")


def assign_groups(ids: Iterable[str], groups: Mapping[str, Any] | str, root: Path) -> dict[str, str]:
    r"""Return the group of each case.

    Args:
        ids: ids of the cases.
        groups: a regular expression on the id whose first capture group (or whole match) is the group, as text or as `{regex:
            '^(patient\d+)_'}`; or a table with a row per case, `{file: mapping.csv, match: "{split}/{name}", column: scan}`,
            where `match` builds the id from the columns of a row.
        root: folder that `file` is relative to.

    Raises:
        ConfigError: `groups` is malformed or names a missing column.
        DataError: a case has no group, or two.
    """
    if isinstance(groups, str):
        groups = {"regex": groups}
    unknown = [key for key in groups if key not in _KEYS]
    if unknown:
        raise ConfigError(f"data.groups has the unknown key {unknown[0]!r}", do=nearest(str(unknown[0]), _KEYS))
    if set(groups) == {"regex"}:
        return _by_regex(ids, str(groups["regex"]))
    if set(groups) == {"file", "match", "column"}:
        return _by_table(ids, root / str(groups["file"]), str(groups["match"]), str(groups["column"]))
    raise ConfigError(
        f"data.groups has the keys {', '.join(map(str, groups)) or '(none)'}",
        "It takes either regex, or file with match and column",
        "Type for example 'data.groups={file: mapping.csv, match: \"{split}/{name}\", column: scan}'",
    )


def _by_regex(ids: Iterable[str], text: str) -> dict[str, str]:
    try:
        regex = re.compile(text)
    except re.error as error:
        raise ConfigError(f"data.groups={text} is no regular expression ({error})", do="Correct data.groups") from None
    found = {id_: regex.search(id_) for id_ in ids}
    missing = [id_ for id_, match in found.items() if match is None]
    if missing:
        raise DataError(
            f"{len(missing)} cases have no group: {listed(missing)}",
            f"The regular expression data.groups={text} must fit every id",
            "Correct data.groups, or type data.groups=null where every case stands alone",
        )
    return {id_: (match[1] if regex.groups else match[0]) or "" for id_, match in found.items() if match}


def _by_table(ids: Iterable[str], path: Path, match: str, column: str) -> dict[str, str]:
    rows = _rows(path, {column, *re.findall(r"\{([^{}]*)\}", match)})
    of: dict[str, str] = {}
    for row in rows:
        id_ = re.sub(r"\{([^{}]*)\}", lambda found, row=row: row[found[1]], match)  # type: ignore[misc]
        if of.setdefault(id_, row[column]) != row[column]:
            raise DataError(
                f"{path} puts {id_} into the groups {of[id_]} and {row[column]}",
                "A case belongs to one group",
                "Remove one of the rows",
            )
    ids = list(ids)
    missing = [id_ for id_ in ids if not of.get(id_)]
    if missing:
        raise DataError(
            f"{path} has no {column} for {len(missing)} of {len(ids)} cases: {listed(missing)}",
            f"A row is found by {match}, which gives for example {next(iter(of), '(no rows)')}",
            "Add the rows, or correct data.groups.match",
        )
    return {id_: of[id_] for id_ in ids}


def _rows(path: Path, columns: set[str]) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            first = file.readline()
            file.seek(0)
            reader = csv.DictReader(file, delimiter=max(",;\t", key=first.count), restval="")
            rows, names = list(reader), list(reader.fieldnames or ())
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"The table of groups {path} cannot be read ({getattr(error, 'strerror', None) or error})",
            "data.groups.file is a CSV file relative to data.root",
            "Correct data.groups.file, or type data.groups=null",
        ) from None
    for name in sorted(columns - set(names)):
        raise ConfigError(f"{path} has no column {name!r}", f"It has the columns {', '.join(names)}", nearest(name, names))
    return rows
