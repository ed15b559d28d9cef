"""The cases of a run: a table that sorts and filters, and how their scores are spread."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from segexp.report import charts
from segexp.report.grid import Cell, Column, Link, grid
from segexp.report.page import Html, element, paragraph, section
from segexp.report.scored import COUNTS, SplitScores, digits, meaning, named

EVERY = "mean"
"""Stands where a row is of all classes of a case."""


def cases_section(parts: Sequence[SplitScores], places: Mapping[tuple[str, str], str]) -> Html:
    """Return one row per case and foreground class, and one for their mean; the worst Dice first.

    Args:
        parts: one per split.
        places: `#name` of the pictures of a case, by split and id.
    """
    several = any(len(part.classes) > 1 for part in parts)
    grouped = any(group is not None for part in parts for group in part.groups)
    measures = tuple(dict.fromkeys(name for part in parts for name in part.measures))
    names = ["case", *(["split"] * (len(parts) > 1)), *(["group"] * grouped), *(["class"] * several)]
    columns = [Column(name) for name in names]
    for name in measures:
        arrays = [part.values[name] for part in parts if name in part.values]
        columns.append(Column(named(name), digits(arrays), meaning(name)))
    columns += [Column(name.upper(), 0, meaning(name)) for name in COUNTS]
    rows: list[list[Cell]] = []
    for part in parts:
        means = {name: part.of_cases(name) for name in measures if name in part.values}
        sums = {name: part.values[name].sum(axis=1) for name in COUNTS}
        for n, case in enumerate(part.ids):
            place = places.get((part.split, case))
            first: Cell = Link(case, place) if place else case
            fixed: list[Cell] = [first, *([part.split] * (len(parts) > 1)), *([part.groups[n] or ""] * grouped)]
            if several:
                rows.append(
                    [*fixed, EVERY, *(_at(means, name, n) for name in measures), *(_at(sums, name, n) for name in COUNTS)]
                )
            for k, name in enumerate(part.classes):
                numbers = [_at({m: v[:, k] for m, v in part.values.items()}, m, n) for m in (*measures, *COUNTS)]
                rows.append([*fixed, *([name] * several), *numbers])
    where = names.index("class") if several else None
    choices = {n: "" for n, name in enumerate(names) if name in ("split", "group")}
    choices |= {where: EVERY} if where is not None else {}
    dice = len(names) + (measures.index("dice") if "dice" in measures else 0)
    shown = grid(columns, rows, sort=(dice, True), choices=dict(sorted(choices.items())), limit=dice)
    note = paragraph(
        "Worst Dice first; a heading sorts by its column, the second time the other way round. "
        "Empty: the truth has no such class. The file cases.csv beside this page holds the same, and the background."
    )
    return section("Cases", note, shown)


def spread_section(parts: Sequence[SplitScores], measure: str = "dice") -> Html:
    """Return a histogram of the case scores for each split."""
    drawn = []
    for part in parts:
        values = part.of_cases(measure) if measure in part.values else np.zeros(0)
        known = values[~np.isnan(values)]
        if not len(known):
            continue
        bins = int(np.clip(2 * math.sqrt(len(known)), 8, 20))
        counts, edges = np.histogram(known, bins, (min(math.floor(known.min() * 10) / 10, 0.8), 1.0))
        low, middle, high = np.quantile(known, (0.25, 0.5, 0.75))
        chart = charts.columns(
            counts, edges, "Dice of a case", f"Histogram of the Dice of {len(known)} {part.split} cases", "cases"
        )
        caption = (
            f"{part.split}: median {middle:.3f}, the middle half from {low:.3f} to {high:.3f}, "
            f"lowest {known.min():.3f}, highest {known.max():.3f}; {len(known)} cases"
        )
        drawn.append(element("figure", chart, element("figcaption", caption)))
    if not drawn:
        return Html("")
    return section("How the cases are spread", element("div", *drawn, class_="charts"))


def _at(values: Mapping[str, np.ndarray], name: str, case: int) -> float | None:
    value = float(values[name][case]) if name in values else math.nan
    return None if math.isnan(value) else value
