import math
import warnings

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.spatial.distance import cdist

from segexp.errors import ConfigError, DataError
from segexp.metrics.boundary import Boundary, surface, surface_distances

NAN = math.nan


def mask(*rows):
    """A class map drawn by hand: a dot is background, a question mark is ignored."""
    return np.array([[{".": 0, "?": 255}.get(c) if c in ".?" else int(c) for c in row] for row in rows], np.uint8)


def box(shape, top, left, bottom, right):
    """A class map with one rectangle of class 1, its last row and column included."""
    picture = np.zeros(shape, np.uint8)
    picture[top : bottom + 1, left : right + 1] = 1
    return picture


def blobs(seed, shape=(61, 83), classes=2, sigma=4.0):
    """A class map of smooth blobs that touch the edge."""
    noise = np.random.default_rng(seed).standard_normal((classes, *shape))
    return np.stack([ndimage.gaussian_filter(channel, sigma) for channel in noise]).argmax(axis=0).astype(np.uint8)


def score(truth, prediction, spacing=None, classes=2, **settings):
    """The scores of class 1 by name."""
    found = Boundary(**settings)(truth, prediction, None, classes, spacing)
    return {name: values[0] for name, values in found.items()}


def brute(truth, prediction, spacing=(1, 1)):
    """Both lists of surface distances from all pairs of border pixels, the border found by SciPy's erosion."""
    points = []
    for picture in (truth == 1, prediction == 1):
        inner = ndimage.binary_erosion(np.pad(picture, 1))[1:-1, 1:-1]
        points.append(np.argwhere(picture & ~inner) * np.asarray(spacing))
    pairs = cdist(*points)
    return pairs.min(axis=1), pairs.min(axis=0)


# By hand -----------------------------------------------------------------------------------------------------------------


def test_two_single_pixels_are_as_far_apart_as_they_are():
    truth, prediction = box((9, 12), 1, 2, 1, 2), box((9, 12), 4, 6, 4, 6)
    assert score(truth, prediction) == {"hd95": 5, "assd": 5, "nsd": 0, "boundary_iou": 0}
    assert score(truth, prediction, tolerance=5)["nsd"] == 1


@pytest.mark.parametrize("tolerance", [0, 2])
def test_the_truth_itself_is_perfect(tolerance):
    truth = blobs(0)
    assert score(truth, truth, tolerance=tolerance) == {"hd95": 0, "assd": 0, "nsd": 1, "boundary_iou": 1}


def test_a_square_that_moved_by_one_column():
    # Border pixels of a 4 x 4 square: 12. Of those of the truth, the 4 of its left column and the 2 inside its right one
    # (rows 3, 4 at column 5) are 1 away from the moved border; the other way round the same.
    truth, prediction = box((10, 10), 2, 2, 5, 5), box((10, 10), 2, 3, 5, 6)
    found = score(truth, prediction, tolerance=0)
    assert found["assd"] == (6 + 6) / 24
    assert found["hd95"] == 1
    assert found["nsd"] == 12 / 24
    assert score(truth, prediction, tolerance=1)["nsd"] == 1


def test_the_published_example_of_an_annotation_error():
    # Figure 5c of "Understanding metric-related pitfalls" (Reinke et al. 2024): HD 11.31, HD95 6.79.
    prediction = box((14, 14), 9, 9, 11, 11)
    truth = prediction.copy()
    truth[1, 1] = 1
    there, back = surface_distances(truth == 1, prediction == 1)
    assert max(there.max(), back.max()) == pytest.approx(11.3137, abs=1e-4)
    assert score(truth, prediction)["hd95"] == pytest.approx(6.79, abs=0.005)


def test_the_percentile_is_taken_in_each_direction_and_not_of_both_pooled():
    prediction = box((14, 14), 9, 9, 11, 11)
    truth = prediction.copy()
    truth[1, 1] = 1
    there, back = surface_distances(truth == 1, prediction == 1)
    as_medpy_does = np.percentile(np.concatenate([there, back]), 95)
    assert as_medpy_does == pytest.approx(2.26, abs=0.005)
    assert score(truth, prediction)["hd95"] == pytest.approx(3 * as_medpy_does)


@pytest.mark.parametrize(("prediction", "expected"), [(box((14, 14), 6, 6, 7, 7), 0.75), (box((14, 14), 4, 4, 9, 9), 0.875)])
def test_the_published_examples_of_surface_distance(prediction, expected):
    # Figure SN 2.10 of the same paper, tolerance 1: a 4 x 4 square predicted as 2 x 2 and as 6 x 6.
    assert score(box((14, 14), 5, 5, 8, 8), prediction, tolerance=1)["nsd"] == expected


