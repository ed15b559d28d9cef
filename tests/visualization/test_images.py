"""Any image as RGB: brightness kept or stretched."""

import numpy as np
import pytest

from segexp.visualization import to_display
from segexp.visualization.images import STRIP, row_strips


@pytest.mark.parametrize(
    ("pixel", "expected"),
    [
        (np.array([7], np.uint8), (7, 7, 7)),
        (np.array([7, 8], np.uint8), (7, 7, 7)),
        (np.array([7, 8, 9], np.uint8), (7, 8, 9)),
        (np.array([7, 8, 9, 200], np.uint8), (7, 8, 9)),
        (np.array([0.2], np.float32), (51, 51, 51)),
        (np.array([True]), (255, 255, 255)),
    ],
)
def test_display_keeps_brightness(pixel, expected):
    image = np.broadcast_to(pixel, (5, 6, len(pixel)))
    shown = to_display(image)
    assert shown.shape == (5, 6, 3)
    assert shown.dtype == np.uint8
    assert tuple(shown[2, 3]) == expected
    shown[0] = 1  # a new array, which may be drawn on


@pytest.mark.parametrize("dtype", [np.uint16, np.float32, np.int16])
def test_display_stretches_other_ranges(dtype):
    ramp = np.linspace(900, 3000, 400).reshape(20, 20).astype(dtype)
    shown = to_display(ramp)
    assert shown.shape == (20, 20, 3)
    assert shown[0, 0, 0] == 0
    assert shown[-1, -1, 0] == 255
    assert abs(int(shown[10, 0, 0]) - 128) <= 2


def test_display_of_broken_and_flat_values():
    assert to_display(np.full((4, 4, 1), 5, np.uint16)).max() == 0
    assert to_display(np.array([[np.nan, np.inf], [3.0, 5.0]])).shape == (2, 2, 3)


def test_strips_cover_every_row_once():
    for shape in ((10, 7), (1, STRIP * 3), (STRIP // 100, 1000), (0, 5)):
        assert [row for rows in row_strips(shape) for row in range(rows.start, rows.stop)] == list(range(shape[0]))


def test_a_picture_of_many_strips_is_as_one_strip(monkeypatch):
    image = np.random.default_rng(0).integers(0, 4000, (50, 40, 3)).astype(np.uint16)
    whole = to_display(image)
    monkeypatch.setattr("segexp.visualization.images.STRIP", 100)
    np.testing.assert_array_equal(to_display(image), whole)
    monkeypatch.setattr("segexp.visualization.images.ENOUGH", 500)
    assert np.abs(to_display(image).astype(int) - whole).max() <= 6, "percentiles of fewer pixels"
