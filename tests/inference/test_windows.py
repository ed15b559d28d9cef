"""Where windows lie: they cover an image exactly, overlap as asked, cost little, and their shares sum to 1."""

from itertools import pairwise

import pytest
import torch

from segexp.inference.windows import UNIT, Axis, cost, lay, plan

SIZES = [(10_000, 10_000), (2048, 2049), (2100, 2000), (3072, 3072), (4000, 6000), (8192, 2048), (5001, 1203), (100_000, 300)]


def covered(axis: Axis) -> torch.Tensor:
    """How many windows see each pixel."""
    count = torch.zeros(axis.length, dtype=torch.long)
    for start in axis.starts:
        count[start : start + axis.window] += 1
    return count


@pytest.mark.parametrize("length", [65, 96, 97, 128, 1000, 1023, 1024, 1025, 4096])
@pytest.mark.parametrize(("window", "overlap"), [(64, 32), (96, 32), (128, 64), (300, 64), (512, 128)])
def test_windows_of_one_size_cover_the_length_and_overlap(length: int, window: int, overlap: int) -> None:
    axis = lay(length, window, overlap)
    if length <= window:
        assert (axis.starts, axis.window, axis.overlap) == ((0,), length, 0)
        return
    assert covered(axis).min() >= 1
    assert axis.window <= window
    assert axis.window % UNIT == 0
    assert all(start % UNIT == 0 for start in axis.starts), "the phase of every pooling is that of the whole image"
    assert axis.overlap >= overlap
    assert 0 <= axis.starts[-1] + axis.window - length < UNIT, "the last window ends where the image does"


def test_windows_are_laid_evenly() -> None:
    axis = lay(10_000, 2048, 128)
    steps = [b - a for a, b in pairwise(axis.starts)]
    assert max(steps) - min(steps) <= UNIT
    assert (len(axis.starts), axis.window) == (6, 1792), "six of 2048 would do as well, and cost more"


@pytest.mark.parametrize("length", [70, 200, 513, 1000])
@pytest.mark.parametrize("overlap", [32, 64, 96])
def test_the_shares_of_a_pixel_sum_to_one(length: int, overlap: int) -> None:
    axis = lay(length, overlap + 64, overlap)
    total = torch.zeros(axis.starts[-1] + axis.window)
    for start, weights in zip(axis.starts, axis.weights(), strict=True):
        assert weights.min() > 0
        total[start : start + axis.window] += weights
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-6)


def test_a_window_counts_fully_in_its_core_and_at_the_borders_of_the_image() -> None:
    axis = lay(992, 512, 32)
    assert axis.starts == (0, 480)
    first, last = axis.weights()
    assert (first[:480] == 1).all()
    assert (last[32:] == 1).all()
    assert (first[480:].diff() < 0).all()
    assert first[480:].equal(last[:32].flip(0)), "the flanks mirror each other"
    torch.testing.assert_close(first[495] + first[496], torch.tensor(1.0)), "in the middle of the overlap they count alike"
    assert last[0] < 5e-4


def test_at_half_overlap_the_weight_is_that_of_monai() -> None:
    compute = pytest.importorskip("monai.data.utils").compute_importance_map
    theirs = compute((256, 192), mode="gaussian", sigma_scale=0.125)
    ours = []
    for axis in (lay(512, 256, 128), lay(480, 192, 96)):
        assert axis.overlap * 2 == axis.window
        share = axis.weights()[1].double()  # in the overlap w(x) / (w(x) + w(window - 1 - x)), in the middle the same mirrored
        gauss = torch.exp(-(((torch.arange(axis.window) - (axis.window - 1) / 2) * 8 / axis.window) ** 2) / 2).double()
        both = gauss + gauss.roll(axis.overlap)
        torch.testing.assert_close(share, gauss / both, rtol=1e-5, atol=1e-7)
        ours.append(gauss)
    product = (ours[0][:, None] * ours[1]).float()
    kept = theirs > theirs.min()  # MONAI raises what is below 0.001
    assert kept.float().mean() > 0.5
    torch.testing.assert_close(product[kept], theirs[kept], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("max_pixels", [4096**2, 2048**2, 1024**2, 768**2])
def test_windows_keep_the_budget_and_cost_little(size: tuple[int, int], max_pixels: int) -> None:
    rows, columns = grid = plan(*size, max_pixels)
    assert rows.window * columns.window <= max_pixels
    assert covered(rows).min() >= 1
    assert covered(columns).min() >= 1
    assert cost(grid) <= 1.3
    assert all(axis.overlap >= 64 for axis in grid if len(axis.starts) > 1)
    assert (len(rows.starts) * len(columns.starts) == 1) == (size[0] * size[1] <= max_pixels)


def test_large_windows_overlap_by_more_and_still_cost_less() -> None:
    overlaps = [min(axis.overlap for axis in plan(10_000, 10_000, side**2)) for side in (256, 512, 1024, 2048, 4096)]
    assert overlaps == [32, 64, 96, 128, 128]
    assert cost(plan(10_000, 10_000, 4096**2)) < cost(plan(10_000, 10_000, 2048**2)) < 1.15


def test_an_image_narrower_than_a_window_has_one_column() -> None:
    rows, columns = plan(4000, 17, 20_000)
    assert (columns.starts, columns.window) == ((0,), 17)
    assert rows.window * 17 <= 20_000
    assert covered(rows).min() >= 1


@pytest.mark.parametrize("max_pixels", [1, 300, 64 * 64])
def test_a_budget_below_the_smallest_window_gets_the_smallest(max_pixels: int) -> None:
    rows, columns = plan(200, 333, max_pixels)
    assert (rows.window, columns.window) == (2 * UNIT, 2 * UNIT)
    assert covered(rows).min() >= 1
    assert covered(columns).min() >= 1
