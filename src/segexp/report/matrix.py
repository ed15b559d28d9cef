"""Which class was taken for which, as a table of pixels; `confusion.csv` holds it for a run.

Legend: K classes.
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from segexp.metrics.confusion import of_each_class
from segexp.report.charts import short
from segexp.report.page import Html, element, paragraph
from segexp.whole import whole_file

FILE = "confusion.csv"
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
