import math
import warnings

import numpy as np
import pytest
import torch

from segexp.metrics.confusion import confusion
from segexp.metrics.scores import class_scores, mean_scores, scores_of_counts, summarise_scores

NAMES = ("background", "cell", "wall")
NAN = float("nan")

# Two cases by hand, rows truth, columns prediction. Case 0: cell 6 of 8 found, 2 false. Case 1: wall missed, no cell there.
FIRST = np.array([[[88, 2, 0], [1, 6, 1], [0, 0, 2]]])
SECOND = np.array([[[90, 4, 0], [0, 0, 0], [6, 0, 0]]])
BOTH = np.concatenate([FIRST, SECOND])


def pictures(seed=0, classes=3, empty=None, size=(24, 31)):
    """Return a prediction and a truth that agree in about two thirds of their pixels."""
    draw = torch.Generator().manual_seed(seed)
    truth = torch.randint(0, classes, size, generator=draw)
    if empty is not None:
        truth[truth == empty] = 0
    other = torch.randint(0, classes, size, generator=draw)
    return torch.where(torch.rand(size, generator=draw) < 0.5, truth, other), truth


# By hand -----------------------------------------------------------------------------------------------------------------


def test_counts_by_hand():
    scores = class_scores(BOTH)
    assert scores.tp.tolist() == [[88, 6, 2], [90, 0, 0]]
    assert scores.fp.tolist() == [[1, 2, 1], [6, 4, 0]]
    assert scores.fn.tolist() == [[2, 2, 0], [4, 0, 6]]
    assert scores.tp.dtype == np.int64


def test_scores_by_hand():
    scores = class_scores(BOTH)
    np.testing.assert_allclose(scores.dice, [[176 / 179, 12 / 16, 4 / 5], [180 / 190, NAN, 0]])
    np.testing.assert_allclose(scores.iou, [[88 / 91, 6 / 10, 2 / 3], [90 / 100, NAN, 0]])
    np.testing.assert_allclose(scores.precision, [[88 / 89, 6 / 8, 2 / 3], [90 / 96, NAN, NAN]])
    np.testing.assert_allclose(scores.recall, [[88 / 90, 6 / 8, 1], [90 / 94, NAN, 0]])
    assert scores.dice.dtype == np.float64


def test_summary_by_hand():
    found = summarise_scores(BOTH, NAMES)
    expected = {
        "dice/cell": 0.75,  # case 1 has no cell and is left out
        "dice/wall": (0.8 + 0) / 2,  # a class that is there and was missed is 0
        "dice": (0.75 + 0.4) / 2,
        "iou/cell": 0.6,
        "iou/wall": 1 / 3,
        "iou": (0.6 + 1 / 3) / 2,
        "precision/cell": 0.75,
        "precision/wall": 2 / 3,  # case 1 predicts none: undefined there
        "precision": (0.75 + 2 / 3) / 2,
        "recall/cell": 0.75,
        "recall/wall": 0.5,
        "recall": 0.625,
        "dice_pooled/cell": 2 * 6 / (2 * 6 + 6 + 2),
        "dice_pooled/wall": 2 * 2 / (2 * 2 + 1 + 6),
        "dice_pooled": (0.6 + 4 / 11) / 2,
        "iou_pooled/cell": 6 / (6 + 6 + 2),
        "iou_pooled/wall": 2 / 9,
        "iou_pooled": (6 / 14 + 2 / 9) / 2,
        "accuracy": 0.5 * (96 / 100 + 90 / 100),
        "accuracy_pooled": 186 / 200,
        "cases": 2,
        "empty/cell": 1,
        "empty/wall": 0,
        "false_alarm/cell": 4,
        "false_alarm/wall": 0,
    }
    assert set(found) == set(expected)
    assert found == pytest.approx(expected, abs=1e-12)
    assert all(type(value) is float for value in found.values())


def test_a_perfect_prediction_scores_one_everywhere():
    _, truth = pictures()
    found = summarise_scores(confusion(truth, truth, 3)[None].numpy(), NAMES)
    for name in ("dice", "iou", "precision", "recall", "accuracy", "dice_pooled", "iou_pooled", "accuracy_pooled"):
        assert found[name] == 1


