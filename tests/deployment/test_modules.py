"""The modules that are exported, before any export: what the segmenter gives, from the picture's bytes on."""

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from segexp.data.preprocessing import Preprocessing, resize_image, working_size
from segexp.deployment.modules import (
    AdaptivePool,
    NetworkModule,
    check_8bit,
    describe_excluded_steps,
    exportable_module,
    replace_adaptive_pools,
    resize_like_opencv,
    symbolic_max,
    working_size_symbolic,
)
from segexp.errors import ConfigError
from segexp.inference.postprocessing import Postprocessing

CLIPPED = {"low": (0.2,), "high": (0.7,), "mean": (0.2,), "std": (0.5,)}
KINDS = {
    "two classes": {},
    "three classes": {"classes": 3},
    "a threshold": {"rule": Postprocessing(0.3)},
    "overlapping": {"classes": 3, "overlapping": True},
    "clipped": CLIPPED,
    "colour": {"channels": 3, "mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.25)},
    "longest side": {"size": 40},
    "enlarged": {"size": 80},
    "a pair": {"size": (32, 48)},
    "half": {"size": 0.5},
    "five channels": {"channels": 5, "mean": (0.5,) * 5, "std": (0.25,) * 5},
}


def pictures(channels):
    return np.random.default_rng(3).integers(0, 256, (2, 57, 70, channels), np.uint8)


@pytest.mark.parametrize("kind", KINDS)
def test_the_segmenters_probabilities_and_classes(kind, segmenter):
    subject = segmenter(**KINDS[kind])
    given = pictures(subject.spec.channels)
    with torch.inference_mode():
        found = exportable_module(subject, returns="probabilities")(torch.from_numpy(given))
        classes = exportable_module(subject, returns="classes")(torch.from_numpy(given))
    expected = torch.stack([subject.probabilities(image) for image in given])
    torch.testing.assert_close(found, expected, atol=2e-6, rtol=1e-5)
    masks = np.stack([subject.classes(image) for image in given])
    assert classes.dtype == torch.uint8
    np.testing.assert_array_equal(classes.numpy(), masks)
    assert len(np.unique(masks)) > 1, "they tell something"


def test_overlapping_classes_above_a_threshold(segmenter):
    whole = exportable_module(segmenter(classes=3, overlapping=True), returns="classes")
    chances = torch.tensor([[0.1, 0.1], [0.9, 0.6], [0.4, 0.7]])[None, :, None]
    assert whole.classes(chances).tolist() == [[[1, 3]]]
    whole.threshold = 0.65
    assert whole.classes(chances).tolist() == [[[1, 2]]]


def test_the_segmenter_is_left_as_it_is(segmenter):
    subject = segmenter()
    before = {name: value.clone() for name, value in subject.network.state_dict().items()}
    subject.network.train()
    module = exportable_module(subject, "bf16")
    assert subject.network.training
    assert not module.training
    assert next(module.parameters()).dtype == torch.bfloat16
    assert all(torch.equal(value, before[name]) for name, value in subject.network.state_dict().items())


def test_half_the_bits_inside_and_float32_outside(segmenter):
    subject = segmenter()
    image = torch.randn(1, 1, 32, 32)
    with torch.inference_mode():
        found = NetworkModule(subject.network, torch.bfloat16)(image)
        assert found.dtype == torch.float32
        apart = (found - subject.network(image)).abs()
    assert 0 < apart.mean() < 0.02 * subject.network(image).abs().max()


def test_pictures_that_are_no_bytes():
    check_8bit(Preprocessing(1, value_range=(0.0, 255.0)))
    with pytest.raises(ConfigError) as caught:
        check_8bit(Preprocessing(1, value_range=(0.0, 4095.0)))
    assert str(caught.value) == (
        "include_preprocessing=true, and the run was trained on images of values from 0 to 4095, which are not 8-bit. A "
        "network of "
        "8-bit images was expected: the file would take bytes. Leave include_preprocessing out; the sidecar says how a "
        "picture is "
        "prepared."
    )


def test_steps_that_are_not_in_the_graph_are_said():
    assert describe_excluded_steps(Postprocessing(0.3)) == ""
    assert describe_excluded_steps(Postprocessing(0.3, 50, fill_holes=True)) == (
        "Not in the file, but in its sidecar: the post-processing components under 50 pixels dropped, holes filled"
    )


@pytest.mark.parametrize("out", [(1, 1), (2, 2), (3, 3), (6, 6), (3, 5), (None, 4), (7, None)])
@pytest.mark.parametrize("size", [(6, 6), (7, 5), (12, 31), (1, 3), (40, 40)])
def test_torchs_own_pooling(size, out):
    image = torch.randn(2, 3, *size)
    torch.testing.assert_close(AdaptivePool(*out)(image), nn.AdaptiveAvgPool2d(out)(image), atol=1e-6, rtol=1e-5)


def test_poolings_to_several_pixels_are_replaced_wherever_they_are():
    inner = nn.Sequential(nn.AdaptiveAvgPool2d(3), nn.Conv2d(2, 2, 1))
    network = nn.Sequential(nn.AdaptiveAvgPool2d((6, 5)), nn.ModuleDict({"deep": inner}), nn.AdaptiveAvgPool2d(1))
    assert replace_adaptive_pools(network) is network
    assert (network[0].height, network[0].width) == (6, 5)
    assert (inner[0].height, inner[0].width) == (3, 3)
    assert isinstance(inner[1], nn.Conv2d)
    assert isinstance(network[2], nn.AdaptiveAvgPool2d), "the mean of a whole map leaves torch as it is"


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
    found: np.ndarray = resize_like_opencv(given, *size)[0].permute(1, 2, 0).numpy()
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
            assert tuple(working_size_symbolic(size, height, width)) == expected, (height, width)
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
    assert working_size_symbolic(size, *own) == expected


def test_the_larger_side_of_a_trace_is_a_tensor():
    assert symbolic_max(torch.tensor(3), torch.tensor(5)).item() == 5
    assert symbolic_max(7, 5) == 7
