"""Pictures: exact colours at known pixels, sizes of the sheets, figures for 2 to 20 classes."""

import subprocess
import sys

import numpy as np
import pytest

from segexp import pictures
from segexp.pictures import (
    colour_mask,
    confusion_figure,
    contact_sheet,
    dice_text,
    errors,
    overlay,
    panel,
    to_display,
)

PALETTE = [(0, 0, 0), (200, 0, 0), (0, 100, 250)]
CLASSES = ["background", "liver", "tumour"]


def square(size=(40, 60), value=1):
    mask = np.zeros(size, np.uint8)
    mask[10:30, 10:30] = value
    return mask


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
    expected = [(0, 0, 0), pictures.CORRECT, pictures.MISSED, pictures.FALSE_ALARM, pictures.WRONG_CLASS]
    picture = errors(truth, prediction)
    assert [tuple(pixel) for pixel in picture[0, :5]] == expected
    assert tuple(picture[0, 5]) in pictures.IGNORED
    assert len(set(expected)) == 5
    on_image = errors(truth, prediction, np.full((1, 6, 3), 90, np.uint8))
    assert tuple(on_image[0, 0]) == (45, 45, 45)
    assert tuple(on_image[0, 3]) == pictures.FALSE_ALARM


def test_title_score():
    truth, prediction = square(), np.zeros((40, 60), np.uint8)
    prediction[10:30, 20:40] = 1  # half of it, and as much beside it: 2 * 200 / 800
    assert dice_text(truth, prediction) == "Dice 0.500"
    hidden = truth.copy()
    hidden[:, 30:] = 255  # the false half is ignored: 2 * 200 / (400 + 200)
    assert dice_text(hidden, prediction) == "Dice 0.667"
    both = truth.copy()
    both[0, :10] = 2  # a class that is missed altogether counts as 0
    assert dice_text(both, truth) == "Dice 0.500"
    assert dice_text(truth * 0, prediction) == "no foreground, 400 px of false alarm"
    assert dice_text(truth * 0, truth * 0) == "no foreground, none predicted"


def test_panel_of_mixed_images():
    wide, tall = np.zeros((100, 200, 3), np.uint8), np.full((300, 150, 1), 0.5, np.float32)
    rows = [
        (wide, square((100, 200)), square((100, 200)), "wide"),
        (tall, square((300, 150), 2), square((300, 150)), "tall"),
        (np.zeros((8, 1000, 5), np.uint16), np.zeros((8, 1000), np.uint8), np.zeros((8, 1000), np.int64), "a ribbon"),
    ]
    sheet = panel(rows, PALETTE, CLASSES, height=128)
    assert sheet.dtype == np.uint8
    assert sheet.shape[1] == 4 * (256 + 10) + 10  # the widest cell is twice as wide as high
    assert sheet.shape[0] == 30 + (128 + 34) + (128 + 34) + (2 + 34) + 62
    assert tuple(sheet[-1, -1]) == (255, 255, 255)
    found = {tuple(colour) for colour in np.unique(sheet.reshape(-1, 3), axis=0)}
    assert {pictures.CORRECT, pictures.WRONG_CLASS, *PALETTE[1:]} <= found
    assert panel(rows[:1], PALETTE, CLASSES).shape[1] == 4 * (512 + 10) + 10


def test_panel_row_shows_input_truth_prediction_errors():
    image, truth = np.full((64, 64, 3), 200, np.uint8), square((64, 64))
    sheet = panel([(image, truth, np.zeros_like(truth), "x")], PALETTE[:2], CLASSES[:2], height=64)
    row, first, step = 30 + 24 + 20, 10 + 20, 64 + 10
    inside = [tuple(sheet[row, first + place * step]) for place in range(4)]
    assert inside == [(200, 200, 200), (200, 120, 120), (200, 200, 200), pictures.MISSED]
    assert tuple(sheet[30 + 24 + 5, first + 3 * step]) == (100, 100, 100)


def test_contact_sheet():
    images = [np.full((50, 100, 3), value, np.uint8) for value in (10, 20, 30)]
    sheet = contact_sheet(images, columns=2, side=40)
    assert sheet.shape == (2 * 50 + 10, 2 * 50 + 10, 3)
    assert [int(sheet[y, x, 0]) for y, x in ((30, 30), (30, 80), (80, 30), (80, 80), (12, 30))] == [10, 20, 30, 255, 255]


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
    code = "import sys, segexp.pictures; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
