"""Sets of classes in a byte."""

import math

import numpy as np
import pytest
import torch

from segexp.data.labels.modes import (
    ALL_CLASSES,
    MAX_LABELS,
    MULTICLASS,
    MULTILABEL,
    count_labels,
    has_label,
    join_layers,
    label_layer,
    label_mode,
    softmax_,
)
from segexp.errors import ConfigError
from segexp.inference.postprocessing import Postprocessing
from segexp.metrics.boundary import Boundary
from segexp.metrics.calibration import Calibration, reliability
from segexp.metrics.confusion import confusion
from segexp.metrics.membrane import Membrane
from segexp.types import DataSpec

MASK = np.array([[0, 1, 2], [3, 127, 255]], np.uint8)


def test_a_class_is_where_its_bit_is_set_and_the_pixel_known():
    assert has_label(MASK, 1).tolist() == [[False, True, False], [True, True, False]]
    assert has_label(MASK, 2).tolist() == [[False, False, True], [True, True, False]]
    assert has_label(MASK, 7).tolist() == [[False, False, False], [False, True, False]]


def test_a_layer_is_a_mask_of_two_classes():
    layer = label_layer(MASK, 2)
    assert layer.tolist() == [[0, 0, 1], [1, 1, 255]]
    assert layer.dtype == np.uint8
    assert MASK[1, 2] == 255, "the mask is left as it is"


@pytest.mark.parametrize("count", range(1, MAX_LABELS + 1))
def test_layers_are_joined_again(count):
    mask = np.random.default_rng(count).integers(0, 1 << count, (9, 11), dtype=np.uint8)
    mask[2, 3:5] = 255
    assert np.array_equal(join_layers([label_layer(mask, k) for k in range(1, count + 1)]), mask)


def test_what_one_layer_ignores_all_do():
    cell, nucleus = np.array([[1, 1, 0]], np.uint8), np.array([[1, 255, 0]], np.uint8)
    assert join_layers([cell, nucleus]).tolist() == [[3, 255, 0]]


def test_pixels_of_each_class_may_add_up_to_more_than_there_are():
    assert count_labels(MASK, 3).tolist() == [1, 3, 3]
    assert count_labels(MASK, 8).tolist() == [1, 3, 3, 1, 1, 1, 1, 1]
    assert count_labels(MASK, 200)[8:].tolist() == [0] * 192
    assert count_labels(np.full((2, 2), 255, np.uint8), 3).tolist() == [0, 0, 0]


PALETTE = ((0, 0, 0),) * 3


def logits(classes=3, seed=0):
    return 3 * torch.randn(classes, 24, 31, generator=torch.Generator().manual_seed(seed))


def sets(seed, classes=3):
    mask = np.random.default_rng(seed).integers(0, 1 << (classes - 1), (24, 31), dtype=np.uint8)
    mask[:2, :9] = 255
    return mask


def test_the_data_say_which():
    names = ("none", "cell", "nucleus")
    assert label_mode(DataSpec("d", names, 1, PALETTE)) is MULTICLASS
    assert label_mode(DataSpec("d", names, 1, PALETTE, overlapping=True)) is MULTILABEL


def test_what_speaks_for_a_class():
    given = torch.stack([logits(), logits(seed=1)])
    assert torch.equal(MULTICLASS.scores(given, 2), given[:, 2])
    assert torch.equal(MULTILABEL.scores(given, 2), given[:, 2] - given[:, 0])
    probabilities = MULTILABEL.probabilities_(given[0].clone())
    assert torch.allclose(MULTILABEL.scores(given, 2)[0].sigmoid(), probabilities[2])


