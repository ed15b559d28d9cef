"""Calibration: the reliability diagram of a run from the counts in `calibration.json`.

Legend: F foreground classes, M bins.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from segexp.atomic import whole_file
from segexp.evaluation.summary_text import number
from segexp.metrics.calibration import Reliability
from segexp.metrics.confusion import of_each_class
from segexp.reporting.charts import short
from segexp.reporting.html import Html, element, paragraph, section, table
from segexp.reporting.line_charts import Line, curves

CALIBRATION_FILE = "calibration.json"
PARTS = ("pixels", "confidence", "hits", "squares")


def write_calibration(path: Path, splits: Mapping[str, Reliability], classes: Sequence[str]) -> None:
    """Write the counts of each split, summed over its cases.

    Args:
        path: of the file.
        splits: counts (F, M) by split.
        classes: F names.
    """
    content = {
        split: {name: {key: np.asarray(getattr(counts, key)[k]).tolist() for key in PARTS} for k, name in enumerate(classes)}
        for split, counts in splits.items()
    }
    with whole_file(path) as part:
        part.write_text(json.dumps(content) + "\n", encoding="utf-8")


def read_calibration(path: Path) -> dict[str, tuple[list[str], Reliability]]:
    """Return class names and counts of each split; nothing where the file is missing or broken."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {
            str(split): (
                list(classes),
                Reliability(
                    *(
                        np.array([counts[key] for counts in classes.values()])
                        for key in ("pixels", "confidence", "hits", "squares")
                    )
                ),
            )
            for split, classes in content.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def calibration_section(found: Mapping[str, tuple[list[str], Reliability]]) -> Html:
    """Return a diagram for each split, and the errors of each class."""
    if not found:
        text = "Not recorded with this run: calibration.json is missing or broken. Train or evaluate with metrics=default."
        return section("Calibration", paragraph(text))
    charts, rows = [], []
    for split, (names, counts) in found.items():
        confidence, hits = counts.curve()
        lines = [Line(name, *_known(confidence[k], hits[k])) for k, name in enumerate(names)]
        title = f"Share of hits, {split}" if len(found) > 1 else "Share of hits"
        charts.append(curves(lines, title, "probability", span=(0.0, 1.0), diagonal=True))
        pixels = counts.pixels.sum(axis=1)
        for k, name in enumerate(names):
            sure = float(counts.pixels[k, [0, -1]].sum() / max(pixels[k], 1))
            rows.append([split, name, number(float(counts.ece()[k])), number(float(counts.brier()[k])), f"{sure:.1%}"])
    heads = ("split", "class", "ECE", "Brier", "pixels in the outermost bins")
    note = (
        "Of the pixels that were given a probability of 0.8, 80 in 100 should be of the class: on the dashed line. "
        "Below it the network is too sure, above it not sure enough. All pixels of all cases, each class against the rest."
    )
    shown = [chart for chart in charts if chart]
    return section(
        "Calibration", paragraph(note), element("div", *shown, class_="charts"), table(heads, rows, numbers=(2, 3, 4))
    )


def _known(x: np.ndarray, y: np.ndarray) -> tuple[list[float], list[float]]:
    there = ~(np.isnan(x) | np.isnan(y))
    return x[there].tolist(), y[there].tolist()


CONFUSION_FILE = "confusion.csv"
COLUMNS = ("split", "truth", "prediction", "pixels")

STYLE = """
.matrix td.cell{background:color-mix(in srgb,var(--accent) calc(var(--share)*50%),transparent);text-align:right;
padding:.35rem .6rem;border:1px solid var(--line);font-variant-numeric:tabular-nums;white-space:nowrap}
.matrix th{padding:.3rem .6rem}.matrix small{display:block;color:var(--soft)}.matrix th.row{text-align:right}
""".replace("\n", "")


def write_confusion(path: Path, matrices: Mapping[str, np.ndarray], classes: Sequence[str]) -> None:
    """Write the summed confusion matrix (K, K) of each split: rows are the truth, columns the prediction."""
    with whole_file(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for split, matrix in matrices.items():
            for (i, j), pixels in np.ndenumerate(matrix):
                writer.writerow((split, classes[i], classes[j], int(pixels)))


def read_confusion(path: Path, classes: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the matrix (K, K) of each split; nothing where the file is missing or of other classes."""
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


def of_two_classes(rows: Sequence[Mapping[str, str]], split: str) -> np.ndarray | None:
    """Return the matrix (2, 2) that the counts in cases.csv tell; None where there are more classes."""
    own = [row for row in rows if row["split"] == split]
    names = list(dict.fromkeys(row["class"] for row in own))
    if len(names) != 2:
        return None
    background, foreground = ([row for row in own if row["class"] == name] for name in names)
    true_background, found = (sum(int(float(row["tp"])) for row in each) for each in (background, foreground))
    false, missed = (sum(int(float(row[key])) for row in foreground) for key in ("fp", "fn"))
    return np.array([[true_background, false], [missed, found]], np.int64)


def matrix_table(matrix: np.ndarray, classes: Sequence[str]) -> Html:
    """Return the matrix (K, K) as a table; each row adds up to 100 %."""
    head = element("tr", element("th", "truth \\ prediction"), *(element("th", name) for name in classes))
    rows = []
    for i, name in enumerate(classes):
        total = int(matrix[i].sum())
        cells = [element("th", name, element("small", f"{short(total)} px"), class_="row")]
        for value in matrix[i]:
            share = float(value) / total if total else 0.0
            text = f"{share:.1%}" if total else "-"
            cells.append(
                element("td", text, element("small", short(float(value))), class_="cell", style=f"--share:{share:.3f}")
            )
        rows.append(element("tr", *cells))
    table = element("table", element("thead", head), element("tbody", *rows), class_="matrix")
    return element("div", table, class_="scroll")


def tables_of_each_class(matrix: np.ndarray, classes: Sequence[str]) -> list[Html]:
    """Return a table for each foreground class against its absence, from the matrix (K, K) of overlapping labels."""
    pairs = zip(of_each_class(matrix), classes[1:], strict=True)
    return [matrix_table(counts, (f"no {name}", name)) for counts, name in pairs]


def matrix_note(overlapping: bool = False) -> Html:
    """Return how to read it."""
    if overlapping:
        return paragraph(
            "The classes may overlap, so each is counted by itself: of the pixels that have it and of those that have it not "
            "(rows), how many were given to it; all cases together."
        )
    return paragraph("Of the pixels of each true class (row), how many were given to which class; all cases together.")
