"""Sets of classes in a byte."""

import numpy as np
import pytest

from segexp import bits

MASK = np.array([[0, 1, 2], [3, 127, 255]], np.uint8)


def test_a_class_is_where_its_bit_is_set_and_the_pixel_known():
    assert bits.has(MASK, 1).tolist() == [[False, True, False], [True, True, False]]
    assert bits.has(MASK, 2).tolist() == [[False, False, True], [True, True, False]]
    assert bits.has(MASK, 7).tolist() == [[False, False, False], [False, True, False]]


def test_a_layer_is_a_mask_of_two_classes():
    layer = bits.layer(MASK, 2)
    assert layer.tolist() == [[0, 0, 1], [1, 1, 255]]
    assert layer.dtype == np.uint8
    assert MASK[1, 2] == 255, "the mask is left as it is"


@pytest.mark.parametrize("count", range(1, bits.MOST + 1))
def test_layers_are_joined_again(count):
    mask = np.random.default_rng(count).integers(0, 1 << count, (9, 11), dtype=np.uint8)
    mask[2, 3:5] = 255
    assert np.array_equal(bits.joined([bits.layer(mask, k) for k in range(1, count + 1)]), mask)


def test_what_one_layer_ignores_all_do():
    cell, nucleus = np.array([[1, 1, 0]], np.uint8), np.array([[1, 255, 0]], np.uint8)
    assert bits.joined([cell, nucleus]).tolist() == [[3, 255, 0]]


def test_pixels_of_each_class_may_add_up_to_more_than_there_are():
    assert bits.pixels(MASK, 3).tolist() == [1, 3, 3]
    assert bits.pixels(MASK, 8).tolist() == [1, 3, 3, 1, 1, 1, 1, 1]
    assert bits.pixels(MASK, 200)[8:].tolist() == [0] * 192
    assert bits.pixels(np.full((2, 2), 255, np.uint8), 3).tolist() == [0, 0, 0]
