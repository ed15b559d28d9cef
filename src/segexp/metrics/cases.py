"""`cases.csv`: one row per case and class, from which all scores of a run are computed."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np

from segexp.atomic import atomic_write
from segexp.metrics.scores import class_scores
from segexp.types import Case

COLUMNS = ("split", "id", "group", "class", "tp", "fp", "fn", "dice", "iou", "precision", "recall")
"""The fixed columns; those of the measures follow."""


def case_rows(
    split: str,
    cases: Sequence[Case],
    confusions: np.ndarray,
    names: Sequence[str],
    measured: Mapping[str, np.ndarray] = MappingProxyType({}),
) -> list[dict[str, object]]:
    """Return the rows of `cases.csv` for one split: N cases x K classes, undefined scores are empty.

    Args:
        split: its name.
        cases: N.
        confusions: (N, K, K).
        names: of the K classes.
        measured: further columns, (N, F) each, of the last F classes; empty for the background.
    """
    scores = class_scores(confusions)
    rows: list[dict[str, object]] = []
    for n, case in enumerate(cases):
        for k, name in enumerate(names):
            row: dict[str, object] = {"split": split, "id": case.id, "group": case.group or "", "class": name}
            row |= {key: int(getattr(scores, key)[n, k]) for key in ("tp", "fp", "fn")}
            for key in ("dice", "iou", "precision", "recall"):
                row[key] = _text(getattr(scores, key)[n, k])
            for column, values in measured.items():
                place = k - len(names) + values.shape[1]
                row[column] = _text(values[n, place]) if place >= 0 else ""
            rows.append(row)
    return rows


def write_cases(path: Path, rows: Sequence[dict[str, object]]) -> None:
    """Write `cases.csv` atomically."""
    columns = list(rows[0]) if rows else COLUMNS
    with atomic_write(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def _text(value: float) -> str:
    """Return a number with full precision, "" for NaN."""
    return "" if np.isnan(value) else repr(float(value))
