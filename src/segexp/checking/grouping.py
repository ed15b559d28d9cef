"""Which cases probably belong together: what a table beside the pictures, or their names, say about it."""

import csv
from collections.abc import Iterable, Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

from segexp.checking.stems import find_stems
from segexp.data.layout.groups import grouped
from segexp.errors import SegexpError
from segexp.types import Case

COLUMNS = ("patient", "subject", "scan", "volume", "series", "study", "slide", "specimen", "donor", "animal", "group", "tile")
"""Words in the heading of a column that names what belongs together, the surer first."""

MOST_BYTES = 2**22
"""Larger tables are not looked into."""


def suggest_groups(cases: Sequence[Case], root: Path) -> tuple[Any, str] | None:
    """Return a value for `data.groups` and why, or None when nothing says that cases belong together.

    Args:
        cases: all cases.
        root: folder of the data, in which tables (CSV) are looked for.
    """
    ids = [case.id for case in cases]
    for file in sorted(root.glob("*.csv")):
        if file.stat().st_size <= MOST_BYTES and (found := _by_table(ids, root, file)):
            return found, f"{file.name} names the {found['column']} of each case; null if each case stands alone"
    stems = find_stems(cases)
    if stems is None or not stems.numbered:
        return None
    return stems.regex, f"names look like parts of a whole: {stems.example}; null if each case stands alone"


def _by_table(ids: Sequence[str], root: Path, file: Path) -> dict[str, str] | None:
    try:
        with file.open(newline="", encoding="utf-8-sig") as text:
            first = text.readline()
            text.seek(0)
            rows = list(csv.DictReader(text, delimiter=max(",;\t", key=first.count)))
    except (OSError, UnicodeDecodeError, csv.Error):
        return None
    names = [name for name in (rows[0] if rows else {}) if name]
    groups = [name for word in COLUMNS for name in names if word in name.lower()]
    keys = [(name,) for name in names] + list(permutations(names[:8], 2))
    for key in keys if groups else []:
        found = {"/".join(str(row.get(name)) for name in key) for row in rows}
        if not found.issuperset(ids):
            continue
        match = "/".join(f"{{{name}}}" for name in key)
        for column in groups:
            choice = {"file": file.name, "match": match, "column": column}
            if column not in key and _works(ids, choice, root):
                return choice
    return None


def _works(ids: Sequence[str], choice: dict[str, str], root: Path) -> bool:
    try:
        return bool(_of_several(grouped(ids, choice, root).values()))
    except SegexpError:
        return False


def _of_several(names: Iterable[str]) -> set[str]:
    """Return the different names if there are at least two of them, each for two cases on average; else nothing."""
    listed = list(names)
    different = set(listed)
    return different if 2 <= len(different) <= len(listed) / 2 else set()
