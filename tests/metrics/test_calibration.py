import math

import numpy as np
import pytest
import torch

from segexp.errors import ConfigError
from segexp.metrics.calibration import Calibration, pool_reliability, reliability


def two(p):
    """Probabilities (2, H, W) of which the second is `p`."""
    p = np.asarray(p, np.float32)
    return np.stack([1 - p, p])


def case(seed, shape=(20, 30), classes=3):
    """Truth with ignored rows, and probabilities that are somewhat right."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, shape).astype(np.uint8)
    logits = rng.standard_normal((classes, *shape)) * 2
    logits += 1.5 * (np.arange(classes)[:, None, None] == truth)
    truth[:2] = 255
    powers = np.exp(logits)
    return truth, (powers / powers.sum(axis=0)).astype(np.float32)


# By hand -----------------------------------------------------------------------------------------------------------------


def test_a_hand_computed_case():
    # Bin of 0.2: two pixels, none of the class; bin of 0.7: four pixels, three of the class; bin of 0.9: one, and right.
    p = [[0.2, 0.2, 0.7, 0.7, 0.7, 0.7, 0.9]]
    truth = np.array([[0, 0, 1, 1, 1, 0, 1]], np.uint8)
    found = Calibration(bins=10)(truth, truth, two(p), 2, None)
    assert found["ece"] == [pytest.approx((2 * 0.2 + 4 * abs(3 / 4 - 0.7) + 0.1) / 7)]
    assert found["brier"] == [pytest.approx((2 * 0.2**2 + 3 * 0.3**2 + 0.7**2 + 0.1**2) / 7)]


def test_the_reliability_diagram_of_the_same_case():
    counts = reliability(np.array([[0, 0, 1, 1, 1, 0, 1]], np.uint8), two([[0.2, 0.2, 0.7, 0.7, 0.7, 0.7, 0.9]]), bins=10)
    assert counts.pixels.tolist() == [[0, 0, 2, 0, 0, 0, 0, 4, 0, 1]]
    assert counts.hits.tolist() == [[0, 0, 0, 0, 0, 0, 0, 3, 0, 1]]
    confidence, share = counts.curve()
    np.testing.assert_allclose(confidence[0, [2, 7, 9]], [0.2, 0.7, 0.9], rtol=1e-6)
    np.testing.assert_allclose(share[0, [2, 7, 9]], [0, 0.75, 1])
    assert np.isnan(confidence[0, [0, 1, 3, 8]]).all()


@pytest.mark.parametrize(("p", "ece", "brier"), [(1.0, 0, 0), (0.0, 1, 1), (0.5, 0.5, 0.25)])
def test_one_pixel(p, ece, brier):
    found = Calibration()(np.array([[1]], np.uint8), None, two([[p]]), 2, None)
    assert found == {"ece": [ece], "brier": [brier]}


def test_probabilities_that_come_true_are_calibrated_and_guesses_are_not():
    rng = np.random.default_rng(0)
    p = rng.random((400, 400))
    truth = (rng.random(p.shape) < p).astype(np.uint8)
    assert Calibration()(truth, truth, two(p), 2, None)["ece"][0] < 0.01
    assert Calibration()(truth, truth, two(p**3), 2, None)["ece"][0] > 0.2


@pytest.mark.parametrize("bins", [1, 3, 5, 10, 15])
def test_each_edge_goes_to_the_upper_bin_and_one_to_the_last(bins):
    edges = np.arange(bins + 1) / bins
    counts = reliability(np.zeros((1, bins + 1), np.uint8), two([edges]), bins)
    assert counts.pixels[0].tolist() == [1] * (bins - 1) + [2]


def test_each_class_is_against_the_rest():
    truth, probabilities = case(0)
    found = Calibration()(truth, truth, probabilities, 3, None)
    for k in (1, 2):
        single = np.where(truth == 255, 255, truth == k).astype(np.uint8)
        alone = Calibration()(single, single, two(probabilities[k]), 2, None)
        assert alone == {"ece": [pytest.approx(found["ece"][k - 1])], "brier": [pytest.approx(found["brier"][k - 1])]}


def test_with_two_classes_brier_is_half_of_the_sum_over_both():
    truth, probabilities = case(1, classes=2)
    known = truth != 255
    both = sum(np.square(probabilities[k][known] - (truth[known] == k)) for k in (0, 1)).mean()
    assert Calibration()(truth, truth, probabilities, 2, None)["brier"][0] == pytest.approx(both / 2)


# Empty, ignored ----------------------------------------------------------------------------------------------------------


def test_a_class_that_is_not_there_is_judged_by_the_false_certainty():
    found = Calibration()(np.zeros((4, 4), np.uint8), None, two(np.full((4, 4), 0.3)), 2, None)
    assert found == {"ece": [pytest.approx(0.3)], "brier": [pytest.approx(0.09)]}


def test_ignored_pixels_do_not_count():
    truth, probabilities = case(2)
    other = probabilities.copy()
    other[:, truth == 255] = 1 / 3
    assert Calibration()(truth, truth, probabilities, 3, None) == Calibration()(truth, truth, other, 3, None)


def test_without_known_pixels_or_without_probabilities_there_is_no_number():
    nothing = np.full((3, 3), 255, np.uint8)
    for found in (
        Calibration()(nothing, nothing, two(np.full((3, 3), 0.3)), 2, None),
        Calibration()(np.ones((3, 3), np.uint8), nothing, None, 2, None),
    ):
        assert all(math.isnan(value) for values in found.values() for value in values)
        assert {len(values) for values in found.values()} == {1}


@pytest.mark.parametrize("bins", [0, -3])
def test_bins_that_cannot_be(bins):
    with pytest.raises(ConfigError) as error:
        Calibration(bins)
    assert str(error.value) == f"bins of the calibration measure is {bins}. 1 or more. Set bins=15."


# Over cases --------------------------------------------------------------------------------------------------------------


def test_bins_add_up_over_cases():
    cases = [case(seed) for seed in range(5)]
    whole = reliability(np.concatenate([t for t, _ in cases]), np.concatenate([p for _, p in cases], axis=1))
    total = pool_reliability(reliability(t, p) for t, p in cases)
    for name in ("pixels", "hits"):
        np.testing.assert_array_equal(getattr(total, name), getattr(whole, name))
    np.testing.assert_allclose(total.ece(), whole.ece())
    np.testing.assert_allclose(total.brier(), whole.brier())


def test_the_mean_over_small_cases_makes_a_calibrated_network_look_bad_and_the_pooled_error_does_not():
    rng = np.random.default_rng(3)
    parts = []
    for _ in range(200):
        p = rng.random((5, 5))
        parts.append(reliability((rng.random(p.shape) < p).astype(np.uint8), two(p)))
    assert np.mean([part.ece()[0] for part in parts]) > 0.2
    assert pool_reliability(parts).ece()[0] < 0.03


def test_nothing_cannot_be_added_up():
    with pytest.raises(ValueError, match="no case to add up"):
        pool_reliability([])


# Against other libraries -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("bins", [10, 15])
def test_like_torchmetrics_and_numpy(seed, bins):
    from torchmetrics.functional.classification import binary_calibration_error

    truth, probabilities = case(seed)
    known = truth != 255
    found = Calibration(bins)(truth, truth, probabilities, 3, None)
    counts = reliability(truth, probabilities, bins)
    for k in (1, 2):
        p, hit = probabilities[k][known], truth[known] == k
        theirs = binary_calibration_error(torch.from_numpy(p), torch.from_numpy(hit).int(), n_bins=bins)
        assert found["ece"][k - 1] == pytest.approx(float(theirs), rel=1e-4)
        assert counts.pixels[k - 1].tolist() == np.histogram(p, bins, (0, 1))[0].tolist()
        assert found["brier"][k - 1] == pytest.approx(np.square(p - hit).mean(), rel=1e-5)


def test_torchmetrics_gives_a_probability_of_one_a_bin_of_its_own():
    from torchmetrics.functional.classification import binary_calibration_error

    p, truth = [[1.0, 0.95, 0.95, 0.95]], np.array([[1, 1, 0, 0]], np.uint8)
    theirs = binary_calibration_error(torch.tensor(p[0]), torch.from_numpy(truth[0]).int(), n_bins=10)
    # All four lie in the last tenth: |2 / 4 - 3.85 / 4|; torchmetrics leaves out the one that is right and sure.
    assert Calibration(bins=10)(truth, truth, two(p), 2, None)["ece"][0] == pytest.approx(1.85 / 4)
    assert float(theirs) == pytest.approx(3 / 4 * abs(1 / 3 - 0.95))


def test_torchmetrics_adds_up_in_float32_and_is_wrong_on_a_picture_of_ordinary_size():
    from torchmetrics.functional.classification import binary_calibration_error

    p = np.full((1200, 1200), 0.97, np.float32)  # of 1.4 million pixels, all of the class: off by 0.03
    truth = np.ones(p.shape, np.uint8)
    theirs = float(binary_calibration_error(torch.from_numpy(p).flatten(), torch.from_numpy(truth).flatten().int()))
    assert abs(theirs - 0.03) > 0.005
    assert Calibration()(truth, truth, two(p), 2, None)["ece"][0] == pytest.approx(0.03, abs=1e-7)
