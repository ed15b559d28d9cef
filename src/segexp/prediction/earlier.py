"""A table in an output folder that the same command goes on with: written whole, and read as far as it can be."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from segexp.prediction.places import unwritable
from segexp.whole import whole_file

Row = dict[str, str]


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, str]]) -> Path:
    """Write rows as CSV, whole or not at all; what a row lacks is empty, and what has no column is left out.

    Raises:
        DataError: the file cannot be written.
    """
    try:
        with whole_file(path) as part, part.open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, columns, restval="", extrasaction="ignore", lineterminator="\n")
            table.writeheader()
            table.writerows(rows)
    except OSError as error:
        raise unwritable(path, error) from error
    return path


def read_rows(path: Path) -> list[Row]:
    """Return the rows of an earlier table; none where there is no file, or a broken one."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [{str(key): str(value or "") for key, value in row.items()} for row in csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, csv.Error):
        return []
