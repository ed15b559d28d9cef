"""Maps in colour: exact ends, order of brightness, and the bar."""

import numpy as np
import pytest

from segexp.pictures import PAPER, colour_bar, heat, heat_map


def test_colours_go_from_dark_to_bright():
    steps = heat(np.linspace(0, 1, 64)[None], 0, 1)
    assert steps.shape == (1, 64, 3)
    assert steps.dtype == np.uint8
    luma = steps[0] @ np.array([0.299, 0.587, 0.114])
    assert (np.diff(luma) > 0).all()
    assert luma[0] < 5
    assert luma[-1] > 240


def test_the_colours_are_those_of_matplotlib():
    import matplotlib

    expected = np.array(matplotlib.colormaps["inferno"](np.arange(256), bytes=True))[:, :3].astype(int)
    assert np.abs(heat(np.arange(256)[None], 0, 255)[0].astype(int) - expected).max() <= 3


def test_what_is_beyond_the_ends_has_their_colours():
    low, high = heat(np.array([[2.0, 6.0]]), 2, 6)[0]
    found = heat(np.array([[-9.0, np.nan, 9.0, np.inf, 4.0, -np.inf]]), 2, 6)[0]
    assert (found[[0, 1, 5]] == low).all()
    assert (found[2:4] == high).all()
    np.testing.assert_array_equal(found[4], heat(np.array([[0.5]]), 0, 1)[0, 0])
    assert (heat(np.full((2, 2), 3.0), 3, 3) == low).all(), "no range"


@pytest.mark.parametrize("height", [160, 512, 4000])
def test_a_bar_has_the_colours_from_bottom_to_top(height):
    bar = colour_bar(height, 0, 1, "uncertainty")
    assert bar.shape[0] == height
    size = int(np.clip(height / 24, 11, 48))
    column = bar[size + 1 : -size - 1, round(1.5 * size)].astype(int)
    assert column[0].sum() > 600
    assert column[-1].sum() < 30
    assert (np.diff(column @ [0.299, 0.587, 0.114]) <= 1e-9).all()
    assert (bar[:, -1] == 255).all()
    ink = (bar[:, round(2.5 * size) :].max(-1) < 128).sum()
    assert ink > size**2, "numbers and title"


def test_map_and_bar_side_by_side():
    values = np.linspace(0, 1, 300 * 200).reshape(300, 200)
    sheet = heat_map(values, 0, 1)
    np.testing.assert_array_equal(sheet[:, :200], heat(values, 0, 1))
    np.testing.assert_array_equal(sheet[:, 210:], colour_bar(300, 0, 1))
    assert (sheet[:, 200:210] == PAPER).all()


def test_a_low_map_stands_in_the_middle():
    sheet = heat_map(np.zeros((20, 30)), 0, 1)
    assert sheet.shape[0] == 160
    assert (sheet[:70, :30] == 255).all()
    assert (sheet[70:90, :30] == heat(np.zeros((1, 1)), 0, 1)).all()
    assert (sheet[90:, :30] == 255).all()


def test_strips_change_nothing(monkeypatch):
    values = np.random.default_rng(0).random((70, 30)).astype(np.float32)
    whole = heat(values, 0.2, 0.8)
    monkeypatch.setattr("segexp.pictures.display.STRIP", 64)
    np.testing.assert_array_equal(heat(values, 0.2, 0.8), whole)
