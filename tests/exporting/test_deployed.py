"""The modules that are exported, before any export: what the segmenter gives, from the picture's bytes on."""

import numpy as np
import pytest
import torch

from segexp.errors import ConfigError
from segexp.exporting.deployed import Bare, check_bytes, deployed, left_out
from segexp.postprocess import Postprocessing
from segexp.preprocessing import Preprocessing

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
        found = deployed(subject, returns="probabilities")(torch.from_numpy(given))
        classes = deployed(subject, returns="classes")(torch.from_numpy(given))
    expected = torch.stack([subject.probabilities(image) for image in given])
    torch.testing.assert_close(found, expected, atol=2e-6, rtol=1e-5)
    masks = np.stack([subject.classes(image) for image in given])
    assert classes.dtype == torch.uint8
    np.testing.assert_array_equal(classes.numpy(), masks)
    assert len(np.unique(masks)) > 1, "they tell something"


def test_overlapping_classes_above_a_threshold(segmenter):
    whole = deployed(segmenter(classes=3, overlapping=True), returns="classes")
    chances = torch.tensor([[0.1, 0.1], [0.9, 0.6], [0.4, 0.7]])[None, :, None]
    assert whole.classes(chances).tolist() == [[[1, 3]]]
    whole.threshold = 0.65
    assert whole.classes(chances).tolist() == [[[1, 2]]]


def test_the_segmenter_is_left_as_it_is(segmenter):
    subject = segmenter()
    before = {name: value.clone() for name, value in subject.network.state_dict().items()}
    subject.network.train()
    module = deployed(subject, "bf16")
    assert subject.network.training
    assert not module.training
    assert next(module.parameters()).dtype == torch.bfloat16
    assert all(torch.equal(value, before[name]) for name, value in subject.network.state_dict().items())


def test_half_the_bits_inside_and_float32_outside(segmenter):
    subject = segmenter()
    image = torch.randn(1, 1, 32, 32)
    with torch.inference_mode():
        found = Bare(subject.network, torch.bfloat16)(image)
        assert found.dtype == torch.float32
        apart = (found - subject.network(image)).abs()
    assert 0 < apart.mean() < 0.02 * subject.network(image).abs().max()


def test_pictures_that_are_no_bytes():
    check_bytes(Preprocessing(1, value_range=(0.0, 255.0)))
    with pytest.raises(ConfigError) as caught:
        check_bytes(Preprocessing(1, value_range=(0.0, 4095.0)))
    assert str(caught.value) == (
        "include_preprocessing=true, and the run was trained on images of values from 0 to 4095, which are not 8-bit. A "
        "network of "
        "8-bit images was expected: the file would take bytes. Leave include_preprocessing out; the sidecar says how a "
        "picture is "
        "prepared."
    )


def test_steps_that_are_not_in_the_graph_are_said():
    assert left_out(Postprocessing(0.3)) == ""
    assert left_out(Postprocessing(0.3, 50, fill_holes=True)) == (
        "Not in the file, but in its sidecar: the post-processing components under 50 pixels dropped, holes filled"
    )
