"""Reliability diagrams from the counts of a run."""

import numpy as np
import pytest

from segexp.metrics.calibration import reliability
from segexp.metrics.cases import case_rows
from segexp.reporting.calibration_and_confusion import (
    calibration_section,
    matrix_note,
    matrix_table,
    of_two_classes,
    read_calibration,
    read_confusion,
    tables_of_each_class,
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
    assert "calibration.json is missing or broken" in calibration_section(found)


def test_section_draws_a_line_per_class_and_names_the_errors(counts):
    markup = calibration_section({"val": (["liver", "tumour"], counts)})
    assert markup.count("<polyline") == 2
    assert f"{counts.ece()[0]:.4f}" in markup
    assert f"{counts.brier()[1]:.4f}" in markup


def test_empty_bins_have_no_point():
    probabilities = np.stack([np.full((4, 4), 0.95), np.full((4, 4), 0.05)])
    markup = calibration_section({"val": (["liver"], reliability(np.zeros((4, 4), np.uint8), probabilities, 10))})
    assert markup.count("<circle") == 1
    assert "100.0%" in markup


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


def test_the_counts_of_two_classes_tell_the_matrix():
    matrices = np.random.default_rng(0).integers(0, 99, (5, 2, 2))
    cases = [Case(str(n), Source(None), ()) for n in range(5)]
    rows = [{k: str(v) for k, v in row.items()} for row in case_rows("val", cases, matrices, ("background", "liver"))]
    assert of_two_classes(rows, "val").tolist() == matrices.sum(axis=0).tolist()
    assert of_two_classes([*rows, rows[0] | {"class": "tumour"}], "val") is None


def test_rows_add_up_to_all_of_their_class():
    markup = matrix_table(MATRIX, CLASSES)
    assert "90.0%<small>90</small>" in markup
    assert "80.0%<small>8</small>" in markup
    assert markup.count('style="--share:0.050"') == 2
    assert markup.count("<td") == 9
    assert "-<small>0</small>" in markup, "a class that does not occur has no share"


def test_overlapping_classes_have_a_table_each():
    first, second = tables_of_each_class(np.array([[170, 10, 4], [20, 5, 0], [6, 0, 5]]), ("none", "cell", "nucleus"))
    assert [text in first for text in ("no cell", "88.2%", "20.0%")] == [True] * 3, "75 of 85, 5 of 25"
    assert [text in second for text in ("no nucleus", "96.0%", "45.5%")] == [True] * 3, "95 of 99, 5 of 11"
    assert "may overlap" in matrix_note(overlapping=True)
