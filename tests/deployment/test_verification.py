"""Agreement by hand: sizes, batches, differences, and what they mean."""

import math

import numpy as np
import pytest
import torch

from segexp.data.labels.modes import MULTICLASS, MULTILABEL
from segexp.deployment import verification as latency
from segexp.deployment.verification import (
    BATCHES,
    Agreement,
    Latency,
    compare_classes,
    compare_probabilities,
    describe_disagreement,
    make_batch,
    measure_agreements,
    sizes_around,
    time_alternately,
)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((256, 256), [(256, 256), (193, 193), (336, 336)]),
        ((100, 333), [(96, 320), (75, 249), (128, 416)]),
        ((20, 40), [(32, 32), (17, 31), (48, 48)]),
    ],
)
def test_one_size_about_that_of_training_an_odd_one_and_a_larger_one(size, expected):
    assert sizes_around(size) == expected


def test_pictures_are_cut_in_the_middle_or_mirrored():
    row = np.arange(4, dtype=np.uint8)[None, :, None]
    assert make_batch([row], 1, 1, 2)[0, 0, :, 0].tolist() == [1, 2]
    assert make_batch([row], 1, 1, 11)[0, 0, :, 0].tolist() == [0, 1, 2, 3, 2, 1, 0, 1, 2, 3, 2]
    assert make_batch([row], 1, 3, 4)[0, :, :, 0].tolist() == [[0, 1, 2, 3]] * 3, "of one pixel there are but copies"
    assert make_batch([row[:, :2]], 1, 1, 5)[0, 0, :, 0].tolist() == [0, 1, 0, 1, 0]


def test_mirroring_is_numpys_reflection_at_the_end():
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 2), np.uint8)
    expected = np.pad(image, ((0, 12), (0, 20), (0, 0)), mode="reflect")
    np.testing.assert_array_equal(make_batch([image], 1, 17, 27)[0], expected)


def test_a_batch_takes_the_pictures_in_turns():
    pictures = [np.full((4, 4, 1), value, np.uint8) for value in (5, 9)]
    assert make_batch(pictures, 3, 4, 4)[:, 0, 0, 0].tolist() == [5, 9, 5]
    assert make_batch(pictures, 1, 2, 2).shape == (1, 2, 2, 1)


def test_the_largest_difference_and_the_changed_pixels():
    one = torch.tensor([[[[0.9, 0.6]], [[0.1, 0.4]]]])
    other = torch.tensor([[[[0.8, 0.45]], [[0.2, 0.55]]]])
    found = compare_probabilities(one, other, MULTICLASS)
    assert (found.batch, found.height, found.width, found.changed, found.pixels) == (1, 1, 2, 1, 2)
    assert found.largest == pytest.approx(0.15)
    assert compare_probabilities(one, one, MULTICLASS) == Agreement(1, 1, 2, 0.0, 0, 2)


def test_sets_of_classes_are_compared_as_sets():
    one = torch.tensor([[[[0.1]], [[0.9]], [[0.4]]]])
    other = torch.tensor([[[[0.1]], [[0.9]], [[0.6]]]])
    assert compare_probabilities(one, other, MULTILABEL).changed == 1
    assert compare_probabilities(one, other, MULTICLASS).changed == 0


def test_classes_alone_have_no_difference_of_probabilities():
    found = compare_classes(np.array([[[0, 1, 2]]]), np.array([[[0, 2, 2]]]))
    assert math.isnan(found.largest)
    assert (found.changed, found.pixels) == (1, 3)


def test_every_size_with_every_batch():
    seen = []

    def both(batch, height, width):
        seen.append((batch, height, width, torch.is_inference_mode_enabled()))
        return Agreement(batch, height, width, 0.0, 0, 1)

    found = measure_agreements([(32, 32), (17, 19)], both)
    assert seen == [(batch, *size, True) for size in ((32, 32), (17, 19)) for batch in BATCHES]
    assert [each.batch for each in found] == [1, 3, 1, 3]


def test_what_a_float_export_may_differ_by():
    sound = Agreement(1, 32, 32, 1e-4, 0, 50_000)
    assert describe_disagreement([sound]) == ""
    assert describe_disagreement([sound, Agreement(3, 17, 19, 2e-4, 0, 50_000)]) == (
        "a probability differs by 0.0002 (at 3 x 17x19), more than the 0.0001 that a float export may"
    )
    nan = float("nan")
    assert describe_disagreement([Agreement(1, 9, 9, nan, 1, 100_000)]) == "", "one pixel in 100,000"
    assert describe_disagreement([Agreement(1, 9, 9, nan, 2, 100_000)]) == (
        "2e-05 of the pixels have another class, more than the 1e-05 that a float export may change"
    )
    assert "have another class" in describe_disagreement([sound, Agreement(1, 9, 9, 1e-6, 3, 1000)]), "over all sizes together"


def test_what_is_no_number_is_no_agreement():
    sound = torch.full((1, 2, 2, 2), 0.5)
    broken = sound.clone()
    broken[0, 0, 1, 1] = float("nan")
    found = compare_probabilities(sound, broken, MULTICLASS)
    assert found.largest == math.inf
    assert (
        describe_disagreement([compare_probabilities(sound, sound, MULTICLASS), found])
        == "a probability is no number (at 1 x 2x2)"
    )


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until something takes time."""
    now = [0.0]
    monkeypatch.setattr(latency.time, "perf_counter", lambda: now[0])
    return now


def test_median_and_95th_percentile_of_each_in_milliseconds(clock, monkeypatch):
    monkeypatch.setattr(latency, "FEWEST", 4)
    monkeypatch.setattr(latency, "MOST", 50)
    order = []

    def taking(name, seconds):
        left = [0.0, 0.0, *seconds]

        def call():
            assert torch.is_inference_mode_enabled()
            order.append(name)
            clock[0] += left.pop(0)

        return call

    one, two = time_alternately([taking("a", [0.1, 0.2, 0.3, 0.4]), taking("b", [1.0, 1.0, 1.0, 5.0])], seconds=0.5)
    assert (one.median, one.rounds) == (pytest.approx(250), 4)
    assert one.p95 == pytest.approx(385)
    assert (two.median, two.p95) == (pytest.approx(1000), pytest.approx(4400))
    assert order == ["a", "a", "b", "b", *["a", "b"] * 4], "after two calls each they take turns"


def test_as_many_rounds_as_the_time_allows_and_no_more(clock, monkeypatch):
    def slow():
        clock[0] += 0.1

    monkeypatch.setattr(latency, "MOST", 50)
    (found,) = time_alternately([slow], seconds=2.05)
    assert found.rounds in range(20, 23)
    (most,) = time_alternately([lambda: None], seconds=1.0)
    assert most.rounds == 50


def test_plain_values():
    assert Latency(1.5, 2.0, 7).as_dict() == {"median": 1.5, "p95": 2.0, "rounds": 7}
