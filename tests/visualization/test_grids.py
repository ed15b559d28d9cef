"""Panels and contact sheets: their sizes and what is where."""

import numpy as np

from segexp import visualization
from segexp.visualization import contact_sheet, dice_text, panel, triptych

PALETTE = [(0, 0, 0), (200, 0, 0), (0, 100, 250)]
CLASSES = ["background", "liver", "tumour"]


def square(size=(40, 60), value=1):
    mask = np.zeros(size, np.uint8)
    mask[10:30, 10:30] = value
    return mask


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
    assert {visualization.CORRECT, visualization.WRONG_CLASS, *PALETTE[1:]} <= found
    assert panel(rows[:1], PALETTE, CLASSES).shape[1] == 4 * (512 + 10) + 10


def test_panel_row_shows_input_truth_prediction_errors():
    image, truth = np.full((64, 64, 3), 200, np.uint8), square((64, 64))
    sheet = panel([(image, truth, np.zeros_like(truth), "x")], PALETTE[:2], CLASSES[:2], height=64)
    row, first, step = 30 + 24 + 20, 10 + 20, 64 + 10
    inside = [tuple(sheet[row, first + place * step]) for place in range(4)]
    assert inside == [(200, 200, 200), (200, 120, 120), (200, 200, 200), visualization.MISSED]
    assert tuple(sheet[30 + 24 + 5, first + 3 * step]) == (100, 100, 100)


def test_contact_sheet():
    images = [np.full((50, 100, 3), value, np.uint8) for value in (10, 20, 30)]
    sheet = contact_sheet(images, columns=2, side=40)
    assert sheet.shape == (2 * 50 + 10, 2 * 50 + 10, 3)
    assert [int(sheet[y, x, 0]) for y, x in ((30, 30), (30, 80), (80, 30), (80, 80), (12, 30))] == [10, 20, 30, 255, 255]


def test_triptych():
    image, truth = np.full((64, 64, 1), 200, np.uint8), square((64, 64))
    sheet = triptych(image, truth, np.roll(truth, 20, axis=1), PALETTE[:2], CLASSES[:2], "x", height=64)
    column = 120 + 10  # narrow pictures stand in the middle of a column
    assert sheet.shape == (30 + 64 + 34 + 38, 3 * column + 10, 3)
    row, first = 30 + 24 + 20, 10 + 28 + 20
    assert [tuple(sheet[row, first + place * column]) for place in range(3)] == [(200,) * 3, (200, 120, 120), (200,) * 3]
    assert tuple(sheet[row, first + 2 * column + 20]) == (200, 120, 120)


def test_triptych_without_truth():
    image = np.zeros((40, 60, 3), np.uint8)
    sheet = triptych(image, None, square(), PALETTE, CLASSES, "a name", height=80)
    assert sheet.shape == (30 + 80 + 34 + 38, 2 * (120 + 10) + 10, 3)
    ribbon = triptych(np.zeros((8, 1000, 1), np.uint16), None, np.zeros((8, 1000), np.uint8), PALETTE, CLASSES)
    assert ribbon.shape[:2] == (30 + 6 + 34 + 38, 2 * (768 + 10) + 10)


def test_triptych_says_what_is_ignored():
    truth = square()
    plain = triptych(np.zeros((40, 60, 1), np.uint8), truth, truth, PALETTE, CLASSES)
    truth[:5] = 255
    hatched = triptych(np.zeros((40, 60, 1), np.uint8), truth, square(), PALETTE, CLASSES)
    gray = (np.array(visualization.IGNORED[0]) == hatched[-30:]).all(-1).sum()
    assert gray > 100 > (np.array(visualization.IGNORED[0]) == plain[-30:]).all(-1).sum()


def test_title_score_of_overlapping_classes():
    truth, prediction = square(value=3), square(value=1)
    prediction[10:20, 10:30] = 3
    assert dice_text(truth, prediction, overlapping=True) == "Dice 0.833", "the mean of 1 and 2 * 200 / 600"
    truth[:12] = 255
    assert dice_text(truth, truth & 127, overlapping=True) == "Dice 1.000"
    assert dice_text(truth * 0, prediction, overlapping=True) == "no foreground, 400 px of false alarm"


def test_sheets_of_overlapping_classes():
    image, truth = np.full((64, 64, 3), 200, np.uint8), square((64, 64))
    truth[15:25, 15:25] = 3
    sheet = panel([(image, truth, truth & 1, "x")], PALETTE, CLASSES, height=64, overlapping=True)
    row, first, step = 30 + 24 + 20, 10 + 20, 64 + 10
    inside = [tuple(sheet[row, first + place * step]) for place in range(4)]
    assert inside == [(200, 200, 200), (120, 112, 172), (200, 120, 120), visualization.MISSED]
    assert tuple(sheet[30 + 24 + 12, first + 3 * step]) == visualization.CORRECT
    three = triptych(image, truth, truth & 1, PALETTE, CLASSES, height=64, overlapping=True)
    assert (three == np.array(PALETTE[2])).all(axis=2).sum() > 30, "the line of the inner class, and the legend"
    assert tuple(three[30 + 24 + 20, 120 + 20 + (120 - 64) // 2 + 20]) == (120, 112, 172)
