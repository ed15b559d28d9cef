"""Reliability diagrams and confusion matrices from the counts of a run."""

import numpy as np
import pytest

from segexp.metrics.calibration import reliability
from segexp.metrics.cases import case_rows
from segexp.reporting.diagnostics import (
    calibration_plots,
    confusion_from_cases,
    matrix_tables,
    read_calibration,
    read_confusion,
    write_calibration,
    write_confusion,
)
from segexp.types import Case, Source


@pytest.fixture
def counts():
    probabilities = np.random.default_rng(0).dirichlet([1, 1, 1], (40, 50)).transpose(2, 0, 1)
    truth = probabilities.argmax(axis=0).astype(np.uint8)
    return reliability(truth, probabilities, 10)


def test_what_is_written_is_read(tmp_path, counts):
    write_calibration(tmp_path / "calibration.json", {"val": counts}, ("liver", "tumour"))
    names, found = read_calibration(tmp_path / "calibration.json")["val"]
    assert names == ["liver", "tumour"]
    assert found.ece() == pytest.approx(counts.ece())
    assert found.brier() == pytest.approx(counts.brier())
    assert found.pixels.tolist() == counts.pixels.tolist()


@pytest.mark.parametrize("text", [None, "{", "[]", '{"val": 3}', '{"val": {"liver": {"pixels": [1]}}}'])
def test_a_missing_or_broken_file_is_said(tmp_path, text):
    if text:
        (tmp_path / "calibration.json").write_text(text)
    found = read_calibration(tmp_path / "calibration.json")
    assert found == {}
    assert calibration_plots(found) is None


def test_each_class_has_a_line_and_its_errors(counts):
    found = calibration_plots({"val": (["liver", "tumour"], counts)})
    (chart,) = found.charts
    assert chart.legend == ["liver", "tumour"]
    assert chart.title == "Observed frequency"
    assert found.table.rows[0][:3] == ["val", "liver", f"{counts.ece()[0]:.4f}"]
    assert found.table.rows[1][3] == f"{counts.brier()[1]:.4f}"
    both = calibration_plots({"val": (["liver", "tumour"], counts), "test": (["liver", "tumour"], counts)})
    assert [chart.title for chart in both.charts] == ["Observed frequency, val", "Observed frequency, test"]


def test_empty_bins_have_no_point():
    probabilities = np.stack([np.full((4, 4), 0.95), np.full((4, 4), 0.05)])
    found = calibration_plots({"val": (["liver"], reliability(np.zeros((4, 4), np.uint8), probabilities, 10))})
    assert len(found.charts[0].curves[0].points) == 1
    assert found.table.rows[0][-1] == "100.0%"


CLASSES = ("background", "liver, left", "tumour")
MATRIX = np.array([[90, 5, 5], [1, 8, 1], [0, 0, 0]])


def test_what_is_written_is_read_matrix(tmp_path):
    write_confusion(tmp_path / "confusion.csv", {"val": MATRIX, "test": MATRIX.T}, CLASSES)
    found = read_confusion(tmp_path / "confusion.csv", CLASSES)
    assert found["val"].tolist() == MATRIX.tolist()
    assert found["test"].tolist() == MATRIX.T.tolist()


@pytest.mark.parametrize("text", ["", "nothing\n", "split,truth,prediction,pixels\nval,liver,liver,many\n"])
def test_a_missing_or_broken_file_is_no_matrix(tmp_path, text):
    if text:
        (tmp_path / "confusion.csv").write_text(text)
    assert read_confusion(tmp_path / "confusion.csv", CLASSES).get("val", np.zeros(1)).sum() == 0


def test_the_counts_confusion_from_cases_tell_the_matrix():
    matrices = np.random.default_rng(0).integers(0, 99, (5, 2, 2))
    cases = [Case(str(n), Source(None), ()) for n in range(5)]
    rows = [{k: str(v) for k, v in row.items()} for row in case_rows("val", cases, matrices, ("background", "liver"))]
    assert confusion_from_cases(rows, "val").tolist() == matrices.sum(axis=0).tolist()
    assert confusion_from_cases([*rows, rows[0] | {"class": "tumour"}], "val") is None


def test_rows_add_up_to_all_of_their_class():
    (table,) = matrix_tables(MATRIX, CLASSES)
    assert table.names == CLASSES
    cells = [cell for _, _, cells in table.rows for cell in cells]
    assert [(cell.text, cell.pixels) for cell in cells[:6]] == [
        ("90.0%", "90"), ("5.0%", "5"), ("5.0%", "5"), ("10.0%", "1"), ("80.0%", "8"), ("10.0%", "1"),
    ]  # fmt: skip
    assert [cell.share for cell in cells[:3]] == [0.9, 0.05, 0.05]
    assert [(cell.text, cell.share) for cell in cells[6:]] == [("-", 0.0)] * 3, "a class that does not occur has no share"
    assert [(name, pixels) for name, pixels, _ in table.rows] == [
        ("background", "100 px"), ("liver, left", "10 px"), ("tumour", "0 px"),
    ]  # fmt: skip


def test_overlapping_classes_have_a_table_each():
    matrix = np.array([[170, 10, 4], [20, 5, 0], [6, 0, 5]])
    first, second = matrix_tables(matrix, ("none", "cell", "nucleus"), overlapping=True)
    assert (first.names, second.names) == (("no cell", "cell"), ("no nucleus", "nucleus"))
    texts = [[cells[n].text for n, (_, _, cells) in enumerate(table.rows)] for table in (first, second)]
    assert texts == [["88.2%", "20.0%"], ["96.0%", "45.5%"]], "75 of 85 and 5 of 25, 95 of 99 and 5 of 11"
