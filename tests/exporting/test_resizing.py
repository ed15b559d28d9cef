"""Resizing inside a graph against OpenCV, and working sizes against the preprocessing."""

import cv2
import numpy as np
import pytest
import torch

from segexp.errors import ConfigError
from segexp.exporting.resizing import larger, resized, working
from segexp.preprocessing import resize_image, working_size

SHRUNK = [
    ((64, 64), (32, 32)),  # exactly half, where OpenCV rounds halves up
    ((64, 96), (32, 24)),  # half and a quarter
    ((90, 120), (30, 40)),
    ((90, 120), (30, 60)),
    ((128, 128), (16, 16)),
    ((64, 64), (48, 48)),  # three quarters: means of just a half
    ((64, 80), (32, 80)),
    ((63, 65), (32, 32)),
    ((97, 131), (64, 64)),
    ((256, 192), (40, 30)),
    ((333, 500), (171, 256)),
    ((2001, 40), (2000, 40)),  # parts of a pixel below 1/1000 are left out
]
ENLARGED = [((40, 40), (64, 64)), ((49, 49), (56, 56)), ((31, 47), (100, 90)), ((60, 90), (66, 80)), ((64, 96), (96, 64))]
MIXED = [((64, 64), (16, 80)), ((80, 50), (40, 90))]


def graph(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    given = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    found: np.ndarray = resized(given, *size)[0].permute(1, 2, 0).numpy()
    return found


def noise(own: tuple[int, int], channels: int) -> np.ndarray:
    return np.random.default_rng(own[0] + channels).integers(0, 256, (*own, channels), np.uint8)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize(("own", "size"), SHRUNK + ENLARGED + MIXED)
def test_what_the_preprocessing_gives_to_the_last_bit(own, size, channels):
    image = noise(own, channels)
    np.testing.assert_array_equal(graph(image, size), resize_image(image, size))


@pytest.mark.parametrize(("own", "size"), SHRUNK)
def test_shrinking_is_opencvs_mean_over_the_area(own, size):
    image = noise(own, 1)
    expected = cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(graph(image, size)[..., 0], expected)


@pytest.mark.parametrize(("own", "size"), [((60, 72), (50, 60)), ((120, 120), (110, 110)), ((300, 300), (250, 250))])
def test_halves_that_float32_does_not_hold_may_be_another_by_one(own, size):
    image = noise(own, 1)
    apart = np.abs(graph(image, size) - resize_image(image, size).astype(float))
    assert apart.max() <= 1
    assert (apart > 0).mean() < 0.01


def test_the_size_stays_and_so_does_the_image():
    image = noise((37, 50), 3)
    np.testing.assert_array_equal(graph(image, (37, 50)), image)


def test_one_value_stays_one_value():
    for size in ((20, 31), (64, 80), (33, 17)):
        for value in (0, 1, 127, 255):
            assert np.unique(graph(np.full((40, 40, 1), value, np.uint8), size)).tolist() == [value]


@pytest.mark.parametrize("size", [64, 100, 255, 256, 0.15, 0.25, 0.3, 0.5, 0.7, 1 / 3, 1.0, 1.7, 2.0, (48, 64), None])
def test_the_working_size_is_that_of_the_preprocessing(size):
    told = 0
    for height in range(100, 400):
        for width in (100, 150, 200, 333, 512, height):
            try:
                expected = working_size(size, (height, width))
            except ConfigError:
                continue
            assert tuple(working(size, height, width)) == expected, (height, width)
            told += 1
    assert told > 1000


@pytest.mark.parametrize(
    ("size", "own", "expected"),
    [
        (100, (200, 25 * 3), (100, 38)),  # 37.5
        (100, (200, 73), (100, 36)),  # 36.5
        (0.5, (45, 47), (22, 24)),  # 22.5 and 23.5
        (0.3, (115, 135), (34, 40)),  # 34.5 and 40.5, of which floating point makes 34.5 and 40.49999
        (0.7, (45, 65), (32, 46)),  # 31.5 and 45.5
    ],
)
def test_halves_become_even(size, own, expected):
    assert working_size(size, own) == expected
    assert working(size, *own) == expected


def test_the_larger_side_of_a_trace_is_a_tensor():
    assert larger(torch.tensor(3), torch.tensor(5)).item() == 5
    assert larger(7, 5) == 7
