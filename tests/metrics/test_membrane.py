import math

import cv2
import numpy as np
import pytest
from scipy import ndimage

from segexp.errors import ConfigError
from segexp.metrics.membrane import Membrane, label_cells, overlaps, rand_error, thin_borders, v_info, v_rand

DECIDED = ("v_rand", "v_info", "rand_error", "pixel_error", "warping_error")


def walls(*rows):
    """A class map drawn by hand: a hash is membrane (class 1), a dot is cell, a question mark is ignored."""
    return np.array([[".#?".index(c) for c in row] for row in rows], np.uint8).choose((0, 1, 255)).astype(np.uint8)


def score(truth, prediction, probabilities=None, **settings):
    """The scores of the membrane by name."""
    settings = {"thresholds": ()} | settings
    found = Membrane(**settings)(truth, prediction, probabilities, 2, None)
    return {name: values[0] for name, values in found.items()}


def tissue(seed, shape=(90, 120), count=25, thickness=2):
    """A truth of cells around random points, divided by membranes, and a prediction with gaps and specks."""
    rng = np.random.default_rng(seed)
    points = rng.random((count, 2)) * shape
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    near = np.sort(np.linalg.norm(grid[:, :, None] - points, axis=-1), axis=2)
    truth = (near[..., 1] - near[..., 0] < thickness).astype(np.uint8)
    hidden = ndimage.gaussian_filter(rng.standard_normal(shape), 3)
    probability = ndimage.gaussian_filter(truth.astype(float), 1) + 1.5 * hidden
    probability = np.clip(probability, 0, 1).astype(np.float32)
    return truth, (probability > 0.5).astype(np.uint8), np.stack([1 - probability, probability])


# Cells and thinning ------------------------------------------------------------------------------------------------------


def test_cells_are_4_connected():
    assert label_cells(walls("..#..", "..#..", "##...") == 1).tolist() == [[1, 1, 0, 2, 2], [1, 1, 0, 2, 2], [0, 0, 2, 2, 2]]
    assert label_cells(walls("#.", ".#") == 1).max() == 2


def test_thinning_gives_the_membrane_to_the_nearest_cell():
    labels = label_cells(walls("..#####...") == 1)
    assert thin_borders(labels).tolist() in ([[1] * 4 + [2] * 6], [[1] * 5 + [2] * 5])
    assert thin_borders(np.zeros((2, 2), np.int32)).tolist() == [[1, 1], [1, 1]]


