"""Flags: what of an image leaves the training's fingerprint."""

import numpy as np
import pytest

from segexp.checkpoint import load_segmenter
from segexp.inference.out_of_distribution import TrainingStats, image_flags

RNG = np.random.default_rng(3)


@pytest.fixture(scope="module")
def training(tmp_path_factory, make_trained_run):
    """What is known about the images of a network: made by keywords of `make_run`."""

    def known(**more):
        return TrainingStats.of(load_segmenter(make_trained_run(tmp_path_factory.mktemp("known") / "run", **more)))

    return known


def usual(height=40, width=48, channels=1):
    """An image as those of the fingerprint: mean 0.5, deviation 0.25."""
    return np.clip(RNG.normal(127, 64, (height, width, channels)), 0, 255).astype(np.uint8)


def test_an_ordinary_image_has_none(training):
    assert image_flags(usual(), training()) == ()
    assert image_flags(usual(channels=3), training(channels=3)) == ()


@pytest.mark.parametrize(
    ("image", "flag"),
    [
        (np.full((40, 48, 1), 30, np.uint8), "constant: every pixel has the same value"),
        (np.tile([120, 124], (40, 24)).astype(np.uint8)[..., None], "little contrast: deviation 0.0078, training 0.25"),
        (usual(129, 48), "large: 129 pixels high, training images 40 to 64"),
        (usual(40, 23), "small: 23 pixels wide, training images 48 to 64"),
        (usual(128, 24), ""),
        (usual(channels=3), "in colour, training images were gray"),
        (np.repeat(usual(), 3, axis=2), ""),
        (usual().astype(np.float32), "floating point values, training images were 8-bit"),
    ],
)
def test_single_flags(training, image, flag):
    assert image_flags(image, training()) == ((flag,) if flag else ())


def test_other_depths(training):
    deep = usual().astype(np.uint16) * 257
    assert image_flags(deep, training())[0] == "16-bit values, training images were 8-bit"
    assert image_flags(deep, training())[1].startswith("bright: mean 12")
    known = training(value_range=(0.0, 65535.0))
    assert image_flags(deep, known) == ()
    assert image_flags(usual(), known) == ("8-bit values, training images had a deeper type",)


def test_brightness_and_range(training):
    narrow = {"mean": [0.2], "std": [0.1], "low": [0.0], "high": [0.6], "p_low": [0.0], "p_high": [0.45], "sizes": {"40x48": 9}}
    known = training(fingerprint=narrow)
    dark = (usual() // 5).astype(np.uint8)
    assert image_flags(dark, known) == ()
    assert image_flags(255 - dark, known) == (f"bright: mean {(255 - dark).mean() / 255:.3g}, training 0.2 +- 0.1",)
    some = dark.copy()
    some[:, :15] = 130
    assert image_flags(some, known) == ("31% of the pixels are above 0.45, hardly any in training were",)


def test_gray_for_a_colour_network(training):
    known = training(channels=3)
    assert known.gray_as_colour, "equal means: the training images were gray"
    assert image_flags(usual(), known) == ()
    ends = {"p_low": [0.0] * 3, "p_high": [1.0] * 3, "low": [0.0] * 3, "high": [1.0] * 3}
    own = {"mean": [0.4, 0.5, 0.6], "std": [0.25] * 3, **ends}
    assert image_flags(usual(), training(channels=3, fingerprint=own)) == ("gray, training images were in colour",)


def test_a_checkpoint_without_fingerprint_flags_what_it_can(training):
    known = training(fingerprint={})
    assert image_flags(np.full((500, 500, 1), 9, np.uint8), known) == ("constant: every pixel has the same value",)
    assert image_flags(usual(500, 500) // 16, known) == ()
    assert not known.two_valued


def test_two_valued_training_images(training):
    binary = {"mean": [0.1], "std": [0.3], "low": [0.0], "high": [1.0], "p_low": [0.0], "p_high": [1.0]}
    assert training(fingerprint=binary).two_valued
    assert not training().two_valued


def test_hardly_any_image_of_the_real_sets_is_flagged(real_data):
    from segexp.data.io.images import read_image
    from segexp.data.statistics import DecodedCase, Statistics
    from segexp.types import Source

    for pattern in ("liver/train/???.png", "skin/ISIC-2017_Training_Data/*.jpg", "isbi/train/image/*.png"):
        images = [read_image(Source(path), 1) for path in sorted(real_data.glob(pattern))[::4]]
        assert images
        statistics = Statistics(1, 2)
        for image in images:
            statistics.add(DecodedCase(image, np.zeros(image.shape[:2], np.uint8)))
        found = vars(statistics.fingerprint())
        numbers = {key: np.array(found[key]) for key in ("mean", "std", "p_low", "p_high", "low", "high")}
        known = TrainingStats(1, (0.0, 255.0), **numbers, heights=(1, 10**4), widths=(1, 10**4))
        assert [image_flags(image, known) for image in images] == [()] * len(images)
        assert all(image_flags(255 - image, known) for image in images if pattern.startswith("liver"))