def test_exclusive_is_what_it_always_was():
    given, rule = logits(), Postprocessing(min_area=3)
    probabilities = MULTICLASS.probabilities_(given.clone())
    assert probabilities.equal(softmax_(given.clone()))
    assert np.array_equal(MULTICLASS.decide(probabilities, rule), rule.apply(probabilities))
    truth = torch.randint(3, (24, 31)).byte()
    decided = torch.from_numpy(MULTICLASS.decide(probabilities, rule))
    assert MULTICLASS.confusion(decided, truth, 3).equal(confusion(decided, truth, 3))
    assert MULTICLASS.pixels(truth.numpy(), 3).tolist() == [int((truth == k).sum()) for k in range(3)]
    expected = torch.special.entr(probabilities).sum(dim=0).div_(math.log(3))
    assert MULTICLASS.entropy(probabilities).equal(expected)
    [(own, mask)] = MULTICLASS.decisions(truth.numpy(), 3)
    assert own == [0, 1, 2]
    assert mask is not None
    assert MULTICLASS.decision_probabilities(probabilities, own) is probabilities


def test_each_class_has_the_probability_of_its_logit_against_that_of_the_background():
    given = logits(4)
    found = MULTILABEL.probabilities_(given.clone())
    for k in range(1, 4):
        torch.testing.assert_close(found[k], torch.sigmoid(given[k] - given[0]))
        torch.testing.assert_close(found[k], given[[0, k]].softmax(dim=0)[1])
    torch.testing.assert_close(found[0], 1 - found[1:].max(dim=0).values)


def test_two_classes_are_decided_alike():
    given = logits(2)
    one, other = (each.probabilities_(given.clone()) for each in (MULTICLASS, MULTILABEL))
    torch.testing.assert_close(one, other)
    for rule in (Postprocessing(), Postprocessing(0.7), Postprocessing(None, 5, True, True)):
        assert np.array_equal(MULTICLASS.decide(one, rule), MULTILABEL.decide(one, rule))


def test_the_decision_is_made_for_each_class():
    probabilities = MULTILABEL.probabilities_(logits(4))
    for rule in (Postprocessing(), Postprocessing(0.3, 4, False, True)):
        mask = MULTILABEL.decide(probabilities, rule)
        for k in range(1, 4):
            two = torch.stack([1 - probabilities[k], probabilities[k]])
            assert np.array_equal(label_layer(mask, k), rule.apply(two))
    plain = MULTILABEL.decide(probabilities, Postprocessing())
    assert (np.unique(plain) > 2).any(), "classes are found together"
    assert ((plain == 0) == (probabilities[0] >= 0.5).numpy()).all()


def test_a_threshold_is_for_any_number_of_overlapping_classes():
    MULTILABEL.check(Postprocessing(0.4), 5)
    with pytest.raises(ConfigError, match=r"threshold=0\.4 of the post-processing is for two classes, and the network has 5"):
        MULTICLASS.check(Postprocessing(0.4), 5)


@pytest.mark.parametrize("measure", [Boundary(), Calibration(5), Membrane(thresholds=(0.5,))])
def test_a_measure_sees_each_class_alone(measure):
    truth, prediction = sets(1), sets(2)
    prediction[prediction == 255] = 1
    chance = MULTILABEL.probabilities_(logits()).numpy()
    found = MULTILABEL.measure_case(measure, truth, prediction, chance, 3, None)
    assert list(found) == list(measure.columns)
    for k in (1, 2):
        two = np.stack([1 - chance[k], chance[k]])
        alone = measure(label_layer(truth, k), label_layer(prediction, k), two, 2, None)
        for column, values in alone.items():
            np.testing.assert_allclose(found[column][k - 1], values[0], rtol=1e-12)


def test_a_measure_may_ask_for_one_class_by_its_index():
    measure = Membrane(class_index=2, thresholds=())
    found = MULTILABEL.measure_case(measure, sets(1), sets(2) & 3, None, 3, None)
    assert np.isnan(found["v_rand"][0])
    assert 0 < found["v_rand"][1] <= 1


