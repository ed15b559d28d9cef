"""`cases.csv`: one row per case and class, the single source of every score of a run."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from segexp.errors import DataError
from segexp.metrics.scores import class_scores
from segexp.types import Case
from segexp.whole import whole_file

COLUMNS = ("split", "id", "group", "class", "tp", "fp", "fn", "dice", "iou", "precision", "recall")


def case_rows(split: str, cases: Sequence[Case], confusions: np.ndarray, names: Sequence[str]) -> list[dict[str, object]]:
    """Return the rows of `cases.csv` for one split: N cases x K classes, scores empty where they are not defined."""
    scores = class_scores(confusions)
    rows: list[dict[str, object]] = []
    for n, case in enumerate(cases):
        for k, name in enumerate(names):
            row: dict[str, object] = {"split": split, "id": case.id, "group": case.group or "", "class": name}
            row |= {key: int(getattr(scores, key)[n, k]) for key in ("tp", "fp", "fn")}
            for key in ("dice", "iou", "precision", "recall"):
                value = float(getattr(scores, key)[n, k])
                row[key] = "" if np.isnan(value) else repr(value)
            rows.append(row)
    return rows


def write_cases(path: Path, rows: Sequence[dict[str, object]]) -> None:
    """Write `cases.csv` whole or not at all."""
    with whole_file(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def read_cases(path: Path) -> list[dict[str, str]]:
    """Read `cases.csv`.

    Raises:
        DataError: the file is missing or its columns are not those of `COLUMNS`.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist", "A finished run has a cases.csv", "Train it to the end, or evaluate it")
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        columns, rows = tuple(reader.fieldnames or ()), list(reader)
    if columns != COLUMNS:
        raise DataError(
            f"{path} has the columns {', '.join(columns) or '(none)'}",
            f"The columns {', '.join(COLUMNS)} were expected",
            "Write it again: python -m segexp.evaluate checkpoint=RUN",
        )
    return rows
