"""The overfit test: a network that can learn does so in seconds, and one that cannot is told what to look at."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fixtures.configs import data_config, train_config
from segexp.checks.issues import CaseFacts, Examination
from segexp.checks.run import run_checks
from segexp.config.composition import compose, to_plain
from segexp.config.schema import CheckConfig, TrainConfig
from segexp.config.validation import validate
from segexp.data.statistics import DecodedCase
from segexp.errors import DataError
from segexp.training.overfit_test import (
    SIDES,
    OverfitPoint,
    OverfitResult,
    choose_cases,
    choose_image_side,
    describe_result,
    overfit_window,
    pooled_dice,
    run_overfit_test,
)
from segexp.types import Case, Source


@pytest.fixture
def config(small):
    """The training of a composed configuration of the check on the small slices, with more typed."""

    def made(*more):
        values = to_plain(compose("check", [*small, "optimizer.lr=0.01", *more]))
        others = set(CheckConfig.model_fields) - set(TrainConfig.model_fields)
        return validate({key: value for key, value in values.items() if key not in others})

    return made


@pytest.fixture(scope="module")
def cases(slices):
    from segexp.data.layout.pairing import find_cases

    found = find_cases(slices, "{split}/{id}.png", "{split}/{id}_mask.png")
    return [case for case in found if case.split == "train"][:4]


@pytest.mark.slow
def test_a_small_network_learns_four_pictures_by_heart(config, cases):
    told = []
    state = torch.random.get_rng_state()
    found = run_overfit_test(config("data.crop=48"), cases, told.append, seconds=60)
    assert found.learned
    assert not found.silent
    assert found.cases == tuple(case.id for case in cases)
    assert tuple(told) == found.moments
    assert [moment.step for moment in found.moments] == sorted({moment.step for moment in found.moments})
    assert found.moments[-1].loss < found.moments[0].loss
    assert found.dice == pytest.approx(found.moments[-1].dice, abs=0.02)
    assert found.picture.shape[0] > 4 * 100
    assert found.picture.std() > 10
    text = describe_result(found, config())
    assert text.startswith("The network learned four images to Dice 0.")
    assert text.endswith("s: learning works.")
    torch.random.set_rng_state(state)


@pytest.mark.slow
def test_time_ends_what_does_not_learn(config, cases):
    values = config(
        "optimizer.lr=1e-9", "model=unetpp", "loss=focal_dice", "trainer.precision=32", "trainer.gradient_clip_val=null"
    )
    found = run_overfit_test(values, cases, seconds=3)
    assert not found.learned
    assert found.moments[-1].seconds < 20
    assert f"after {found.moments[-1].step} steps" in describe_result(found, values)


@pytest.mark.slow
def test_one_picture_is_enough_and_one_class_is_not(config, cases, tmp_path):
    assert len(run_overfit_test(config(), cases[:1], seconds=2).cases) == 1
    from segexp.data.io.images import write_png

    write_png(tmp_path / "empty.png", np.zeros((64, 64), np.uint8))
    blank = [Case("x", cases[0].image, (Source(tmp_path / "empty.png"),))]
    with pytest.raises(DataError, match="Every mask of the 1 chosen images is all one value"):
        run_overfit_test(config(), blank, seconds=2)


def examined(*shares, split="train"):
    cases = [Case(f"c{n}", Source(f"c{n}.png"), ()) for n in range(len(shares))]
    facts = {
        f"c{n}": CaseFacts(f"c{n}", (10, 10), 1, "uint8", 0, 1, {}, (1 - share, share) if share is not None else ())
        for n, share in enumerate(shares)
    }
    return Examination(data_config(root="/there"), "", cases, dict.fromkeys(facts, split), facts)


def test_the_pictures_with_most_foreground_are_chosen():
    assert [case.id for case in choose_cases(examined(0.1, 0.0, 0.3, 0.5, None, 0.2, 0.9, 0.05))] == ["c3", "c2", "c5", "c0"]
    assert [case.id for case in choose_cases(examined(0.0, 0.7))] == ["c1"]


@pytest.mark.parametrize(("found", "count"), [(examined(0.0, 0.0), 2), (examined(0.5, split="val"), 0), (examined(None), 1)])
def test_without_foreground_there_is_nothing_to_learn(found, count):
    with pytest.raises(DataError) as caught:
        choose_cases(found)
    assert str(caught.value) == (
        f"None of the {count} readable training cases of /there has a pixel of foreground. fit=true lets the network learn the "
        "pictures with most foreground. Look at the masks, and at which values data.classes gives to which class; the first "
        "class is the background."
    )


def test_the_choice_takes_the_examination_as_it_is(slices):
    where = {"root": str(slices), "image": "{split}/{id}.png", "mask": "{split}/{id}_mask.png"}
    data = data_config(where, classes={"background": 0, "liver": 255}, channels=1)
    found = choose_cases(run_checks(data, alignment=False))
    assert len(found) == 4
    assert {case.split for case in found} == {"train"}


def picture(size=(100, 160)):
    mask = np.zeros(size, np.uint8)
    mask[60:90, 100:150] = 1
    mask[0, 0] = 255
    return DecodedCase(np.arange(size[0] * size[1], dtype=np.uint16).reshape(*size, 1), mask)


def test_a_crop_lies_where_foreground_fills_half_of_it():
    part = overfit_window(picture(), (40, 40), 64)
    assert part.image.shape == (40, 40, 1)
    assert (part.mask == 1).mean() == pytest.approx(0.5, abs=0.05)
    assert np.array_equal(part.image[..., 0] // 160 >= 20, np.ones((40, 40), bool))
    assert overfit_window(picture(), (400, 400), 32).mask.shape == (32, 32)
    assert overfit_window(picture(), (400, 400), 256).mask.shape == (100, 160)


def test_a_whole_picture_becomes_three_times_smaller_at_most():
    assert overfit_window(picture(), None, 256).mask.shape == (100, 160)
    assert overfit_window(picture(), None, 80).mask.shape == (50, 80)
    assert overfit_window(picture((1000, 1600)), None, 128).mask.shape == (128, 128)
    part = overfit_window(picture((1000, 1600)), None, 128)
    assert part.image.shape[:2] == part.mask.shape


def test_the_mask_of_a_reader_takes_the_size_of_the_image():
    wide = picture()
    part = overfit_window(DecodedCase(wide.image[::2, ::2], wide.mask), None, 256)
    assert part.mask.shape == (50, 80)


def test_pictures_are_as_large_as_the_time_allows():
    network = torch.nn.Conv2d(1, 2, 3, padding=1)
    spec = SimpleNamespace(channels=1)
    from segexp.inference.segmenter import Segmenter

    segmenter = Segmenter(network, None, spec)
    before = [parameter.clone() for parameter in network.parameters()]

    def make(trained):
        return torch.optim.SGD(trained.parameters(), 0.1)

    assert choose_image_side(segmenter, make, 2, 1e6)[0] == SIDES[0]
    side, seconds = choose_image_side(segmenter, make, 2, 0.0)
    assert side == SIDES[-1]
    assert seconds > 0
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
    assert all(parameter.grad is None for parameter in network.parameters())


def test_the_dice_leaves_out_classes_of_a_few_pixels():
    matrix = np.array([[[900, 0, 0], [20, 80, 0], [1, 0, 0]]])
    assert pooled_dice(matrix) == pytest.approx(2 * 80 / (100 + 80))
    both = np.array([[[900, 0, 0], [0, 80, 20], [0, 0, 50]]])
    assert pooled_dice(both) == pytest.approx((2 * 80 / 180 + 2 * 50 / 120) / 2)
    assert pooled_dice(np.array([[[9, 1], [0, 0]]])) == 0.0


def outcome(dice, losses=(1.0, 0.2), steps=200, silent=False, count=4):
    moments = (OverfitPoint(10, 3.0, losses[0], 0.1), OverfitPoint(steps, 40.4, losses[1], dice))
    return OverfitResult(tuple("abcd")[:count], 128, moments, dice, silent, np.zeros((1, 1, 3), np.uint8))


NETWORK = {"_target_": "segexp.models.UNet", "in_channels": 1, "num_classes": 2}


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (outcome(0.97), "The network learned four images to Dice 0.97 in 40 s: learning works."),
        (outcome(0.8, count=1), "The network learned one image to Dice 0.80 in 40 s: learning works."),
        (
            outcome(0.5, steps=20, count=2),
            "two images: Dice 0.50 after 20 steps in 40 s, 0.8 was expected. Only 20 steps fitted",
        ),
        (
            outcome(0.5, (1.0, 0.99), count=3),
            "three images: Dice 0.50 after 200 steps in 40 s, 0.8 was expected. The loss did not",
        ),
        (outcome(0.0, silent=True), "Nothing but background is predicted: type loss=ce_dice"),
        (outcome(0.6), "Look at the picture: is the truth in it what you expect? Objects of a pixel or two"),
        (outcome(0.6, (1.0, float("nan"))), "The loss did not fall (1 to nan): type another optimizer.lr than 0.001"),
    ],
)
def test_the_verdict_says_what_to_look_at(found, text):
    assert text in describe_result(found, train_config({"model": NETWORK | {"width": 16}}))


@pytest.mark.parametrize(
    ("model", "advice"),
    [({"width": 64}, "model.width=32"), ({"width": 8}, "a smaller model"), ({"encoder": "resnet34"}, "a smaller model")],
)
def test_too_few_steps_ask_for_less_than_there_is(model, advice):
    text = describe_result(outcome(0.5, steps=20), train_config({"model": NETWORK | model}))
    assert f"into the time: type {advice}, a smaller data.size" in text


def test_without_a_background_all_classes_are_learned():
    matrices = np.array([[[60, 20], [0, 20]]])
    assert pooled_dice(matrices, first=0) == pytest.approx((120 / 140 + 40 / 60) / 2)
    assert pooled_dice(matrices) == pytest.approx(40 / 60)