def test_the_background_is_in_no_score_but_accuracy():
    nearly_all_background = np.array([[[9990, 0], [10, 0]]])
    found = summarise_scores(nearly_all_background, ("background", "cell"))
    assert found["dice"] == found["iou"] == found["recall"] == found["dice_pooled"] == 0
    assert math.isnan(found["precision"])
    assert found["accuracy"] == 0.999
    assert not any("background" in name for name in found)


# Empty classes and cases -------------------------------------------------------------------------------------------------


def test_empty_truth_is_left_out_counted_and_its_false_pixels_are_reported():
    clean = np.array([[[100, 0], [0, 0]]])
    alarm = np.array([[[93, 7], [0, 0]]])
    right = np.array([[[80, 0], [0, 20]]])
    found = summarise_scores(np.concatenate([clean, alarm, right, alarm]), ("background", "cell"))
    assert found["dice"] == found["iou"] == found["precision"] == found["recall"] == 1
    assert found["empty/cell"] == 3
    assert found["false_alarm/cell"] == 14
    assert found["dice_pooled"] == pytest.approx(40 / 54)  # pooled counts do see them
    assert found["accuracy"] == pytest.approx((1 + 0.93 + 1 + 0.93) / 4)


def test_a_class_that_no_case_has_is_no_number_and_leaves_the_mean_of_the_others():
    found = summarise_scores(np.array([[[5, 1, 2], [0, 4, 0], [0, 0, 0]]]), NAMES)
    assert math.isnan(found["dice/wall"])
    assert math.isnan(found["iou_pooled/wall"])
    assert found["dice"] == found["dice/cell"] == pytest.approx(8 / 9)
    assert found["iou_pooled"] == found["iou_pooled/cell"]
    assert found["false_alarm/wall"] == 2


@pytest.mark.parametrize("count", [0, 1])
def test_without_a_labelled_pixel_every_score_is_no_number(count):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = summarise_scores(np.zeros((count, 3, 3), np.int64), NAMES)
    for name in ("dice", "iou", "precision", "recall", "accuracy", "dice_pooled", "iou_pooled", "accuracy_pooled"):
        assert math.isnan(found[name])
    assert found["cases"] == found["empty/cell"] == count


def test_ignored_pixels_change_nothing():
    prediction, truth = pictures()
    hidden = truth.clone()
    hidden[:5] = 255
    rest = summarise_scores(confusion(prediction[5:], truth[5:], 3)[None].numpy(), NAMES)
    assert summarise_scores(confusion(prediction, hidden, 3)[None].numpy(), NAMES) == rest


def test_nothing_is_smoothed():
    one_pixel_wrong = scores_of_counts(np.array([0]), np.array([1]), np.array([1]))
    assert one_pixel_wrong.dice[0] == one_pixel_wrong.iou[0] == 0


# What the names say ------------------------------------------------------------------------------------------------------


def test_mean_over_cases_and_pooled_are_different_things():
    small_missed = np.array([[[90, 0], [10, 0]]])
    large_found = np.array([[[0, 0], [0, 1000]]])
    found = summarise_scores(np.concatenate([small_missed, large_found]), ("background", "cell"))
    assert found["dice"] == 0.5
    assert found["dice_pooled"] == pytest.approx(2000 / 2010)


def test_scores_do_not_depend_on_the_order_or_the_grouping_of_cases():
    matrices = np.stack([confusion(*pictures(seed), 3).numpy() for seed in range(7)])
    whole = summarise_scores(matrices, NAMES)
    assert summarise_scores(matrices[::-1], NAMES) == pytest.approx(whole, abs=1e-12)
    for group in (1, 3, 7):
        parts = [matrices[n : n + group] for n in range(0, 7, group)]
        assert summarise_scores(np.concatenate(parts), NAMES) == whole


def test_counts_of_any_shape_are_scored():
    scores = scores_of_counts(np.array([[3, 0]]), np.array([[1, 5]]), np.array([[0, 0]]))
    np.testing.assert_allclose(scores.dice, [[6 / 7, NAN]])
    assert scores.dice.shape == (1, 2)


