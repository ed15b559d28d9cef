import json

import cv2
import numpy as np
import pytest
import torch

from segexp.data.preprocessing import Preprocessing, preprocessing_for, resize_image, resize_mask, to_unit, working_size
from segexp.errors import ConfigError, DataError
from segexp.types import Fingerprint

FOUND = Fingerprint(
    count=4, mean=[0.2, 0.5], std=[0.1, 0.0], low=[0.0, 0.5], high=[0.8, 0.5], p_low=[0.1, 0.5], p_high=[0.6, 0.5]
)
BYTES = (0.0, 255.0)


def chosen(normalize, channels=2, found=FOUND):
    return preprocessing_for(normalize, channels, None, BYTES, found)


def picture(dtype, channels, height=20, width=30, seed=0):
    rng = np.random.default_rng(seed)
    if dtype == np.float32:
        return rng.uniform(-2, 3, (height, width, channels)).astype(dtype)
    return rng.integers(0, np.iinfo(dtype).max, (height, width, channels), dtype=dtype, endpoint=True)


# Normalisation -----------------------------------------------------------------------------------------------------------


def test_dataset_takes_mean_and_deviation_and_only_centres_a_constant_channel():
    made = chosen("dataset")
    assert (made.mean, made.std) == ((0.2, 0.5), (0.1, 1.0))
    assert made.low is made.high is None
    unit = np.full((16, 16, 2), 0.5, np.float32)
    out = made.normalize(unit)
    assert out.shape == (2, 16, 16)
    assert out.dtype == torch.float32
    assert out.is_contiguous()
    torch.testing.assert_close(out[0], torch.full((16, 16), 3.0))
    torch.testing.assert_close(out[1], torch.zeros(16, 16))


def test_minmax_brings_the_extremes_to_zero_and_one_and_clips_nothing():
    made = chosen("minmax")
    out = made.normalize(np.array([[[0.0, 0.5], [0.8, 0.5], [1.6, 0.5]]], np.float32))
    torch.testing.assert_close(out[0, 0], torch.tensor([0.0, 1.0, 2.0]))


def test_percentile_clips_before_it_scales():
    made = chosen("percentile")
    out = made.normalize(np.array([[[0.0, 0.5], [0.1, 0.5], [0.35, 0.5], [0.6, 0.5], [1.0, 0.5]]], np.float32))
    torch.testing.assert_close(out[0, 0], torch.tensor([0.0, 0.0, 0.5, 1.0, 1.0]))


@pytest.mark.parametrize("mean", [0.5, [0.5, 0.5], (0.5, 0.5)])
def test_fixed_values_hold_for_all_channels_or_for_each(mean):
    made = chosen({"mean": mean, "std": 0.5})
    assert (made.mean, made.std) == ((0.5, 0.5), (0.5, 0.5))
    out = made.normalize(np.array([[[0.0, 1.0]]], np.float32))
    assert out.flatten().tolist() == [-1.0, 1.0]


def test_unknown_word_is_named_with_what_there_is():
    with pytest.raises(ConfigError) as caught:
        chosen("zscore")
    message = str(caught.value)
    assert message.startswith("data.normalize=zscore is not a normalisation.")
    assert "dataset, minmax, percentile" in message
    assert "data.normalize=dataset" in message


@pytest.mark.parametrize(
    ("fixed", "key"),
    [
        ({"std": 1.0}, "mean"),
        ({"mean": [0.1, 0.2, 0.3], "std": 1.0}, "mean"),
        ({"mean": "half", "std": 1.0}, "mean"),
        ({"mean": 0.5}, "std"),
        ({"mean": 0.5, "std": 0}, "std"),
        ({"mean": 0.5, "std": [1, -1]}, "std"),
        ({"mean": 0.5, "std": []}, "std"),
    ],
)
def test_unusable_fixed_values_say_which_key(fixed, key):
    with pytest.raises(ConfigError, match=f"has no usable {key}. A number, or a list of 2 numbers"):
        chosen(fixed)


@pytest.mark.parametrize("size", [None, 64, 0.5, (32, 48)])
@pytest.mark.parametrize("normalize", ["dataset", "minmax", "percentile", {"mean": 0.5, "std": 0.25}])
def test_a_checkpoint_gives_the_same_preprocessing_back(size, normalize):
    made = preprocessing_for(normalize, 2, size, (0.0, 4095.0), FOUND)
    plain = made.as_dict()
    assert all(isinstance(v, int | float | list | type(None)) for v in plain.values())
    assert Preprocessing.from_dict(plain) == made
    assert Preprocessing.from_dict(json.loads(json.dumps(plain))) == made


# Working size ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "own", "expected"),
    [
        (None, (37, 53), (37, 53)),
        (64, (100, 200), (32, 64)),
        (64, (200, 100), (64, 32)),
        (64, (48, 64), (48, 64)),
        (256, (100, 50), (256, 128)),  # grows as well
        (0.5, (101, 63), (50, 32)),
        (2.0, (20, 30), (40, 60)),
        ((40, 24), (100, 200), (40, 24)),
        ([40, 24], (100, 200), (40, 24)),
    ],
)
def test_working_size(size, own, expected):
    assert working_size(size, own) == expected


@pytest.mark.parametrize(("own", "longest"), [((481, 321), 128), ((97, 1031), 512), ((720, 1280), 320)])
def test_one_number_keeps_the_aspect_ratio(own, longest):
    height, width = working_size(longest, own)
    assert max(height, width) == longest
    assert abs(height / width / (own[0] / own[1]) - 1) < 0.5 / min(height, width) + 1e-9


