"""Masks and errors in colour: exact colours at known pixels, whatever the size of a strip."""

import numpy as np
import pytest

from segexp import visualization
from segexp.visualization import CORRECT, WRONG_CLASS, dice_text, error_kinds, error_map, overlay, overlay_bits

PALETTE = [(0, 0, 0), (200, 0, 0), (0, 100, 250)]


def colour_mask(mask, palette):
    """The colours that an opaque overlay has on black."""
    return overlay(np.zeros((*mask.shape, 3), np.uint8), mask, palette, alpha=1.0)


def square(size=(40, 60), value=1):
    mask = np.zeros(size, np.uint8)
    mask[10:30, 10:30] = value
    return mask


def test_mask_has_the_palette_and_a_hatch():
    mask = np.array([[0, 1, 2, 255], [0, 1, 2, 255]])
    picture = colour_mask(mask, PALETTE)
    assert [tuple(pixel) for pixel in picture[0, :3]] == PALETTE
    assert tuple(picture[0, 3]) == (128, 128, 128)
    assert tuple(picture[1, 3]) == (96, 96, 96)  # (3 + 1) // 4 is odd: the next stripe


def test_overlay_tints_inside_and_draws_the_border():
    image = np.full((40, 60, 1), 100, np.uint8)
    picture = overlay(image, square(), PALETTE, alpha=0.4)
    assert tuple(picture[0, 0]) == (100, 100, 100)
    assert tuple(picture[20, 20]) == (140, 60, 60)  # 0.6 * 100 + 0.4 * (200, 0, 0)
    assert tuple(picture[10, 20]) == PALETTE[1]
    assert tuple(picture[9, 20]) == (100, 100, 100)
    assert (image == 100).all()


def test_errors_have_a_colour_each():
    truth = np.array([[0, 1, 1, 0, 1, 255]])
    prediction = np.array([[0, 1, 0, 1, 2, 1]])
    expected = [(0, 0, 0), visualization.CORRECT, visualization.MISSED, visualization.FALSE_ALARM, visualization.WRONG_CLASS]
    picture = error_map(truth, prediction)
    assert [tuple(pixel) for pixel in picture[0, :5]] == expected
    assert tuple(picture[0, 5]) in visualization.IGNORED
    assert len(set(expected)) == 5
    on_image = error_map(truth, prediction, np.full((1, 6, 3), 90, np.uint8))
    assert tuple(on_image[0, 0]) == (45, 45, 45)
    assert tuple(on_image[0, 3]) == visualization.FALSE_ALARM


def by_definition(image, mask, alpha=0.4):
    """The overlay written down in float64, pixel by pixel."""
    base, colours = np.repeat(image, 3, axis=2).astype(float), colour_mask(mask, PALETTE).astype(float)
    out = np.where(mask[..., None] != 0, np.rint((1 - alpha) * base + alpha * colours), base)
    padded = np.pad(mask, 1, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3))
    line = (windows.min((-1, -2)) != windows.max((-1, -2))) & (mask != 0) & (mask != 255)
    out[line] = colours[line]
    return out


@pytest.mark.parametrize("strip", [1, 200, 1 << 20])
def test_integer_arithmetic_in_strips_gives_what_the_definition_gives(monkeypatch, strip):
    monkeypatch.setattr("segexp.visualization.images.STRIP", strip)
    rng = np.random.default_rng(2)
    image, mask = rng.integers(0, 256, (61, 53, 1), np.uint8), rng.integers(0, 3, (61, 53)).astype(np.uint8)
    mask = mask.repeat(4, axis=0)[:61].repeat(5, axis=1)[:, :53]
    mask[20:30] = 255
    mask[40:50] = 0
    assert np.abs(overlay(image, mask, PALETTE) - by_definition(image, mask)).max() <= 1
    truth = np.roll(mask, 3, axis=1)
    picture = error_map(truth, mask, image)
    assert (picture[(truth == mask) & (truth == 1)] == visualization.CORRECT).all()
    assert (picture[(truth == 0) & (mask == 1)] == visualization.FALSE_ALARM).all()
    y, x = np.nonzero(truth == 255)
    assert (picture[y, x] == np.array(visualization.IGNORED)[(x + y) // 4 % 2]).all(), (
        "the hatching goes on from strip to strip"
    )
    np.testing.assert_array_equal(colour_mask(mask, PALETTE)[mask == 2], np.broadcast_to(PALETTE[2], ((mask == 2).sum(), 3)))


def nested():
    """Class 1, and class 2 partly inside of it; a pixel is ignored."""
    mask = square()
    mask[15:35, 15:25] |= 2
    mask[0, 0] = 255
    return mask


def test_overlapping_classes_keep_their_tint_and_their_line():
    image = np.full((40, 60, 1), 100, np.uint8)
    picture = overlay_bits(image, nested(), PALETTE, alpha=0.4)
    assert tuple(picture[12, 12]) == (140, 60, 60), "class 1 alone, as in an overlay"
    assert tuple(picture[32, 20]) == (60, 100, 160), "class 2 alone"
    assert tuple(picture[20, 20]) == (84, 76, 136), "0.6 * class 1 + 0.4 * class 2"
    assert tuple(picture[10, 20]) == PALETTE[1]
    assert tuple(picture[20, 15]) == PALETTE[2], "the line of class 2 inside of class 1"
    assert tuple(picture[29, 12]) == PALETTE[1]
    assert tuple(picture[0, 0]) == tuple(overlay(image, np.where(nested() == 255, 255, 0), PALETTE)[0, 0])
    assert tuple(picture[0, 30]) == (100, 100, 100)


def test_one_overlapping_class_is_drawn_as_an_exclusive_one():
    image = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    mask = square()
    mask[:3] = 255
    assert np.array_equal(overlay_bits(image, mask, PALETTE[:2]), overlay(image, mask, PALETTE[:2]))


def test_errors_of_sets_of_classes():
    truth = np.array([[0, 1, 3, 1, 1, 3, 0, 255]], np.uint8)
    prediction = np.array([[0, 1, 3, 3, 2, 1, 2, 1]], np.uint8)
    right, wrong, missed, false = (
        visualization.CORRECT,
        visualization.WRONG_CLASS,
        visualization.MISSED,
        visualization.FALSE_ALARM,
    )
    expected = [(0, 0, 0), right, right, false, wrong, missed, false]
    assert [tuple(pixel) for pixel in error_map(truth, prediction, overlapping=True)[0, :7]] == expected
    assert [tuple(pixel) for pixel in error_map(truth, prediction)[0, :7]] == [(0, 0, 0), right, right, *[wrong] * 3, false]


def test_without_a_background_the_first_class_has_a_colour_and_errors_are_wrong_classes():
    mask, other = np.array([[0, 1, 255]], np.uint8), np.array([[1, 1, 0]], np.uint8)
    image = np.zeros((1, 3, 3), np.uint8)
    colours = ((10, 20, 30), (40, 50, 60))
    drawn = overlay(image, mask, colours, alpha=1.0, background=False)
    assert [tuple(pixel) for pixel in drawn[0, :2].tolist()] == list(colours)
    errors = error_map(mask, other, background=False)
    assert [tuple(pixel) for pixel in errors[0, :2].tolist()] == [WRONG_CLASS, CORRECT]
    assert set(error_kinds(2, background=False)) == {"correct", "wrong class"}
    assert dice_text(mask, other, background=False) == "Dice 0.333", "the mean of 0 and 2 / 3"
