"""Reliability diagrams from the counts of a run."""

import numpy as np
import pytest

from segexp.metrics.calibration import reliability
from segexp.report.diagram import calibration_section, read_calibration, write_calibration


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