def test_boundary_iou_of_a_band_of_one_pixel():
    # The bands are the border pixels, diagonal neighbours included: 12 of each square, of which 2 x 3 are shared.
    truth, prediction = box((10, 10), 2, 2, 5, 5), box((10, 10), 2, 3, 5, 6)
    assert score(truth, prediction)["boundary_iou"] == 6 / 18


def test_boundary_iou_looks_at_a_band_and_iou_at_everything():
    truth, prediction = box((100, 100), 10, 10, 89, 89), box((100, 100), 12, 12, 87, 87)
    found = score(truth, prediction)["boundary_iou"]  # 2 % of 141 pixels: a band of 3
    one, other = 80**2 - 74**2, 76**2 - 70**2
    shared = 76**2 - 74**2
    assert found == pytest.approx(shared / (one + other - shared))
    assert found < 76**2 / 80**2
    assert score(truth, prediction, band=0.9)["boundary_iou"] == pytest.approx(76**2 / 80**2)


def test_the_edge_of_the_picture_is_a_border():
    everything = np.ones((6, 8), bool)
    assert surface(everything).sum() == 2 * 6 + 2 * 8 - 4
    half = box((6, 8), 0, 0, 5, 3)
    # Of the truth's 24 edge pixels the 12 of the left half lie on the half's border; the others are 1, 2, 3, 4 columns away.
    found = score(np.ones((6, 8), np.uint8), half, tolerance=0)
    there = [0] * 12 + [1, 1, 2, 2, 3, 3] + [4] * 6
    back = [0] * 12 + [1, 2, 2, 1]
    assert found["assd"] == pytest.approx(sum(there + back) / (len(there) + len(back)))
    assert found["nsd"] == 24 / 40


# Empty sets --------------------------------------------------------------------------------------------------------------


def test_without_truth_the_case_is_left_out():
    nothing, something = np.zeros((6, 8), np.uint8), box((6, 8), 2, 2, 3, 3)
    for prediction in (nothing, something):
        assert all(math.isnan(value) for value in score(nothing, prediction).values())


@pytest.mark.parametrize(("spacing", "diagonal"), [(None, 10), ((0.5, 0.5), 5), ((3, 1), math.hypot(18, 8))])
def test_a_missed_object_gets_the_worst_value(spacing, diagonal):
    found = score(box((6, 8), 2, 2, 3, 3), np.zeros((6, 8), np.uint8), spacing, unit="spacing" if spacing else "pixel")
    assert found == {"hd95": diagonal, "assd": diagonal, "nsd": 0, "boundary_iou": 0}


def test_no_distance_is_larger_than_that_of_a_missed_object():
    corners = score(box((6, 8), 0, 0, 0, 0), box((6, 8), 5, 7, 5, 7))
    assert corners["hd95"] < math.hypot(6, 8)


# Ignored pixels ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_what_is_predicted_on_ignored_pixels_changes_nothing(seed):
    truth, prediction = blobs(seed, classes=3), blobs(seed + 10, classes=3)
    truth[20:30] = 255
    truth[:, 40:44] = 255
    other = prediction.copy()
    other[truth == 255] = np.random.default_rng(seed).integers(0, 3, (truth == 255).sum())
    assert Boundary()(truth, prediction, None, 3, None) == Boundary()(truth, other, None, 3, None)


def test_a_border_inside_an_ignored_ring_is_perfect():
    truth = mask("........", ".??????.", ".?1111?.", ".?1111?.", ".??????.", "........")
    for prediction in (box((6, 8), 2, 2, 3, 5), box((6, 8), 1, 1, 4, 6), box((6, 8), 1, 2, 3, 6)):
        assert score(truth, prediction) == {"hd95": 0, "assd": 0, "nsd": 1, "boundary_iou": 1}
    beyond = score(truth, box((6, 8), 1, 0, 4, 6))
    assert beyond["hd95"] > 0
    assert beyond["boundary_iou"] < 1


def test_a_truth_of_ignored_pixels_alone_is_no_truth():
    assert all(math.isnan(value) for value in score(np.full((5, 5), 255, np.uint8), np.ones((5, 5), np.uint8)).values())


def test_a_prediction_on_ignored_pixels_alone_is_a_miss():
    truth = mask("11......", "11......", "......??")
    assert score(truth, mask("........", "........", "......11"))["nsd"] == 0


# Spacing -----------------------------------------------------------------------------------------------------------------


