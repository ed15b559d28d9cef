"""Calibration and confusion of a run: the counts in `calibration.json` and `confusion.csv`, and their charts and tables.

Shapes: F foreground classes, K classes, M bins.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segexp.atomic import atomic_write, write_json
from segexp.evaluation.summary_text import format_score
from segexp.metrics.calibration import Reliability
from segexp.metrics.confusion import split_matrix
from segexp.reporting.charts import Chart, Series, compact_number, line_chart
from segexp.reporting.tables import Table

CALIBRATION_FILE = "calibration.json"
CALIBRATION_COUNTS = ("pixels", "confidence", "hits", "squares")
CONFUSION_FILE = "confusion.csv"
CONFUSION_COLUMNS = ("split", "truth", "prediction", "pixels")


@dataclass(frozen=True)
class CalibrationPlots:
    """A reliability diagram for each split, and the errors of each class."""

    charts: Sequence[Chart]
    table: Table


@dataclass(frozen=True)
class MatrixCell:
    """The share of a true class predicted as another one, as text and number (0 to 1), and the number of pixels."""

    text: str
    share: float
    pixels: str


@dataclass(frozen=True)
class MatrixTable:
    """A confusion matrix: column names, and for each true class its name, its pixels and its cells."""

    names: Sequence[str]
    rows: Sequence[tuple[str, str, Sequence[MatrixCell]]]


def write_calibration(path: Path, splits: Mapping[str, Reliability], classes: Sequence[str]) -> None:
    """Write the counts of each split, summed over its cases.

    Args:
        path: of the file.
        splits: counts (F, M) by split.
        classes: F names.
    """
    content = {
        split: {
            name: {key: np.asarray(getattr(counts, key)[k]).tolist() for key in CALIBRATION_COUNTS}
            for k, name in enumerate(classes)
        }
        for split, counts in splits.items()
    }
    write_json(path, content, indent=None)


def read_calibration(path: Path) -> dict[str, tuple[list[str], Reliability]]:
    """Return class names and counts of each split; empty if the file is missing or broken."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {str(split): (list(classes), _reliability(classes)) for split, classes in content.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _reliability(classes: Mapping[str, Mapping[str, Sequence[float]]]) -> Reliability:
    return Reliability(*(np.array([counts[key] for counts in classes.values()]) for key in CALIBRATION_COUNTS))


def calibration_plots(found: Mapping[str, tuple[list[str], Reliability]]) -> CalibrationPlots | None:
    """Return a diagram for each split, and the errors of each class; None without calibration."""
    if not found:
        return None
    charts, rows = [], []
    for split, (names, counts) in found.items():
        confidence, hits = counts.curve()
        lines = [Series(name, *_known_pairs(confidence[k], hits[k])) for k, name in enumerate(names)]
        title = f"Observed frequency, {split}" if len(found) > 1 else "Observed frequency"
        charts.append(line_chart(lines, title, "predicted probability", y_range=(0.0, 1.0), diagonal=True))
        pixels = counts.pixels.sum(axis=1)
        for k, name in enumerate(names):
            sure = float(counts.pixels[k, [0, -1]].sum() / max(pixels[k], 1))
            rows.append(
                [split, name, format_score(float(counts.ece()[k])), format_score(float(counts.brier()[k])), f"{sure:.1%}"]
            )
    heads = ("split", "class", "ECE", "Brier", "pixels in the outermost bins")
    return CalibrationPlots([chart for chart in charts if chart is not None], Table(heads, rows, (2, 3, 4)))


def _known_pairs(x: np.ndarray, y: np.ndarray) -> tuple[list[float], list[float]]:
    there = ~(np.isnan(x) | np.isnan(y))
    return x[there].tolist(), y[there].tolist()


def write_confusion(path: Path, matrices: Mapping[str, np.ndarray], classes: Sequence[str]) -> None:
    """Write the summed confusion matrix (K, K) of each split: rows are the ground truth, columns the prediction."""
    with atomic_write(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(CONFUSION_COLUMNS)
        for split, matrix in matrices.items():
            for (i, j), pixels in np.ndenumerate(matrix):
                writer.writerow((split, classes[i], classes[j], int(pixels)))


def read_confusion(path: Path, classes: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the matrix (K, K) of each split; empty if the file is missing or has other classes."""
    found: dict[str, np.ndarray] = {}
    place = {name: n for n, name in enumerate(classes)}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                matrix = found.setdefault(row["split"], np.zeros((len(classes), len(classes)), np.int64))
                matrix[place[row["truth"]], place[row["prediction"]]] = int(row["pixels"])
    except (OSError, KeyError, ValueError, TypeError):
        return {}
    return found


def confusion_from_cases(rows: Sequence[Mapping[str, str]], split: str) -> np.ndarray | None:
    """Return the matrix (2, 2) from the counts of cases.csv; None for more classes."""
    own = [row for row in rows if row["split"] == split]
    names = list(dict.fromkeys(row["class"] for row in own))
    if len(names) != 2:
        return None
    background, foreground = ([row for row in own if row["class"] == name] for name in names)
    true_background, found = (sum(int(float(row["tp"])) for row in each) for each in (background, foreground))
    false, missed = (sum(int(float(row[key])) for row in foreground) for key in ("fp", "fn"))
    return np.array([[true_background, false], [missed, found]], np.int64)


def matrix_tables(matrix: np.ndarray, classes: Sequence[str], overlapping: bool = False) -> list[MatrixTable]:
    """Return the matrix (K, K) as a table; for overlapping labels a table of presence for each foreground class."""
    if not overlapping:
        return [_matrix_table(matrix, classes)]
    pairs = zip(split_matrix(matrix), classes[1:], strict=True)
    return [_matrix_table(counts, (f"no {name}", name)) for counts, name in pairs]


def _matrix_table(matrix: np.ndarray, classes: Sequence[str]) -> MatrixTable:
    """Return a table whose rows sum to 100 %; absent classes have no share."""
    rows = []
    for name, counts in zip(classes, matrix, strict=True):
        total = int(counts.sum())
        shares = [float(count) / total if total else 0.0 for count in counts]
        cells = [
            MatrixCell(f"{share:.1%}" if total else "-", round(share, 3), compact_number(float(count)))
            for share, count in zip(shares, counts, strict=True)
        ]
        rows.append((name, f"{compact_number(total)} px", cells))
    return MatrixTable(classes, rows)