def test_exclusive_measures_and_calibration_are_the_measures_own():
    truth, prediction = (np.random.default_rng(n).integers(0, 3, (20, 20), dtype=np.uint8) for n in (0, 1))
    chance = softmax_(torch.randn(3, 20, 20)).numpy()
    direct = Boundary()(truth, prediction, chance, 3, None)
    assert MULTICLASS.measure_case(Boundary(), truth, prediction, chance, 3, None) == direct
    np.testing.assert_array_equal(MULTICLASS.reliability(truth, chance, 5).hits, reliability(truth, chance, 5).hits)


def test_calibration_counts_each_class():
    truth, chance = sets(3), MULTILABEL.probabilities_(logits()).numpy()
    found = MULTILABEL.reliability(truth, chance, 5)
    assert found.pixels.shape == (2, 5)
    assert found.squares.shape == (2,)
    known = truth != 255
    for k in (1, 2):
        wrong = chance[k][known].astype(np.float64) - has_label(truth, k)[known]
        np.testing.assert_allclose(found.squares[k - 1], np.square(wrong).sum())
        assert found.hits[k - 1].sum() == has_label(truth, k).sum()


def test_entropy_is_the_mean_over_the_classes():
    sure, unsure = torch.tensor([0.0, 1.0, 1.0]), torch.tensor([0.5, 0.5, 0.5])
    found = MULTILABEL.entropy(torch.stack([sure, unsure, torch.tensor([0.5, 0.5, 0.0])], dim=1)[:, None])
    torch.testing.assert_close(found, torch.tensor([[0.0, 1.0, 0.5]]))


AREAS = np.array([[0, 0, 1, 1], [2, 2, 1, 255]], np.uint8)


def test_without_a_background_the_first_class_is_measured_like_the_others():
    guess = np.array([[0, 1, 1, 1], [2, 2, 1, 0]], np.uint8)
    chance = np.moveaxis(np.eye(3, dtype=np.float32)[guess], -1, 0)
    found = ALL_CLASSES.measure_case(Calibration(bins=5), AREAS, guess, chance, 3, None)
    assert found["brier"] == pytest.approx([1 / 7, 1 / 7, 0]), "one of seven known pixels is taken for the second class"
    counts = ALL_CLASSES.reliability(AREAS, chance, 5)
    assert counts.hits.sum(axis=1).tolist() == [2, 3, 2]
    assert counts.brier() == pytest.approx(found["brier"])
    borders = ALL_CLASSES.measure_case(Boundary(), AREAS, guess, None, 3, None)
    for k in range(3):
        truth = np.where(AREAS == 255, AREAS, k == AREAS).astype(np.uint8)
        alone = Boundary()(truth, (guess == k).astype(np.uint8), None, 2, None)
        assert {name: values[k] for name, values in borders.items()} == {name: value for name, (value,) in alone.items()}


def test_the_classes_that_occur_and_count():
    assert ALL_CLASSES.present(AREAS).tolist() == [0, 1, 2]
    assert MULTICLASS.present(AREAS).tolist() == [1, 2]
    assert MULTILABEL.present(MASK).tolist() == [1, 2, 3, 4, 5, 6, 7]


def test_there_is_nothing_to_drop_components_into():
    spec = DataSpec("land", ("field", "wood"), 3, ((1, 1, 1), (2, 2, 2)), background=False)
    assert label_mode(spec) is ALL_CLASSES
    assert (spec.first, spec.foreground) == (0, ("field", "wood"))
    chance = torch.tensor([0.4, 0.6]).reshape(2, 1, 1)
    assert ALL_CLASSES.decide(chance, Postprocessing(threshold=0.7)).tolist() == [[0]], "a threshold parts two classes"
    for rule in (Postprocessing(min_area=2), Postprocessing(largest_component=True), Postprocessing(fill_holes=True)):
        with pytest.raises(ConfigError, match=r"no class is the background .*Type postprocess=none"):
            ALL_CLASSES.decide(chance, rule)