@pytest.mark.parametrize("thick", [1, 3, 5])
def test_a_thick_membrane_costs_nothing_after_thinning(thick):
    truth = walls("....#....").repeat(6, axis=0)
    prediction = np.zeros_like(truth)
    prediction[:, 4 - thick // 2 : 5 + thick // 2] = 1
    found = score(truth, prediction)
    assert found["v_rand"] == 1
    assert found["v_info"] == pytest.approx(1)
    assert found["warping_error"] == 0
    assert (found["rand_error"] > 0) == (found["pixel_error"] > 0) == (thick > 1)


# By hand -----------------------------------------------------------------------------------------------------------------


def test_the_truth_itself_is_perfect():
    truth = walls("..#..", "..#..", "..#..")
    found = score(truth, truth)
    assert found == {"v_rand": 1, "v_info": 1, "rand_error": 0, "pixel_error": 0, "warping_error": 0}


def test_two_cells_that_were_merged():
    # 6 pixels in each cell of the truth, all 12 in one segment: p = (6, 6) / 12, t = (6, 6) / 12, s = 1.
    found = score(walls("..#..", "..#..", "..#.."), np.zeros((3, 5), np.uint8))
    assert found["v_rand"] == pytest.approx(2 * (1 / 4 + 1 / 4) / (1 + 1 / 2))
    assert found["v_info"] == 0  # one segment tells nothing about the cells
    assert found["pixel_error"] == found["warping_error"] == 3 / 15
    # Pairs within a cell: 2 x 15, found together: all 66. F = 2 x 30 / (30 + 66).
    assert found["rand_error"] == pytest.approx(1 - 60 / 96)


def test_a_cell_that_was_split():
    # Cells of 6 and 9 pixels; the second is split into 3 and 6 by nothing that counts: its wall goes to the nearest segment.
    truth = walls("..#...", "..#...", "..#...")
    prediction = walls("..#.#.", "..#.#.", "..#.#.")
    found = score(truth, prediction)
    wall = label_cells(prediction == 1)[0].tolist()
    assert wall == [1, 1, 0, 2, 0, 3]
    left = (
        int((thin_borders(label_cells(prediction == 1))[0] == 2).sum()) - 1
    )  # of the three columns right of the true membrane
    parts = np.array([6, 3 * (2 if left else 1), 3 * (1 if left else 2)]) / 15
    same = np.square(parts).sum()
    assert found["v_rand"] == pytest.approx(2 * same / (same + (36 + 81) / 225))
    segments, cells = -(parts * np.log(parts)).sum(), -(0.4 * math.log(0.4) + 0.6 * math.log(0.6))
    assert found["v_info"] == pytest.approx(2 * cells / (segments + cells))  # the cell follows from the segment: I = H(T)
    assert found["pixel_error"] == 3 / 18
    assert found["warping_error"] == 1 / 18


def test_v_rand_and_v_info_of_a_table():
    # Two cells (4 and 4 pixels); segment a has 3 + 1 of them, segment b 1 + 3.
    cells = np.array([[1, 1, 1, 1, 2, 2, 2, 2, 0]])
    table = overlaps(cells, np.array([[1, 1, 1, 2, 1, 2, 2, 2, 2]]))
    assert table.sum() == 8
    assert v_rand(table) == pytest.approx((9 + 1 + 1 + 9) / 32)
    mutual = math.log(2) + 0.75 * math.log(0.75) + 0.25 * math.log(0.25)
    assert v_info(table) == pytest.approx(mutual / math.log(2))
    # Pairs together in both: 3 + 3; in the cells 12, in the segments 12.
    assert rand_error(table) == pytest.approx(1 - 6 / 12)


def test_the_truths_membrane_is_not_counted():
    truth = walls("..##..", "..##..")
    shifted = walls("...#..", "...#..")
    found = score(truth, shifted)
    assert found["v_rand"] == 1
    assert found["pixel_error"] == 2 / 12


# Empty sets --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prediction", [walls("....", "...."), walls("..#.", "..#.")])
def test_without_a_membrane_or_without_a_cell_in_the_truth_the_case_is_left_out(prediction):
    for truth in (walls("....", "...."), walls("####", "####"), walls("????", "????"), walls("??..", "??..")):
        assert all(math.isnan(value) for value in score(truth, prediction).values())


def test_a_membrane_all_over_is_one_segment():
    truth = walls("..#..", "..#..", "..#..")
    everywhere, nowhere = score(truth, np.ones_like(truth)), score(truth, np.zeros_like(truth))
    assert everywhere["v_rand"] == nowhere["v_rand"]
    assert everywhere["v_info"] == 0
    assert everywhere["pixel_error"] == 12 / 15


def test_one_cell_in_both_is_right():
    found = score(walls("....", "####"), walls("....", "...."))
    assert found["v_rand"] == found["v_info"] == 1
    assert found["rand_error"] == 0
    assert score(walls(".#"), walls(".."))["rand_error"] == 0  # a single counted pixel makes no pair


# Ignored pixels ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(2))
def test_what_is_predicted_on_ignored_pixels_changes_nothing(seed):
    truth, prediction, probabilities = tissue(seed)
    truth[30:45, 20:70] = 255
    hidden = truth == 255
    other, others = prediction.copy(), probabilities.copy()
    other[hidden] = 1 - other[hidden]
    others[:, hidden] = others[::-1, hidden]
    settings = {"thresholds": (0.3, 0.6)}
    assert score(truth, prediction, probabilities, **settings) == score(truth, other, others, **settings)


def test_ignored_pixels_are_not_counted():
    found = score(walls("..#..?", "..#..?"), walls("..#...", ".##..."))
    assert found["pixel_error"] == 1 / 10


# Thresholds and classes --------------------------------------------------------------------------------------------------


def test_the_best_threshold_is_that_of_the_best_mask():
    truth, prediction, probabilities = tissue(3)
    found = score(truth, prediction, probabilities, thresholds=(0.2, 0.5, 0.8))
    masks = [score(truth, (probabilities[1] > t).astype(np.uint8)) for t in (0.2, 0.5, 0.8)]
    assert found["v_rand_max"] == max(mask["v_rand"] for mask in masks)
    assert found["v_info_max"] == max(mask["v_info"] for mask in masks)
    assert found["v_rand"] == masks[1]["v_rand"] <= found["v_rand_max"]


def test_without_probabilities_the_best_threshold_is_no_number():
    truth, prediction, _ = tissue(3)
    found = score(truth, prediction, None, thresholds=(0.5,))
    assert math.isnan(found["v_rand_max"])
    assert not math.isnan(found["v_rand"])


def test_without_thresholds_no_probabilities_are_asked_for():
    assert Membrane().needs_probabilities
    assert not Membrane(thresholds=[]).needs_probabilities
    assert Membrane(thresholds=[]).columns == DECIDED == tuple(Membrane(thresholds=[]).better)


def test_each_class_may_be_the_membrane_or_one_of_them_is():
    truth, prediction, _ = tissue(4)
    truth[:, 60:][truth[:, 60:] == 1] = 2
    every = Membrane(thresholds=())(truth, prediction, None, 3, None)
    assert not np.isnan(every["v_rand"]).any()
    only = Membrane(class_index=2, thresholds=())(truth, prediction, None, 3, None)
    assert math.isnan(only["v_rand"][0])
    assert only["v_rand"][1] == every["v_rand"][1]


@pytest.mark.parametrize("index", [0, 2, 7])
def test_a_class_that_the_data_do_not_have(index):
    truth, prediction, _ = tissue(0)
    with pytest.raises(ConfigError) as error:
        Membrane(class_index=index)(truth, prediction, None, 2, None)
    assert str(error.value) == (
        f"class_index of the membrane measure is {index}, and the data have 2 classes. The index of a foreground class, 1 to "
        "1, was expected. Set metrics.membrane.class_index to the membrane's place in data.classes."
    )


@pytest.mark.parametrize("thresholds", [[0.0], [0.5, 1.0]])
def test_thresholds_that_cannot_be(thresholds):
    with pytest.raises(ConfigError) as error:
        Membrane(thresholds=thresholds)
    assert str(error.value) == (
        f"thresholds of the membrane measure are {thresholds}. each between 0 and 1. Set 'thresholds=[0.3,0.5,0.7]', or "
        "'thresholds=[]' for the decided mask alone."
    )


# Against scikit-image ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def skimage():
    return pytest.importorskip("skimage.metrics")


@pytest.mark.parametrize("seed", range(4))
def test_the_rand_error_is_that_of_scikit_image(skimage, seed):
    truth, prediction, _ = tissue(seed)
    theirs = skimage.adapted_rand_error(label_cells(truth == 1), label_cells(prediction == 1))[0]
    found = score(truth, prediction)["rand_error"]
    assert 0 < found < 0.5
    assert found == pytest.approx(theirs, rel=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_v_rand_is_that_of_scikit_image_up_to_pairs_of_a_pixel_with_itself(skimage, seed):
    # Theirs counts pairs of different pixels, the challenge's formula squares: 1 / pixels apart.
    truth, prediction, _ = tissue(seed)
    cells, segments = label_cells(truth == 1), thin_borders(label_cells(prediction == 1))
    error = skimage.adapted_rand_error(cells, segments)[0]
    assert 1 - score(truth, prediction)["v_rand"] == pytest.approx(error, abs=1e-3)
    assert rand_error(overlaps(cells, segments)) == pytest.approx(error, rel=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_v_info_from_scikit_images_conditional_entropies(skimage, seed):
    truth, prediction, _ = tissue(seed)
    cells, segments = label_cells(truth == 1), thin_borders(label_cells(prediction == 1))
    split, merge = skimage.variation_of_information(cells, segments, ignore_labels=[0])  # H(S | T), H(T | S), in bits
    sizes = np.bincount(cells[cells > 0]), np.bincount(segments[cells > 0])
    of_cells, of_segments = (-sum(n / s.sum() * math.log2(n / s.sum()) for n in s if n) for s in sizes)
    mutual = of_segments - split
    assert mutual == pytest.approx(of_cells - merge)
    assert score(truth, prediction)["v_info"] == pytest.approx(2 * mutual / (of_cells + of_segments), rel=1e-9)


def test_scikit_images_precision_and_recall_have_each_others_name_and_ours_is_the_f_score_of_both(skimage):
    # One segment for two cells: every pair of the truth is found (recall 1), half of the found ones are right.
    cells, merged = np.array([[1, 1, 1, 2, 2, 2]]), np.ones((1, 6), int)
    error, precision, recall = skimage.adapted_rand_error(cells, merged)
    assert (precision, recall) == (1, 6 / 15)
    assert rand_error(overlaps(cells, merged)) == pytest.approx(error) == pytest.approx(1 - 2 * 0.4 / 1.4)


# On real data ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 7])
def test_on_real_sections_shift_and_width_are_cheap_and_lost_walls_are_dear(real_data, number):
    label = cv2.imread(str(sorted((real_data / "isbi" / "train" / "label").glob("*.png"))[number]), cv2.IMREAD_GRAYSCALE)
    truth = (label == 0).astype(np.uint8)
    gaps = truth.copy()
    gaps[::40] = 0
    shifted = np.concatenate([truth[:, :1], truth[:, :-1]], axis=1)
    perfect, moved, thick, lost = (score(truth, p) for p in (truth, shifted, cv2.dilate(truth, np.ones((3, 3))), gaps))
    assert perfect == {"v_rand": 1, "v_info": pytest.approx(1), "rand_error": 0, "pixel_error": 0, "warping_error": 0}
    for found in (moved, thick):
        assert min(found["v_rand"], found["v_info"]) > 0.99
        assert found["pixel_error"] > 3 * lost["pixel_error"]
        assert found["warping_error"] < lost["warping_error"]
    assert thick["rand_error"] > 0.1  # what thinning is for
    assert max(lost["v_rand"], lost["v_info"]) < 0.3
    assert moved["warping_error"] < 1e-4  # a handful of pixels: the edge of the picture cuts a corner off a cell
