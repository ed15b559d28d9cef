"""Crops around the foreground: where they lie, how often, and that nothing changes without them."""

import numpy as np
import pytest

from segexp.data.augment import Augment
from segexp.data.crop import Foreground, cut
from segexp.labelling import OVERLAPPING


def places(height=60, width=80):
    """An image whose two channels are the row and the column of each pixel."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns], axis=2).astype(np.uint8)


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture
def mask():
    """Class 1 in one pixel, class 2 in a large square, some of it ignored."""
    made = np.zeros((60, 80), np.uint8)
    made[10:50, 10:50] = 2
    made[20:30, 20:30] = 255
    made[55, 75] = 1
    return made


def test_every_class_is_drawn_as_often_as_another_and_each_of_its_pixels_too(mask):
    foreground, generator = Foreground(mask), rng()
    drawn = [foreground.draw(mask, 1.0, generator) for _ in range(4000)]
    classes = np.array([mask[place] for place in drawn])
    assert set(classes) == {1, 2}
    assert abs((classes == 1).mean() - 0.5) < 0.03
    rows, columns = np.array([place for place in drawn if mask[place] == 2]).T
    assert {rows.min(), columns.min()} == {10}
    assert {rows.max(), columns.max()} == {49}
    allowed = np.argwhere(mask == 2)
    assert abs(rows.mean() - allowed[:, 0].mean()) < 1.5
    assert abs(columns.mean() - allowed[:, 1].mean()) < 1.5


def test_every_pixel_can_be_drawn():
    mask = np.zeros((5, 7), np.uint8)
    mask[0, 0] = mask[2, 3] = mask[2, 6] = mask[4, 6] = 1
    foreground, generator = Foreground(mask), rng()
    drawn = {foreground.draw(mask, 1.0, generator) for _ in range(200)}
    assert drawn == {(0, 0), (2, 3), (2, 6), (4, 6)}
    assert all(isinstance(number, int) for place in drawn for number in place)


def test_the_share_is_how_often_a_crop_is_laid_around_foreground(mask):
    foreground, generator = Foreground(mask), rng()
    drawn = [foreground.draw(mask, 0.33, generator) for _ in range(4000)]
    assert abs(np.mean([place is not None for place in drawn]) - 0.33) < 0.03
    assert all(foreground.draw(mask, 0.0, generator) is None for _ in range(50))


@pytest.mark.parametrize("value", [0, 255])
def test_without_foreground_nothing_is_drawn(value):
    mask = np.full((20, 20), value, np.uint8)
    assert Foreground(mask).draw(mask, 1.0, rng()) is None


def test_a_window_lies_around_the_pixel_as_far_as_the_image_goes(mask):
    def corner(around):
        image, _ = cut(places(), mask, (20, 30), 0, rng(), around)
        assert image.shape == (20, 30, 2)
        return tuple(int(value) for value in image[0, 0])

    assert corner((30, 40)) == (20, 25)
    assert corner((0, 0)) == (0, 0)
    assert corner((59, 79)) == (40, 50)
    image, _ = cut(places(), mask, (20, 30), 4, rng(), (30, 40))
    assert image.shape == (28, 38, 2)
    assert tuple(image[0, 0]) == (16, 21)  # the margin lies around the window


def test_a_window_larger_than_the_image_is_laid_at_random_as_before(mask):
    with_pixel, without = (cut(places(), mask, (100, 100), 0, rng(3), around) for around in ((5, 5), None))
    np.testing.assert_array_equal(with_pixel[0], without[0])
    assert (with_pixel[1] == 255).sum() >= 100 * 100 - 60 * 80


def test_the_crop_holds_the_pixel_and_depends_on_the_key_alone(mask):
    augment, foreground = Augment(crop=16), Foreground(mask)

    def draw(index):
        return augment(places(), mask, key=(0, 0, index), around=lambda r: foreground.draw(mask, 1.0, r))

    crops = [draw(index) for index in range(60)]
    assert all(((part == 1) | (part == 2)).any() for _, part in crops)
    assert 15 < sum((part == 1).any() for _, part in crops) < 45  # one pixel of 4800, in half of the crops
    for index in (0, 7):
        np.testing.assert_array_equal(draw(index)[0], crops[index][0])


def test_a_crop_that_is_laid_anywhere_is_the_one_of_before(mask):
    """A share that draws None leaves the rest of the sample's draws as they follow: the same place for the same draws."""
    augment = Augment(crop=16)
    plain = augment(places(), mask, key=(0, 0, 1))
    never = augment(places(), mask, key=(0, 0, 1), around=lambda _: None)
    np.testing.assert_array_equal(plain[0], never[0])
    np.testing.assert_array_equal(plain[1], never[1])


def test_a_pixel_of_an_overlapping_class_may_have_others():
    mask = np.zeros((60, 80), np.uint8)
    mask[10:50, 10:50] = 1
    mask[20:24, 20:24] = 3
    mask[30:40, 30:40] = 255
    foreground, generator = Foreground(mask, OVERLAPPING), rng()
    drawn = [foreground.draw(mask, 1.0, generator) for _ in range(2000)]
    found = np.array([mask[place] for place in drawn])
    assert set(found) == {1, 3}
    assert abs((found == 3).mean() - (0.5 + 0.5 * 16 / 1500)) < 0.04, "half of the draws are for the small class"