def test_too_small_a_working_size_names_key_file_and_sizes():
    with pytest.raises(ConfigError) as caught:
        working_size(32, (40, 400), "scans/a.png")
    message = str(caught.value)
    assert message.startswith("data.size=32 makes scans/a.png (40x400, height x width) 3x32 pixels small.")
    assert "At least 16 pixels" in message
    assert "larger data.size" in message
    with pytest.raises(ConfigError, match=r"data\.size=null makes an image \(8x40"):
        working_size(None, (8, 40))


# Resizing ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("size", [(10, 15), (40, 45), (7, 50), (20, 30)])
def test_resizing_keeps_type_and_channels_apart(dtype, channels, size):
    image = picture(dtype, channels)
    out = resize_image(image, size)
    assert out.shape == (*size, channels)
    assert out.dtype == dtype
    for c in range(channels):  # each channel is what it would be alone, but for rounding
        alone = resize_image(image[..., c : c + 1], size)[..., 0]
        assert np.abs(out[..., c].astype(float) - alone).max() <= (1e-5 if dtype == np.float32 else 1)


def test_shrinking_averages_areas():
    image = np.array([[[0], [10], [100], [100]], [[20], [30], [100], [104]]], np.float32)
    np.testing.assert_allclose(resize_image(image, (1, 2))[..., 0], [[15, 101]], rtol=1e-6)


def test_growing_stays_within_the_values_there_were():
    image = picture(np.uint16, 3)
    out = resize_image(image, (61, 77))
    assert image.min() <= out.min()
    assert out.max() <= image.max()


def test_the_own_size_is_not_touched():
    image, mask = picture(np.uint8, 3), np.zeros((20, 30), np.uint8)
    assert resize_image(image, (20, 30)) is image
    assert resize_mask(mask, (20, 30)) is mask


@pytest.mark.parametrize("size", [(10, 10), (33, 47), (101, 99), (5, 200)])
def test_a_resized_mask_invents_no_class(size):
    mask = np.random.default_rng(1).choice(np.array([0, 3, 7, 255], np.uint8), (37, 41))
    out = resize_mask(mask, size)
    assert out.shape == size
    assert out.dtype == np.uint8
    assert set(np.unique(out)) <= {0, 3, 7, 255}


def test_image_and_mask_stay_on_top_of_each_other():
    mask = np.zeros((90, 120), np.uint8)
    cv2.circle(mask, (50, 40), 25, 1, -1)
    for size in ((45, 60), (31, 47), (180, 300)):
        soft = resize_image((mask * 255)[..., None], size)[..., 0] / 255
        hard = resize_mask(mask, size)
        rows, columns = np.indices(size)
        for axis in (rows, columns):  # at half the size, nearest is a quarter pixel off by its nature
            assert abs((axis * soft).sum() / soft.sum() - (axis * hard).sum() / hard.sum()) < 0.3


# Unit scale --------------------------------------------------------------------------------------------------------------


def test_bytes_are_divided_by_255_whatever_the_range():
    image = np.array([[[0], [51], [255]]], np.uint8)
    for value_range in ((0.0, 255.0), (0.0, 4095.0), (-1.0, 1.0)):
        np.testing.assert_allclose(to_unit(image, value_range)[0, :, 0], [0, 0.2, 1], rtol=1e-6)


def test_wide_types_go_by_the_range_of_the_training_images():
    np.testing.assert_allclose(to_unit(np.array([[[0], [1024], [4096]]], np.uint16), (0.0, 4096.0))[0, :, 0], [0, 0.25, 1])
    np.testing.assert_allclose(to_unit(np.array([[[-1], [1], [5]]], np.float32), (-1.0, 3.0))[0, :, 0], [0, 0.5, 1.5])
    constant = to_unit(np.full((2, 2, 1), 7, np.float32), (7.0, 7.0))
    assert np.isfinite(constant).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_unit_is_float32_and_leaves_the_picture_alone(dtype):
    image = picture(dtype, 3)
    before = image.copy()
    assert to_unit(image, (0.0, 1.0)).dtype == np.float32
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("dtype", [np.float64, np.int16, bool])
def test_other_types_are_refused(dtype):
    with pytest.raises(DataError, match=rf"An image has {np.dtype(dtype)} values\. uint8, uint16 or float32 were expected"):
        to_unit(np.zeros((2, 2, 1), dtype), (0.0, 1.0))


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_prepare_is_size_then_unit_then_normalisation(channels):
    made = Preprocessing(channels, 16, BYTES, mean=(0.5,) * channels, std=(0.25,) * channels)
    image = picture(np.uint8, channels, 24, 32)
    unit = cv2.resize(image[..., 0], (16, 16 * 24 // 32 + 4), interpolation=cv2.INTER_AREA)
    with pytest.raises(ConfigError, match="12x16"):
        made.prepare(image)
    made = Preprocessing(channels, (16, 16), BYTES, mean=(0.5,) * channels, std=(0.25,) * channels)
    out = made.prepare(image)
    assert out.shape == (channels, 16, 16)
    np.testing.assert_allclose(out[0].numpy(), (unit / 255 - 0.5) / 0.25, rtol=1e-5, atol=1e-6)
    assert made.prepare(image).equal(out)
