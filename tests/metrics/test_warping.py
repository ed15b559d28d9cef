import numpy as np
import pytest
from scipy import ndimage

from segexp.metrics.warping import RING, SIMPLE, warp, warping_error


def cells(*rows):
    """A mask drawn by hand: a hash is membrane, a dot is cell."""
    return np.array([[c == "." for c in row] for row in rows])


def counted(mask):
    """How many cells (4-connected) and membranes (8-connected, with what lies beyond the edge) a mask has."""
    return ndimage.label(mask)[1], ndimage.label(np.pad(~mask, 1, constant_values=True), np.ones((3, 3)))[1]


def noise(seed, shape=(40, 57), sigma=2.0):
    return ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), sigma) > -0.01


# Simple pixels -----------------------------------------------------------------------------------------------------------


def test_simple_is_one_cell_and_one_membrane_next_to_the_pixel():
    for code in range(256):
        ring = np.zeros((3, 3), bool)
        for bit, (row, column) in enumerate(RING):
            ring[1 + row, 1 + column] = code >> bit & 1
        inside = ndimage.label(ring)[0]
        touching = {inside[1 + row, 1 + column] for row, column in RING[::2]} - {0}
        outside = ~ring
        outside[1, 1] = False
        assert SIMPLE[code] == (len(touching) == 1 and ndimage.label(outside, np.ones((3, 3)))[1] == 1), f"{code:08b}"


# By hand -----------------------------------------------------------------------------------------------------------------


def test_a_wall_that_moved_or_is_thicker_is_no_error():
    truth = cells("...#....", "...#....", "...#....", "...#....")
    moved = cells("....#...", "....#...", "....#...", "....#...")
    thick = cells("..####..", "..####..", "..####..", "..####..")
    for prediction in (truth, moved, thick):
        assert warping_error(truth, prediction) == 0
        assert warping_error(prediction, truth) == 0


def test_a_gap_costs_its_length_however_thick_the_wall_is():
    # The truth may thin to one pixel there, and no further: the two cells would join.
    truth = cells("..#..", "..#..", "..#..", "..#..", "..#..")
    gap = cells("..#..", ".....", ".....", "..#..", "..#..")
    assert warping_error(truth, gap) == 2
    thick = cells(".###.", ".###.", ".###.", ".###.", ".###.")
    assert warping_error(thick, gap) == 2


def test_a_false_wall_costs_one_pixel():
    # The truth's membrane grows along it until one more pixel would divide the cell.
    truth = cells("#######", "#.....#", "#.....#", "#.....#", "#######")
    assert warping_error(truth, cells("#######", "#..#..#", "#..#..#", "#..#..#", "#######")) == 1
    assert warping_error(truth, cells("#######", "#..#..#", "#..#..#", "#.....#", "#######")) == 0


def test_specks_cost_their_area():
    truth = cells("........", "........", "........", "........", "........")
    assert warping_error(truth, cells("........", "........", "...#....", "........", "........")) == 1
    assert warping_error(truth, cells("........", "..##....", "..##....", "........", "........")) == 4
    assert warping_error(~truth, ~cells("........", "..##....", "..##....", "........", "........")) == 4


def test_a_missed_cell_leaves_one_pixel():
    # It shrinks to its last pixel, which cannot go.
    truth = cells("########", "#......#", "########", "#......#", "########")
    assert warping_error(truth, cells("########", "########", "########", "#......#", "########")) == 1


def test_a_wall_may_not_retract_from_the_edge_of_the_picture():
    truth = cells("..#..", "..#..", "..#..")
    assert warping_error(truth, cells(".....", "..#..", "..#..")) == 1


def test_a_diagonal_wall_divides():
    truth = cells("#...", ".#..", "..#.", "...#")
    assert warping_error(truth, cells("#...", "....", "..#.", "...#")) == 1


# In general --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_warping_keeps_cells_and_membranes_and_never_moves_away(seed):
    truth, prediction = noise(seed), noise(seed + 50)
    found = warp(truth, prediction)
    assert counted(found) == counted(truth)
    assert (found == truth)[truth == prediction].all()
    assert warping_error(truth, prediction) < (truth != prediction).sum()


@pytest.mark.parametrize("seed", range(3))
def test_nothing_that_is_left_could_be_flipped(seed):
    truth, prediction = noise(seed, (20, 23)), noise(seed + 50, (20, 23))
    found = warp(truth, prediction)
    for row, column in np.argwhere(found != prediction):
        around = np.pad(found, 1)[row : row + 3, column : column + 3]
        code = sum(int(around[1 + r, 1 + c]) << bit for bit, (r, c) in enumerate(RING))
        assert not SIMPLE[code]


def test_the_masks_handed_in_stay_as_they_are():
    truth, prediction = noise(0), noise(1)
    copies = truth.copy(), prediction.copy()
    warp(truth, prediction)
    assert (truth == copies[0]).all()
    assert (prediction == copies[1]).all()
