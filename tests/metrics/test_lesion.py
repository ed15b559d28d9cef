import math

import numpy as np
import pytest

from segexp.errors import ConfigError
from segexp.metrics.confusion import confusion
from segexp.metrics.lesion import ThresholdedJaccard
from segexp.metrics.scores import class_scores

TRUTH = np.array([[0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]], np.uint8)


def score(truth, prediction, classes=2, **settings):
    return ThresholdedJaccard(**settings)(truth, prediction, None, classes, None)["jaccard_thresholded"]


@pytest.mark.parametrize(("found", "expected"), [(10, 1.0), (7, 0.7), (6, 0.0), (0, 0.0)])
def test_below_the_threshold_a_lesion_counts_nothing(found, expected):
    prediction = TRUTH.copy()
    prediction[0, 1 + found :] = 0
    assert score(TRUTH, prediction) == [expected]


def test_the_threshold_itself_counts():
    truth = np.array([[1] * 20], np.uint8)
    prediction = np.array([[1] * 13 + [0] * 7], np.uint8)
    assert score(truth, prediction) == [0.65]


def test_false_pixels_count_too():
    prediction = np.ones_like(TRUTH)
    assert score(TRUTH, prediction) == [10 / 11]
    assert score(TRUTH, prediction, threshold=0.95) == [0]


def test_without_truth_the_case_is_left_out():
    nothing = np.zeros_like(TRUTH)
    assert math.isnan(score(nothing, nothing)[0])
    assert math.isnan(score(nothing, TRUTH)[0])


def test_ignored_pixels_do_not_count():
    truth = TRUTH.copy()
    truth[0, :4] = 255
    for first in (0, 1):
        prediction = TRUTH.copy()
        prediction[0, :4] = first
        assert score(truth, prediction) == [1]


def test_it_is_the_iou_of_the_confusion_matrix():
    import torch

    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, (20, 30)).astype(np.uint8)
    prediction = np.where(rng.random((20, 30)) < 0.2, 0, truth).astype(np.uint8)
    truth[:2] = 255
    matrix = confusion(torch.from_numpy(prediction), torch.from_numpy(truth), 4)[None].numpy()
    assert score(truth, prediction, classes=4, threshold=0) == class_scores(matrix).iou[0, 1:].tolist()


@pytest.mark.parametrize("threshold", [-0.1, 1.1, math.nan])
def test_a_threshold_that_cannot_be(threshold):
    with pytest.raises(ConfigError) as error:
        ThresholdedJaccard(threshold)
    assert str(error.value) == f"threshold of the thresholded Jaccard is {threshold}. 0 to 1. Set threshold=0.65."
