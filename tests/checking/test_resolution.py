"""Resolution, crops and repeats from the sizes of pictures and the thickness of what is in them."""

import cv2
import numpy as np
import pytest

from segexp.checking.objects import thickness, typical
from segexp.checking.resolution import resolution


def stripes(width, step=64, size=(512, 512)):
    mask = np.zeros(size, np.uint8)
    for start in range(step // 2, size[1], step):
        mask[:, start : start + width] = 1
    return mask


@pytest.mark.parametrize("width", [4, 8, 20])
def test_a_stripe_is_as_thick_as_it_is(width):
    assert thickness(stripes(width)) == {1: pytest.approx(width, rel=0.3)}


def test_a_disc_is_two_thirds_of_its_diameter():
    disc = cv2.circle(np.zeros((300, 300), np.uint8), (150, 150), 90, 1, -1)
    assert thickness(disc)[1] == pytest.approx(120, rel=0.05)


def test_a_large_mask_is_measured_small_and_told_in_its_own_pixels():
    large = cv2.resize(stripes(16), None, fx=5, fy=5, interpolation=cv2.INTER_NEAREST)
    assert thickness(large)[1] == pytest.approx(80, rel=0.1)


def test_ignored_pixels_and_background_have_no_thickness():
    mask = stripes(8)
    mask[:100] = 255
    assert set(thickness(mask)) == {1}
    assert thickness(np.zeros((20, 20), np.uint8)) == {}
    assert thickness(np.full((20, 30), 2, np.uint8)) == {2: 20}


def test_the_typical_thickness_is_the_median_over_masks():
    two = stripes(30)
    two[two == 1] = 2
    found = typical([stripes(4), stripes(8), stripes(20), two])
    assert found[1] == pytest.approx(thickness(stripes(8))[1])
    assert list(found) == [1, 2]


def choice(sizes, training=100, **widths):
    made = resolution(sizes, widths, training)
    return made.size, made.crop, made.repeat


def test_small_pictures_stay_as_they_are():
    assert choice([(256, 320)] * 3, thing=10.0) == (None, None, 1)
    assert choice([(256, 320)] * 3) == (None, None, 1)


def test_thick_things_are_seen_in_a_small_picture():
    assert choice([(512, 512)], liver=70.0) == (256, None, 1)
    assert choice([(3000, 4000)], lesion=500.0) == (256, None, 1)


def test_thin_things_keep_the_resolution_of_middling_pictures():
    assert choice([(512, 512)], membrane=8.0) == (None, 256, 4)
    assert choice([(512, 600)], membrane=2.0, cell=90.0) == (None, 256, 5)


def test_large_pictures_shrink_as_far_as_the_thinnest_class_allows():
    assert choice([(2000, 2000)], road=13.0) == (0.5, 256, 15)
    assert choice([(2000, 2000)], road=7.0) == (None, 256, 16)
    assert choice([(9000, 9000)], road=40.0, house=90.0) == (0.25, 256, 16)


def test_a_crop_fits_into_the_pictures():
    assert choice([(100, 3000)], wire=3.0) == (None, 96, 16)
    assert choice([(50, 3000)], wire=3.0) == (None, 50, 16)
    assert choice([(254, 1000), (900, 1000)], wire=3.0)[1] == 256


def test_few_pictures_are_repeated_until_they_fill_a_batch():
    assert choice([(256, 256)], training=3, thing=40.0) == (None, None, 3)
    assert choice([(512, 512)], training=1, membrane=5.0) == (None, 256, 8)
    assert choice([(256, 256)], training=0, thing=40.0)[2] == 8


def test_each_choice_has_a_reason_with_the_numbers():
    made = resolution([(512, 512)], {"membrane": 8.0, "cell": 80.0}, 30)
    assert made.size_reason == "membrane, 8 of 512 pixels thick, would be lost in a smaller picture"
    assert "4.0 cover a picture" in made.repeat_reason
    whole = resolution([(512, 512)], {"liver": 69.0}, 3)
    assert "still 34 pixels thick" in whole.size_reason
    assert whole.repeat_reason == "3 training pictures are less than a batch of 8"
