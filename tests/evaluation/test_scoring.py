import numpy as np
import pytest
import torch
from torch import nn

from segexp.data.cache import RamStore
from segexp.data.dataset import EvalDataset
from segexp.data.preprocessing import Preprocessing
from segexp.data.statistics import DecodedCase
from segexp.evaluation.scoring import score_cases
from segexp.inference.postprocessing import Postprocessing
from segexp.inference.predictor import Predictor
from segexp.inference.segmenter import Segmenter
from segexp.metrics.boundary import Boundary
from segexp.metrics.calibration import Calibration, pool_reliability, reliability
from segexp.metrics.confusion import CaseCounts, confusion
from segexp.metrics.membrane import Membrane
from segexp.types import DataSpec


class Brightness(nn.Module):
    """Class 1 where the first channel is above one half."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(4.0))
        self.modes = []

    def forward(self, image):
        self.modes.append(self.training)
        level = self.gain * (image[:, :1] - 0.5)
        return torch.cat([-level, level], dim=1)


@pytest.fixture
def pictures():
    rng = np.random.default_rng(0)
    made = []
    for height, width in ((20, 30), (33, 17), (64, 64), (16, 90)):
        mask = rng.integers(0, 2, (height, width)).astype(np.uint8)
        image = np.where(mask == 1, 230, 20).astype(np.uint8)
        flip = rng.random((height, width)) < 0.1
        image[flip] = 250 - image[flip]
        mask[rng.random((height, width)) < 0.05] = 255
        made.append(DecodedCase(image[..., None], mask))
    return made


@pytest.fixture
def segmenter():
    spec = DataSpec("toy", ("background", "bright"), 1, ((0, 0, 0), (255, 255, 255)))
    return Segmenter(Brightness(), Preprocessing(1), spec)


def cases(pictures, members, preprocessing):
    return EvalDataset(RamStore(pictures), members, preprocessing)


def test_each_case_is_counted_at_its_own_size(pictures, segmenter):
    scored = score_cases(segmenter, cases(pictures, [0, 1, 2, 3], segmenter.preprocessing))
    matrices, kept = scored.confusions, scored.kept
    assert matrices.shape == (4, 2, 2)
    assert matrices.dtype == np.int64
    assert kept == {}
    for matrix, picture in zip(matrices, pictures, strict=True):
        prediction = (picture.image[..., 0] > 127).astype(np.uint8)
        assert matrix.tolist() == confusion(torch.from_numpy(prediction), torch.from_numpy(picture.mask), 2).tolist()
        assert matrix.sum() == (picture.mask != 255).sum()


def test_the_working_size_does_not_change_what_is_counted(pictures, segmenter):
    segmenter.preprocessing = Preprocessing(1, (48, 48))
    shrunk = [DecodedCase(np.resize(p.image, (48, 48, 1)), p.mask) for p in pictures]
    scored = score_cases(segmenter, cases(shrunk, [0, 1, 2, 3], segmenter.preprocessing), keep=range(4))
    matrices, kept = scored.confusions, scored.kept
    for n, picture in enumerate(pictures):
        assert matrices[n].sum() == (picture.mask != 255).sum()
        assert kept[n].shape == picture.mask.shape


def test_only_the_wanted_predictions_are_kept(pictures, segmenter):
    whole = score_cases(segmenter, cases(pictures, [3, 1, 2], segmenter.preprocessing)).confusions
    scored = score_cases(segmenter, cases(pictures, [3, 1, 2], segmenter.preprocessing), keep={0, 2})
    matrices, kept = scored.confusions, scored.kept
    assert set(kept) == {0, 2}
    assert kept[0].dtype == np.uint8
    np.testing.assert_array_equal(kept[0], pictures[3].image[..., 0] > 127)
    np.testing.assert_array_equal(matrices, whole)


def test_a_kept_prediction_is_what_predict_gives(pictures, segmenter):
    kept = score_cases(segmenter, cases(pictures, [1], segmenter.preprocessing), keep=[0]).kept
    np.testing.assert_array_equal(kept[0], segmenter.classes(pictures[1].image))


@pytest.mark.parametrize("threshold", [None, 0.9])
@pytest.mark.parametrize("max_pixels", [None, 64 * 64])
def test_one_rule_decides_in_scoring_validation_and_prediction(segmenter, threshold, max_pixels):
    rng = np.random.default_rng(1)
    pictures = [
        DecodedCase(rng.integers(0, 256, (n, 150, 1), np.uint8), rng.integers(0, 2, (n, 150), np.uint8)) for n in (90, 131)
    ]
    segmenter.max_pixels, segmenter.postprocessing = max_pixels, Postprocessing(threshold=threshold)
    scoring = cases(pictures, [0, 1], segmenter.preprocessing)
    scored = score_cases(segmenter, scoring, keep=[0, 1])
    matrices, kept = scored.confusions, scored.kept
    for n, picture in enumerate(pictures):
        validated = segmenter.decide(segmenter.logits(scoring[n].image, tuple(scoring[n].mask.shape)))
        for other in (validated, segmenter.classes(picture.image), Predictor([segmenter])(picture.image).classes):
            np.testing.assert_array_equal(kept[n], other)
        assert matrices[n, :, 1].sum() == kept[n].sum()
    assert (kept[0].mean() < 0.45) == (threshold is not None)


def test_validation_counts_the_same_case_by_case(pictures, segmenter):
    scoring = cases(pictures, [0, 1, 2], segmenter.preprocessing)
    matrices = score_cases(segmenter, scoring).confusions
    counts = CaseCounts(2)
    for n in (2, 0, 1):
        sample = scoring[n]
        logits = segmenter.logits(sample.image, tuple(sample.mask.shape))
        counts.update(sample.position, logits.argmax(0), sample.mask)
    positions, theirs = counts.compute()
    assert positions == [0, 1, 2]
    np.testing.assert_array_equal(theirs.numpy(), matrices)


def test_a_case_scores_the_same_alone_and_among_others(pictures, segmenter):
    among = score_cases(segmenter, cases(pictures, [0, 1, 2, 3], segmenter.preprocessing)).confusions
    for n in range(4):
        alone = score_cases(segmenter, cases(pictures, [n], segmenter.preprocessing)).confusions
        np.testing.assert_array_equal(alone[0], among[n])


def test_progress_is_told_and_the_network_evaluates(pictures, segmenter):
    told = []
    segmenter.network.train()
    score_cases(segmenter, cases(pictures, [2, 0], segmenter.preprocessing), done=told.append)
    assert told == [0, 1]
    assert segmenter.network.modes == [False, False]


def test_no_case_gives_no_matrix(pictures, segmenter):
    scored = score_cases(segmenter, cases(pictures, [], segmenter.preprocessing))
    matrices, kept = scored.confusions, scored.kept
    assert matrices.shape == (0, 2, 2)
    assert kept == {}


def test_measures_see_every_case_as_it_was_decided(pictures, segmenter):
    measures = [Boundary(), Calibration(bins=4), Membrane(thresholds=(0.3, 0.7))]
    scored = score_cases(segmenter, cases(pictures, [2, 0], segmenter.preprocessing), keep=[0, 1], measures=measures)
    assert list(scored.columns) == [column for measure in measures for column in measure.columns]
    counts = []
    for position, picture in enumerate((pictures[2], pictures[0])):
        chance = segmenter.probabilities(picture.image).numpy()
        counts.append(reliability(picture.mask, chance, 4))
        for measure in measures:
            for column, values in measure(picture.mask, scored.kept[position], chance, 2, None).items():
                np.testing.assert_array_equal(scored.columns[column][position], values)
    for name in ("pixels", "confidence", "hits", "squares"):
        np.testing.assert_array_equal(getattr(scored.reliability, name), getattr(pool_reliability(counts), name))


def test_measures_change_nothing_of_the_counts(pictures, segmenter):
    given = cases(pictures, [0, 1, 2, 3], segmenter.preprocessing)
    segmenter.postprocessing = Postprocessing(threshold=0.7, min_area=3)
    alone, measured = (
        score_cases(segmenter, given, range(4)),
        score_cases(segmenter, given, range(4), measures=[Boundary(), Calibration()]),
    )
    np.testing.assert_array_equal(alone.confusions, measured.confusions)
    for n in range(4):
        np.testing.assert_array_equal(alone.kept[n], measured.kept[n])
    assert (alone.columns, alone.reliability) == ({}, None)


def test_probabilities_are_handed_over_only_where_one_looks_at_them(pictures, segmenter):
    seen = []

    class Watching(Boundary):
        def __call__(self, truth, prediction, probabilities, num_classes, spacing):
            seen.append((truth.dtype, prediction.shape == truth.shape, probabilities is None, num_classes, spacing))
            return super().__call__(truth, prediction, probabilities, num_classes, spacing)

    given = cases(pictures, [1], segmenter.preprocessing)
    score_cases(segmenter, given, measures=[Watching()])
    score_cases(segmenter, given, measures=[Watching(), Calibration()])
    assert seen == [(np.uint8, True, True, 2, None), (np.uint8, True, False, 2, None)]


def test_no_case_gives_empty_columns(pictures, segmenter):
    scored = score_cases(segmenter, cases(pictures, [], segmenter.preprocessing), measures=[Calibration()])
    assert {column: values.shape for column, values in scored.columns.items()} == {"ece": (0, 1), "brier": (0, 1)}
    assert scored.reliability is None
