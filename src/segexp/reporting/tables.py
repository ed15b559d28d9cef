"""Tables: plain ones, and grids that sort and filter in the browser and show their first rows without scripts."""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

INITIAL_ROWS = 50
"""Number of grid rows shown initially."""


@dataclass(frozen=True)
class Table:
    """A table of texts.

    Attributes:
        columns: headings; empty for none.
        rows: cells by row.
        numbers: right-aligned columns (0-based).
        title: above it.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: Collection[int] = ()
    title: str = ""


@dataclass(frozen=True)
class Column:
    """A column of a grid.

    Attributes:
        name: heading.
        digits: decimals; None for a text column.
        note: tooltip of the heading.
    """

    name: str
    digits: int | None = None
    note: str = ""


@dataclass(frozen=True)
class Link:
    """A cell with a link: `#name` on the page, or a relative file; "" for plain text."""

    text: str
    address: str = ""


Cell = str | float | int | Link | None
"""None and NaN are empty cells, which are always sorted to the end."""


@dataclass(frozen=True)
class Filter:
    """A selection that restricts a column to one of its values; "" for all."""

    column: int
    name: str
    values: Sequence[str]
    chosen: str


@dataclass(frozen=True)
class Grid:
    """A table that sorts and filters.

    Attributes:
        columns: of the table.
        first_rows: cells shown without scripts.
        matching: number of rows that pass the initial filters.
        sort: initial sort column and whether ascending.
        filters: above the table.
        limit: numeric column with an upper limit field.
        data: for the script: all rows, rounded as shown.
    """

    columns: Sequence[Column]
    first_rows: Sequence[Sequence[Link]]
    matching: int
    sort: tuple[int, bool]
    filters: Sequence[Filter]
    limit: int | None
    data: Mapping[str, Any]


def grid(
    columns: Sequence[Column],
    rows: Sequence[Sequence[Cell]],
    *,
    sort: tuple[int, bool] = (0, True),
    choices: Mapping[int, str] | None = None,
    limit: int | None = None,
    initial_rows: int = INITIAL_ROWS,
) -> Grid:
    """Return a grid of rows.

    Args:
        columns: of the table.
        rows: cells by row.
        sort: initial sort column and whether ascending.
        choices: filterable columns with their initial value ("" for all).
        limit: numeric column with an upper limit field.
        initial_rows: rows shown initially.

    Raises:
        ValueError: a row has another number of cells than there are columns.
    """
    chosen = dict(choices or {})
    values = [[_json_value(cell, column) for cell, column in zip(row, columns, strict=True)] for row in rows]
    matching = [row for row in values if all(value in ("", _text(row[n])) for n, value in chosen.items())]
    first = _sorted_rows(matching, *sort)[:initial_rows]
    filters = [
        Filter(n, columns[n].name, ["", *dict.fromkeys(text for row in values if (text := _text(row[n])))], value)
        for n, value in chosen.items()
    ]
    data = {
        "columns": [{"digits": column.digits} for column in columns],
        "rows": values,
        "shown": initial_rows,
        "sort": list(sort),
    }
    shown = [[_shown_cell(cell, column) for cell, column in zip(row, columns, strict=True)] for row in first]
    return Grid(columns, shown, len(matching), sort, filters, limit, data)


def _json_value(cell: Cell, column: Column) -> object:
    """Return a cell as a JSON value, rounded as shown."""
    if isinstance(cell, Link):
        return [cell.text, cell.address]
    if isinstance(cell, str) or cell is None:
        return cell
    return round(cell, column.digits or 0) if math.isfinite(cell) else None


def _text(cell: object) -> str:
    return str(cell[0]) if isinstance(cell, list) else "" if cell is None else str(cell)


def _shown_cell(cell: object, column: Column) -> Link:
    if column.digits is not None and isinstance(cell, int | float):
        return Link(f"{cell:.{column.digits}f}")
    return Link(*cell) if isinstance(cell, list) else Link(_text(cell))


def _sorted_rows(rows: list[list[object]], by: int, up: bool) -> list[list[object]]:
    def key(row: list[object]) -> tuple[tuple[int, float, str], ...]:
        cell = row[by]
        if isinstance(cell, int | float):
            return ((0, float(cell), ""),)
        parts = re.split(r"(\d+)", _text(cell).lower())
        return tuple((0, float(part), "") if part.isdecimal() else (1, 0.0, part) for part in parts)

    known = sorted((row for row in rows if row[by] is not None), key=key, reverse=not up)
    return known + [row for row in rows if row[by] is None]