def test_in_pixels_the_spacing_does_not_matter():
    truth, prediction = blobs(1), blobs(2)
    assert score(truth, prediction, (0.3, 7.0)) == score(truth, prediction)


def test_square_pixels_scale_the_distances():
    truth, prediction = blobs(1), blobs(2)
    plain, scaled = score(truth, prediction), score(truth, prediction, (0.1, 0.1), unit="spacing", tolerance=0.2)
    assert scaled["hd95"] == pytest.approx(plain["hd95"] / 10)
    assert scaled["assd"] == pytest.approx(plain["assd"] / 10)
    assert scaled["nsd"] == plain["nsd"]
    assert scaled["boundary_iou"] == plain["boundary_iou"]


def test_a_distance_equal_to_the_tolerance_is_within():
    truth, prediction = box((5, 9), 2, 1, 2, 1), box((5, 9), 2, 4, 2, 4)
    assert 3 * 0.1 > 0.3
    assert score(truth, prediction, (0.1, 0.1), unit="spacing", tolerance=0.3)["nsd"] == 1
    assert score(truth, prediction, (0.7, 0.1), unit="spacing", tolerance=0.3)["nsd"] == 1


def test_rows_and_columns_have_their_own_size():
    truth, right, down = box((9, 9), 2, 2, 2, 2), box((9, 9), 2, 5, 2, 5), box((9, 9), 5, 2, 5, 2)
    assert score(truth, right, (2.0, 0.5), unit="spacing")["hd95"] == 1.5
    assert score(truth, down, (2.0, 0.5), unit="spacing")["hd95"] == 6


def test_a_spacing_that_is_missing():
    with pytest.raises(DataError) as error:
        score(blobs(0), blobs(1), unit="spacing")
    assert str(error.value) == (
        "the boundary measure is to be in the image's spacing, and the data give none. The size of a pixel (row, column) was "
        "expected. Type 'data.spacing=[0.7,0.7]' with the size of a pixel (NIfTI files give theirs), or "
        "metrics.boundary.unit=pixel."
    )


@pytest.mark.parametrize("spacing", [(0.0, 1.0), (1.0, -2.0), (NAN, 1.0), (1.0, 1.0, 1.0)])
def test_a_spacing_that_cannot_be(spacing):
    with pytest.raises(DataError, match="Two positive numbers, the size of a pixel along rows and columns"):
        score(blobs(0), blobs(1), spacing, unit="spacing")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tolerance": -1}, "tolerance of the boundary measure is -1. 0 or more. Set tolerance=2."),
        ({"tolerance": NAN}, "tolerance of the boundary measure is nan. 0 or more. Set tolerance=2."),
        ({"unit": "mm"}, "unit of the boundary measure is 'mm'. pixel or spacing. Set unit=pixel."),
        ({"band": 0}, "band of the boundary measure is 0. between 0 and 1. Set band=0.02."),
        ({"band": 2}, "band of the boundary measure is 2. between 0 and 1. Set band=0.02."),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(ConfigError) as error:
        Boundary(**settings)
    assert str(error.value) == message


# Against other ways to the same number -----------------------------------------------------------------------------------


@pytest.mark.parametrize("spacing", [(1, 1), (0.4, 0.4), (0.5, 1.3)])
@pytest.mark.parametrize("kind", ["blobs", "specks", "one speck"])
def test_distances_are_those_of_all_pairs(kind, spacing):
    rng = np.random.default_rng(5)
    for seed in range(4):
        truth, prediction = blobs(seed), blobs(seed + 20)
        if kind == "specks":  # long borders take the other of the two ways
            truth, prediction = ((rng.random((33, 47)) < 0.3).astype(np.uint8) for _ in range(2))
        if kind == "one speck":
            truth = box(truth.shape, 60, 82, 60, 82)
        for ours, theirs in zip(
            surface_distances(truth == 1, prediction == 1, spacing), brute(truth, prediction, spacing), strict=True
        ):
            np.testing.assert_allclose(ours, theirs, rtol=1e-9)


