"""Drawings with axes, for 2 to 20 classes."""

import subprocess
import sys

import numpy as np
import pytest

from segexp.visualization import confusion_figure


@pytest.mark.parametrize("count", [2, 7, 20])
def test_confusion_figure(count):
    matrix = np.full((count, count), 10)
    matrix[np.arange(count), np.arange(count)] = 5_000_000
    matrix[1] = 0
    names = [f"class {index}" for index in range(count)]
    picture = confusion_figure(matrix, names)
    assert picture.dtype == np.uint8
    assert picture.shape[2] == 3
    assert 400 <= picture.shape[0] <= 1700
    dark = (picture.astype(int).sum(-1) < 250).mean()
    assert 0.002 < dark < 0.6  # the diagonal is drawn in dark blue, the rest stays pale


def test_confusion_figure_is_normalised_by_row():
    picture = confusion_figure(np.array([[50, 50], [0, 1000]]), ["a", "b"]).reshape(-1, 3)
    import matplotlib

    for share in (0.5, 0.0, 1.0):
        colour = np.rint(255 * np.array(matplotlib.colormaps["Blues"](share)[:3]))
        assert (np.abs(picture - colour).max(axis=1) <= 2).sum() > 2000


@pytest.mark.slow
def test_import_does_not_bring_matplotlib():
    code = "import sys, segexp.visualization; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_overlapping_classes_have_a_matrix_each():
    matrix = np.array([[170, 10, 4], [20, 5, 0], [6, 0, 5]])
    alone = confusion_figure(np.array([[75, 10], [20, 5]]), ["no a", "a"])
    picture = confusion_figure(matrix, ["none", "a", "b"], overlapping=True)
    assert picture.shape[0] == alone.shape[0]
    assert picture.shape[1] > 1.7 * alone.shape[1], "side by side"
    seen = {tuple(colour) for colour in np.unique(picture.reshape(-1, 3), axis=0)}
    import matplotlib

    for share in (75 / 85, 4 / 99, 5 / 11):
        colour = tuple(np.rint(255 * np.array(matplotlib.colormaps["Blues"](share)[:3])).astype(int))
        assert any(max(abs(a - int(b)) for a, b in zip(colour, each, strict=True)) <= 2 for each in seen)
