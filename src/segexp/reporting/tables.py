"""Tables that sort and filter in the browser; a browser without scripts shows their first rows."""

import html
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from segexp.reporting.html import Html, element, inline

SHOWN = 50
"""Rows that are drawn at first; a button draws the others."""


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        name: heading.
        digits: after the point; None is a column of text.
        note: what the heading means, shown when a pointer rests on it.
    """

    name: str
    digits: int | None = None
    note: str = ""


@dataclass(frozen=True)
class Link:
    """A cell that leads to another place: `#name` on the page, or a file beside it."""

    text: str
    address: str


Cell = str | float | int | Link | None
"""None, and NaN, is an empty cell, which is sorted to the end either way."""


def grid(
    columns: Sequence[Column],
    rows: Sequence[Sequence[Cell]],
    *,
    sort: tuple[int, bool] = (0, True),
    choices: Mapping[int, str] | None = None,
    limit: int | None = None,
    shown: int = SHOWN,
) -> Html:
    """Return the table; the page needs `script.SCRIPT` and `script.STYLE`.

    Args:
        columns: what each column holds.
        rows: cells by row.
        sort: by which column at first, and whether upwards.
        choices: columns that can be narrowed to one of their values, with the one chosen at first ("" is all).
        limit: column of numbers for which an upper limit can be typed.
        shown: rows that are drawn at first.
    """
    chosen = dict(choices or {})
    plain = [[_plain(cell, column) for cell, column in zip(row, columns, strict=True)] for row in rows]
    found = [row for row in plain if all(value in ("", _text(row[n])) for n, value in chosen.items())]
    first = _ordered(found, *sort)[:shown]
    body = element("tbody", *(_row(row, columns) for row in first))
    table = element("div", element("table", _head(columns, sort), body), class_="scroll")
    rest = "" if len(first) < len(found) else " hidden"
    more = Html(f'<button type="button" class="more"{rest}>Show all {len(found)}</button>')
    content = {"columns": [{"digits": column.digits} for column in columns], "rows": plain, "shown": shown, "sort": list(sort)}
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    data = Html(f'<script type="application/json">{text}</script>')
    return element("div", _controls(columns, plain, chosen, limit), table, more, data, class_="grid")


def _plain(cell: Cell, column: Column) -> object:
    """Return a cell as JSON has it, with no more digits than are shown."""
    if isinstance(cell, Link):
        return [cell.text, cell.address]
    if isinstance(cell, str) or cell is None:
        return cell
    return round(cell, column.digits or 0) if math.isfinite(cell) else None


def _text(cell: object) -> str:
    return str(cell[0]) if isinstance(cell, list) else "" if cell is None else str(cell)


def _ordered(rows: list[list[object]], by: int, up: bool) -> list[list[object]]:
    def key(row: list[object]) -> tuple[tuple[int, float, str], ...]:
        cell = row[by]
        if isinstance(cell, int | float):
            return ((0, float(cell), ""),)
        parts = re.split(r"(\d+)", _text(cell).lower())
        return tuple((0, float(part), "") if part.isdecimal() else (1, 0.0, part) for part in parts)

    known = sorted((row for row in rows if row[by] is not None), key=key, reverse=not up)
    return known + [row for row in rows if row[by] is None]


def _row(row: Sequence[object], columns: Sequence[Column]) -> Html:
    cells = []
    for cell, column in zip(row, columns, strict=True):
        digits = column.digits
        text = f"{cell:.{digits}f}" if digits is not None and isinstance(cell, int | float) else _text(cell)
        content = element("a", text, href=str(cell[1])) if isinstance(cell, list) else text
        cells.append(element("td", content, class_="" if digits is None else "number"))
    return element("tr", *cells)


def _head(columns: Sequence[Column], sort: tuple[int, bool]) -> Html:
    cells = []
    for n, column in enumerate(columns):
        state = "none" if n != sort[0] else "ascending" if sort[1] else "descending"
        button = element("button", column.name, type="button", title=column.note)
        attributes = {"aria-sort": state, "class": "" if column.digits is None else "number"}
        cells.append(element("th", button, **attributes))
    return element("thead", element("tr", *cells))


def _controls(columns: Sequence[Column], rows: list[list[object]], chosen: dict[int, str], limit: int | None) -> Html:
    """Return the fields above the table; the script shows them."""
    fields = [element("label", "Find", Html('<input type="search" aria-label="Find">'))]
    for n, value in chosen.items():
        values = ["", *dict.fromkeys(text for row in rows if (text := _text(row[n])))]
        options = [_option(text, chosen=text == value) for text in values]
        fields.append(
            element(
                "label", columns[n].name, element("select", *options, **{"data-column": str(n), "aria-label": columns[n].name})
            )
        )
    if limit is not None:
        text = f"{columns[limit].name} up to"
        number = f'<input type="number" step="any" data-column="{limit}" aria-label="{html.escape(text)}">'
        fields.append(element("label", text, Html(number)))
    count = element("span", f"{len(rows)}", class_="count", **{"aria-live": "polite"})
    return Html(f'<div class="controls" hidden>{inline(*fields, count)}</div>')


def _option(text: str, *, chosen: bool) -> Html:
    return Html(f'<option value="{html.escape(text)}"{" selected" * chosen}>{html.escape(text or "all")}</option>')


SCRIPT = r"""
"use strict";
(() => {
const collator = new Intl.Collator("en", {numeric: true, sensitivity: "base"});
const textOf = cell => Array.isArray(cell) ? cell[0] : cell === null ? "" : String(cell);

function shownText(cell, column) {
  return typeof cell === "number" && column.digits !== null ? cell.toFixed(column.digits) : textOf(cell);
}

function compared(a, b, up) {
  if (a === null || b === null) return (a === null) - (b === null);
  const order = typeof a === "number" && typeof b === "number" ? a - b : collator.compare(textOf(a), textOf(b));
  return up ? order : -order;
}

function line(row, columns) {
  const drawn = document.createElement("tr");
  row.forEach((cell, n) => {
    const place = drawn.appendChild(document.createElement("td"));
    if (columns[n].digits !== null) place.className = "number";
    const within = Array.isArray(cell) ? place.appendChild(document.createElement("a")) : place;
    if (Array.isArray(cell)) within.href = cell[1];
    within.textContent = shownText(cell, columns[n]);
  });
  return drawn;
}

function start(grid) {
  const {columns, rows, shown, sort} = JSON.parse(grid.querySelector("script").textContent);
  const body = grid.querySelector("tbody"), more = grid.querySelector(".more"), count = grid.querySelector(".count");
  const heads = [...grid.querySelectorAll("th")], inputs = [...grid.querySelectorAll(".controls input, .controls select")];
  const [find] = inputs;
  let [by, up] = sort, all = false;

  function fits(row) {
    const wanted = find.value.trim().toLowerCase();
    if (wanted && !row.some(cell => textOf(cell).toLowerCase().includes(wanted))) return false;
    return inputs.slice(1).every(input => {
      const cell = row[Number(input.dataset.column)];
      if (input.value === "") return true;
      return input.tagName === "SELECT" ? textOf(cell) === input.value : cell !== null && cell <= Number(input.value);
    });
  }

  function draw() {
    const found = rows.filter(fits).sort((a, b) => compared(a[by], b[by], up));
    const drawn = all ? found : found.slice(0, shown);
    body.replaceChildren(...drawn.map(row => line(row, columns)));
    heads.forEach((head, n) => head.setAttribute("aria-sort", n !== by ? "none" : up ? "ascending" : "descending"));
    count.textContent = `${found.length} of ${rows.length}`;
    more.hidden = drawn.length === found.length;
    more.textContent = `Show all ${found.length}`;
  }

  heads.forEach((head, n) => head.querySelector("button").addEventListener("click", () => {
    [by, up] = [n, n === by ? !up : true];
    draw();
  }));
  inputs.forEach(input => input.addEventListener("input", draw));
  more.addEventListener("click", () => { all = true; draw(); });
  grid.querySelector(".controls").hidden = false;
  draw();
}

document.querySelectorAll(".grid").forEach(start);
})();
"""

STYLE = """
.controls{display:flex;flex-wrap:wrap;gap:.4rem 1rem;align-items:center;font-size:.9rem;margin:.6rem 0}
.controls[hidden]{display:none}
.controls label{display:flex;gap:.4rem;align-items:center;color:var(--soft)}
.controls input,.controls select,.more{font:inherit;color:var(--ink);background:var(--box);border:1px solid var(--line);
border-radius:4px;padding:.25rem .45rem;max-width:12rem}
.controls input[type=number]{width:5.5rem}
.more{cursor:pointer;max-width:none}.count{color:var(--soft)}
.grid th button{all:unset;cursor:pointer;white-space:nowrap}
.grid th button:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
.grid th button:hover{color:var(--ink)}
.grid th button::after{content:"\\2195";opacity:.35;margin-left:.25em}
.grid th[aria-sort=ascending] button::after{content:"\\25B2";opacity:1}
.grid th[aria-sort=descending] button::after{content:"\\25BC";opacity:1}
.grid td:first-child,.grid th:first-child{position:sticky;left:0;background:var(--paper)}
@media (max-width:34rem){.grid td:first-child{min-width:8.5rem;max-width:9.5rem;overflow-wrap:anywhere}}
""".replace("\n", "")