def test_both_ways_to_a_distance_agree_at_the_size_of_a_real_picture():
    truth, prediction = blobs(0, (700, 900), sigma=2), blobs(1, (700, 900), sigma=2)
    by_pixel = surface_distances(truth == 1, prediction == 1)
    by_point = surface_distances(truth == 1, prediction == 1, (1.0, 1.0 + 1e-12))
    for one, other in zip(by_pixel, by_point, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("width", [1, 2, 5])
@pytest.mark.parametrize("seed", range(3))
def test_boundary_iou_by_the_chessboard_distance(seed, width):
    truth, prediction = blobs(seed, sigma=8), blobs(seed, sigma=8)
    prediction = np.roll(prediction, 2, axis=1)
    bands = []
    for picture in (truth == 1, prediction == 1):
        distance = ndimage.distance_transform_cdt(np.pad(picture, 1), metric="chessboard")[1:-1, 1:-1]
        bands.append(picture & (distance <= width))
    expected = (bands[0] & bands[1]).sum() / (bands[0] | bands[1]).sum()
    assert score(truth, prediction, band=width / math.hypot(*truth.shape))["boundary_iou"] == expected


def test_truth_and_prediction_may_change_places():
    truth, prediction = blobs(3), blobs(4)
    assert score(truth, prediction) == pytest.approx(score(prediction, truth))


def test_each_class_is_scored_by_itself():
    truth, prediction = blobs(3, classes=4), blobs(4, classes=4)
    found = Boundary()(truth, prediction, None, 4, None)
    for k in (1, 2, 3):
        alone = score((truth == k).astype(np.uint8), (prediction == k).astype(np.uint8))
        assert {name: values[k - 1] for name, values in found.items()} == alone


@pytest.fixture(scope="module")
def monai():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("monai.metrics")


def one_hot(picture, classes=2):
    return torch.nn.functional.one_hot(torch.from_numpy(picture).long(), classes).movedim(-1, 0)[None].float()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy.*:FutureWarning")
@pytest.mark.parametrize("spacing", [None, (0.5, 0.5), (0.8, 2.5)])
@pytest.mark.parametrize("shape", [(40, 40), (31, 77)])
def test_like_monai(monai, shape, spacing):
    for seed in range(4):
        truth, prediction = blobs(seed, shape, classes=3), blobs(seed + 30, shape, classes=3)
        tensors = one_hot(prediction, 3), one_hot(truth, 3)
        found = Boundary(unit="spacing" if spacing else "pixel")(truth, prediction, None, 3, spacing)
        theirs = monai.compute_hausdorff_distance(*tensors, percentile=95, spacing=spacing)
        np.testing.assert_allclose(found["hd95"], theirs[0], rtol=1e-5)
        theirs = monai.compute_average_surface_distance(*tensors, symmetric=True, spacing=spacing)
        np.testing.assert_allclose(found["assd"], theirs[0], rtol=1e-5)
        theirs = monai.compute_surface_dice(*tensors, class_thresholds=[2.0, 2.0], spacing=spacing)
        np.testing.assert_allclose(found["nsd"], theirs[0], rtol=1e-5)


@pytest.mark.slow
def test_a_missed_object_vanishes_from_monais_mean_and_not_from_ours(monai):
    truth = box((6, 8), 2, 2, 3, 3)
    nothing = np.zeros_like(truth)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = monai.compute_hausdorff_distance(one_hot(nothing), one_hot(truth), percentile=95)
    assert not torch.isfinite(theirs).any()
    assert score(truth, nothing)["hd95"] == 10


# Known to be wrong elsewhere ---------------------------------------------------------------------------------------------


def test_torchmetrics_is_wrong_where_the_picture_is_not_square():
    from torchmetrics.functional.segmentation import hausdorff_distance

    def both(truth, prediction):
        hot = [one_hot(picture).long() for picture in (prediction, truth)]
        there, back = surface_distances(truth == 1, prediction == 1)
        return float(hausdorff_distance(*hot, num_classes=2)[0, 0]), max(there.max(), back.max())

    # It writes pixel (row, column) of its distance map to row * height + column: right only where the width is the height.
    theirs, ours = both(box((12, 12), 1, 1, 1, 1), box((12, 12), 1, 6, 1, 6))
    assert theirs == ours == 5
    wrong = [both(blobs(seed, (20, 31)), blobs(seed + 30, (20, 31))) for seed in range(5)]
    assert any(abs(theirs - ours) > 1 for theirs, ours in wrong)
    for seed, (_, ours) in enumerate(wrong):
        there, back = brute(blobs(seed, (20, 31)), blobs(seed + 30, (20, 31)))
        assert ours == pytest.approx(max(there.max(), back.max()))


def test_torchmetrics_fails_where_both_are_empty_and_we_leave_the_case_out():
    from torchmetrics.functional.segmentation import hausdorff_distance

    nothing = np.zeros((6, 6), np.uint8)
    with pytest.raises(RuntimeError, match="numel"):
        hausdorff_distance(one_hot(nothing).long(), one_hot(nothing).long(), num_classes=2)
    assert math.isnan(score(nothing, nothing)["hd95"])