# Against other libraries -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_like_torchmetrics_where_every_class_is_there(seed):
    from torchmetrics.functional.segmentation import dice_score, mean_iou

    prediction, truth = pictures(seed)
    scores = class_scores(confusion(prediction, truth, 3)[None].numpy())
    settings = {"num_classes": 3, "include_background": True, "input_format": "index"}
    theirs = dice_score(prediction[None], truth[None], average=None, **settings)[0]
    np.testing.assert_allclose(scores.dice[0], theirs.numpy(), rtol=1e-6)
    theirs = mean_iou(prediction[None], truth[None], per_class=True, **settings)[0]
    np.testing.assert_allclose(scores.iou[0], theirs.numpy(), rtol=1e-6)


def test_torchmetrics_marks_an_empty_class_with_minus_one_and_we_with_nan():
    from torchmetrics.functional.segmentation import mean_iou

    truth = torch.tensor([[0, 0, 1, 1]])
    scores = class_scores(confusion(truth, truth, 3)[None].numpy())
    theirs = mean_iou(truth[None], truth[None], num_classes=3, per_class=True, input_format="index")[0]
    assert theirs.tolist() == [1, 1, -1]
    np.testing.assert_array_equal(scores.iou[0], [1, 1, NAN])


def test_torchmetrics_scores_an_empty_class_with_false_pixels_zero_and_we_leave_it_out():
    from torchmetrics.functional.segmentation import mean_iou

    prediction, truth = torch.tensor([[0, 0, 1, 2]]), torch.tensor([[0, 0, 1, 1]])
    scores = class_scores(confusion(prediction, truth, 3)[None].numpy())
    theirs = mean_iou(prediction[None], truth[None], num_classes=3, per_class=True, input_format="index")[0]
    np.testing.assert_allclose(theirs.numpy(), [1, 0.5, 0])
    np.testing.assert_array_equal(scores.iou[0], [1, 0.5, NAN])


@pytest.mark.slow
@pytest.mark.parametrize("empty", [None, 1])
def test_like_monai_also_where_a_class_is_empty(empty):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compute_dice = pytest.importorskip("monai.metrics").compute_dice
    prediction, truth = pictures(seed=5, empty=empty)
    scores = class_scores(confusion(prediction, truth, 3)[None].numpy())
    one_hot = [torch.nn.functional.one_hot(x, 3).movedim(-1, 0)[None].float() for x in (prediction, truth)]
    theirs = compute_dice(*one_hot, include_background=True, ignore_empty=True)[0]
    np.testing.assert_allclose(scores.dice[0], theirs.numpy(), rtol=1e-6)
    assert np.isnan(scores.dice[0, 1]) == (empty == 1)


def test_like_sets_of_pixels():
    prediction, truth = (x.numpy().ravel() for x in pictures(seed=9))
    scores = class_scores(confusion(torch.from_numpy(prediction)[None], torch.from_numpy(truth)[None], 3)[None].numpy())
    for k in range(3):
        p, t = prediction == k, truth == k
        assert scores.precision[0, k] == pytest.approx((p & t).sum() / p.sum())
        assert scores.recall[0, k] == pytest.approx((p & t).sum() / t.sum())
        assert scores.iou[0, k] == pytest.approx((p & t).sum() / (p | t).sum())
        harmonic = 2 / (1 / scores.precision[0, k] + 1 / scores.recall[0, k])
        assert scores.dice[0, k] == pytest.approx(harmonic)


def test_means_over_cases_then_over_classes():
    values = np.array([[1.0, np.nan], [2.0, 5.0], [3.0, np.nan]])
    assert mean_scores("hd95", values, ("background", "a", "b")) == {"hd95": 3.5, "hd95/a": 2.0, "hd95/b": 5.0}
    assert np.isnan(list(mean_scores("hd95", np.zeros((0, 1)), ("background", "a")).values())).all()


def test_without_a_background_every_class_counts():
    found, usual = summarise_scores(BOTH, NAMES, first=0), summarise_scores(BOTH, NAMES)
    first = (176 / 179 + 180 / 190) / 2
    assert found["dice/background"] == pytest.approx(first)
    assert found["dice"] == pytest.approx((first + 0.75 + 0.4) / 3)
    assert found["dice_pooled/background"] == pytest.approx(2 * 178 / (2 * 178 + 7 + 6))
    assert found["empty/background"] == found["false_alarm/background"] == 0
    assert {name: value for name, value in usual.items() if "/" in name}.items() <= found.items()
    assert found["accuracy"] == usual["accuracy"]
    assert mean_scores("hd95", np.array([[1.0, 2.0, 6.0]]), NAMES)["hd95"] == 3
