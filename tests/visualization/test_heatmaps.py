"""Heat over an image, its outline, and the sheet of what speaks for a class."""

import numpy as np
import pytest

from segexp.visualization import (
    OUTLINE,
    PAPER,
    ExplainedCase,
    colour_bar,
    colour_heat,
    explanation_sheet,
    heat_map,
    overlay_explanation,
    overlay_heat,
)
from segexp.visualization.heatmaps import colour_range

PALETTE = ((0, 0, 0), (230, 159, 0))
CLASSES = ("background", "liver")


def case(size=(40, 60), truth=True, title="a.png"):
    rng = np.random.default_rng(0)
    mask = np.zeros(size, np.uint8)
    mask[size[0] // 4 : size[0] // 2, size[1] // 4 : size[1] // 2] = 1
    image = rng.integers(0, 256, (*size, 1)).astype(np.uint8)
    return ExplainedCase(image, mask if truth else None, mask, rng.random(size).astype(np.float32), mask == 1, title)


def test_the_ends_of_the_colours():
    assert colour_range(np.array([[0.0, 4.0]]), signed=False) == (0.0, 4.0)
    low, high = colour_range(np.r_[np.linspace(-2, 1, 999), 90.0][None], signed=True)
    assert -low == high == pytest.approx(2, abs=0.05), "not that of the one pixel far beyond"
    assert colour_range(np.zeros((2, 2)), signed=False) == (0.0, 1.0)
    rare = np.zeros((100, 100))
    rare[0, 0] = -3.0
    assert colour_range(rare, signed=True) == (-3.0, 3.0), "a map of single pixels is not all white"


def test_heat_covers_more_of_the_image_the_higher_it_is():
    image = np.full((1, 3, 3), 200, np.uint8)
    drawn = overlay_heat(image, np.array([[0.0, 0.5, 1.0]]), 0, 1).astype(int)
    assert np.abs(drawn[0, 0] - 150).max() <= 1, "the image, a little darker"
    highest = colour_heat(np.array([[1.0]]), 0, 1)[0, 0].astype(int)
    assert np.abs(drawn[0, 2] - (0.85 * highest + 0.15 * 200)).max() <= 1


def test_signed_heat_leaves_the_image_where_it_is_0():
    image = np.full((1, 3, 3), 200, np.uint8)
    against, nothing, for_ = overlay_heat(image, np.array([[-1.0, 0.0, 1.0]]), -1, 1, signed=True)[0].astype(int)
    assert nothing.tolist() == [200, 200, 200]
    assert against[2] > against[0] + 100, "blue"
    assert for_[0] > for_[2] + 100, "vermilion"


def test_the_region_is_outlined():
    image, region = np.zeros((30, 30, 3), np.uint8), np.zeros((30, 30), np.uint8)
    region[10:20, 0:15] = 1
    drawn = overlay_explanation(image, np.zeros((30, 30), np.float32), region, signed=False)
    line = (drawn == OUTLINE).all(axis=2)
    assert line[10, 3]
    assert line[12, 14]
    assert line[15, 0], "also along the border of the image"
    assert not line[13:17, 3:12].any(), "and not inside"
    assert not line[22:].any()
    assert (
        not (overlay_explanation(image, np.zeros((30, 30), np.float32), region * 0, signed=False) == OUTLINE).all(axis=2).any()
    )


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("size", [(40, 60), (600, 200), (30, 900), (17, 16)])
def test_a_sheet_has_its_pictures_and_a_bar(size, signed):
    sheets = [
        explanation_sheet([case(size, truth)], PALETTE, CLASSES, "liver", "share", "predicted as liver", signed)
        for truth in (0, 1)
    ]
    assert all(sheet.dtype == np.uint8 and sheet.shape[2] == 3 for sheet in sheets)
    column = sheets[1].shape[1] - sheets[0].shape[1]
    assert column >= 140, "one more picture"
    bar = sheets[0][54:200, 3 * column + 10 :].astype(int)
    assert (bar.max(axis=2) - bar.min(axis=2)).max() > 100, "colours beside the last picture"


def test_a_row_per_case_and_a_blank_where_the_truth_is_not_known():
    one, two = (
        explanation_sheet([case(title="a"), case(truth=False)][:n], PALETTE, CLASSES, "liver", "share", "") for n in (1, 2)
    )
    assert one.shape[1] == two.shape[1]
    assert two.shape[0] > one.shape[0] + 200
    width = (one.shape[1] - 10) // 4
    below = two[one.shape[0] : two.shape[0] - 60, width + 40 : 2 * width - 40]
    assert (below == 235).all(axis=2).mean() > 0.5


def test_without_an_outline_the_legend_has_the_classes_alone():
    with_, without = (explanation_sheet([case()], PALETTE, CLASSES, "liver", "share", text) for text in ("predicted", ""))
    assert (with_[-30:] == OUTLINE).all(axis=2).any()
    assert not (without[-30:] == OUTLINE).all(axis=2).any()


def test_colours_go_from_dark_to_bright():
    steps = colour_heat(np.linspace(0, 1, 64)[None], 0, 1)
    assert steps.shape == (1, 64, 3)
    assert steps.dtype == np.uint8
    luma = steps[0] @ np.array([0.299, 0.587, 0.114])
    assert (np.diff(luma) > 0).all()
    assert luma[0] < 5
    assert luma[-1] > 240


def test_the_colours_are_those_of_matplotlib():
    import matplotlib

    expected = np.array(matplotlib.colormaps["inferno"](np.arange(256), bytes=True))[:, :3].astype(int)
    assert np.abs(colour_heat(np.arange(256)[None], 0, 255)[0].astype(int) - expected).max() <= 3


def test_what_is_beyond_the_ends_has_their_colours():
    low, high = colour_heat(np.array([[2.0, 6.0]]), 2, 6)[0]
    found = colour_heat(np.array([[-9.0, np.nan, 9.0, np.inf, 4.0, -np.inf]]), 2, 6)[0]
    assert (found[[0, 1, 5]] == low).all()
    assert (found[2:4] == high).all()
    np.testing.assert_array_equal(found[4], colour_heat(np.array([[0.5]]), 0, 1)[0, 0])
    assert (colour_heat(np.full((2, 2), 3.0), 3, 3) == low).all(), "no range"


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
    np.testing.assert_array_equal(sheet[:, :200], colour_heat(values, 0, 1))
    np.testing.assert_array_equal(sheet[:, 210:], colour_bar(300, 0, 1))
    assert (sheet[:, 200:210] == PAPER).all()


def test_a_low_map_stands_in_the_middle():
    sheet = heat_map(np.zeros((20, 30)), 0, 1)
    assert sheet.shape[0] == 160
    assert (sheet[:70, :30] == 255).all()
    assert (sheet[70:90, :30] == colour_heat(np.zeros((1, 1)), 0, 1)).all()
    assert (sheet[90:, :30] == 255).all()


def test_strips_change_nothing(monkeypatch):
    values = np.random.default_rng(0).random((70, 30)).astype(np.float32)
    whole = colour_heat(values, 0.2, 0.8)
    monkeypatch.setattr("segexp.visualization.images.STRIP", 64)
    np.testing.assert_array_equal(colour_heat(values, 0.2, 0.8), whole)
