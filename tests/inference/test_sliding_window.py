from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional

from segexp.data.labels.modes import STRIP, softmax_
from segexp.inference import plan_windows, segment, window_positions
from segexp.inference.sliding_window import UNIT, Axis, choose_device, window_cost


def read(image):
    """Parts of a prepared image."""
    return lambda rows, columns: image[:, rows, columns]


def run(network, image, size=None, max_pixels=None, **more):
    working = tuple(image.shape[-2:])
    return segment(network, read(image), working, size or working, max_pixels, **more)


@pytest.fixture
def pixelwise():
    torch.manual_seed(0)
    return nn.Conv2d(3, 4, 1).requires_grad_(False)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (161, 197), (133, 330), (16, 511), (700, 17)])
@pytest.mark.parametrize("side", [64, 70, 100, 128])
def test_windows_give_what_the_whole_gives(pixelwise, height, width, side):
    image = torch.randn(3, height, width)
    windowed = run(pixelwise, image, max_pixels=side * side)
    assert windowed.shape == (4, height, width)
    torch.testing.assert_close(windowed, run(pixelwise, image), rtol=1e-5, atol=1e-5)


def test_pooling_has_the_same_phase_in_every_window():
    network = nn.Sequential(nn.MaxPool2d(32), nn.Upsample(scale_factor=32))  # a pixel decides over a block of 32
    image = torch.randn(1, 320, 416)
    assert run(network, image, max_pixels=100 * 100).allclose(run(network, image))


def test_beyond_the_image_windows_see_its_reflection():
    seen = []

    def network(window):
        seen.append(window[0, 0].clone())
        return torch.zeros(1, 2, *window.shape[-2:])

    image = torch.arange(97.0 * 70).reshape(1, 97, 70)
    run(network, image, max_pixels=64 * 64)
    whole = functional.pad(image, (0, 96 - 70, 0, 128 - 97), mode="reflect")[0]
    assert {tuple(window.shape) for window in seen} == {(64, 64)}
    assert sum(window.equal(whole[a : a + 64, b : b + 64]) for a in (0, 32, 64) for b in (0, 32) for window in seen) == 6


def test_a_small_field_of_view_leaves_no_seam():
    torch.manual_seed(0)
    layers = (
        nn.Conv2d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.Upsample(scale_factor=2),
    )
    network = nn.Sequential(*layers, nn.Conv2d(8, 2, 1)).requires_grad_(False)
    image = torch.randn(1, 512, 768)
    whole = run(network, image)
    away = (run(network, image, max_pixels=320 * 320) - whole).abs()
    assert away.max() < 0.01 * whole.abs().max()
    rows, columns = plan_windows(512, 768, 320 * 320)
    assert min(len(rows.starts), len(columns.starts)) > 1
    assert away[:, : rows.starts[1], : columns.starts[1]].max() < 1e-5, (
        "where one window counts alone it says what the whole says"
    )


def test_constant_logits_show_no_seam():
    level = torch.tensor([0.25, -1.5]).reshape(1, 2, 1, 1)
    out = run(lambda x: level.expand(len(x), 2, *x.shape[-2:]), torch.zeros(1, 275, 191), max_pixels=64 * 64)
    torch.testing.assert_close(out, level[0].expand(2, 275, 191), rtol=1e-6, atol=1e-6)


def test_a_window_counts_less_at_its_border():
    def network(window):  # wrong at the border of each window, as networks are
        logits = torch.ones(1, 1, *window.shape[-2:])
        logits[..., 2:-2, 2:-2] = 0
        return logits

    out = run(network, torch.zeros(1, 64, 160), max_pixels=64 * 96)[0, 32]
    assert out[:2].tolist() == out[-2:].tolist() == [1, 1]  # at the image's own border nothing else is known
    assert 0 < out[4:-4].max() < 0.001


@pytest.mark.parametrize("overlap", [128, 32])
def test_the_same_windows_and_weights_give_what_monai_gives(overlap):
    inferers = pytest.importorskip("monai.inferers")
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 4, 5, padding=2), nn.ReLU(), nn.MaxPool2d(4), nn.Conv2d(4, 8, 3, padding=1), nn.ReLU()
    network = nn.Sequential(*layers, nn.Upsample(scale_factor=4), nn.Conv2d(8, 2, 3, padding=1)).requires_grad_(False)
    step = 256 - overlap
    image = torch.randn(1, 256 + 2 * step, 256 + step)
    grid = window_positions(image.shape[1], 256, overlap), window_positions(image.shape[2], 256, overlap)
    assert [axis.starts for axis in grid] == [(0, step, 2 * step), (0, step)]
    away = (torch.arange(256.0) + 0.5 - 128).abs() - (128 - overlap)
    flank = torch.exp(-((away.clamp_min(0) * 4 / overlap) ** 2) / 2)
    theirs = inferers.sliding_window_inference(
        image[None], (256, 256), 2, network, overlap=overlap / 256, roi_weight_map=flank[:, None] * flank, mode="gaussian"
    )
    torch.testing.assert_close(run(network, image, grid=grid, batch=2), theirs[0], rtol=1e-5, atol=1e-5)
    if overlap == 128:  # MONAI's own map differs where it raises small weights to 0.001: at corners of windows
        gaussian = inferers.sliding_window_inference(image[None], (256, 256), 2, network, overlap=0.5, mode="gaussian")
        ours = run(network, image, grid=grid)
        assert (ours - gaussian[0]).abs().median() < 1e-5


@pytest.mark.parametrize("batch", [2, 3, 100])
def test_windows_in_one_pass_change_nothing(batch):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1)).eval().requires_grad_(False)
    image, grid = torch.randn(1, 200, 300), (window_positions(200, 96, 32), window_positions(300, 96, 32))
    calls = []

    def counted(windows):
        calls.append(len(windows))
        return network(windows)

    one = run(counted, image, grid=grid)
    count = len(calls)
    assert set(calls) == {1}
    torch.testing.assert_close(run(counted, image, grid=grid, batch=batch), one)
    assert sum(calls[count:]) == count
    assert max(calls[count:]) == min(batch, count)


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_no_pass_sees_more_pixels_than_the_budget(pixelwise, batch):
    calls = []

    def network(windows):
        calls.append(tuple(windows.shape))
        return pixelwise(windows)

    run(network, torch.randn(3, 640, 1000), max_pixels=256 * 256, batch=batch)
    assert max(n * h * w for n, _, h, w in calls) <= 256 * 256
    assert max(n for n, *_ in calls) == batch
    assert len({shape[1:] for shape in calls}) == 1


def test_a_small_image_is_one_pass_and_a_large_one_is_not(pixelwise):
    calls = []

    def network(x):
        calls.append(tuple(x.shape))
        return pixelwise(x)

    image = torch.randn(3, 96, 96)
    run(network, image, max_pixels=96 * 96)
    assert calls == [(1, 3, 96, 96)]
    run(network, image, max_pixels=96 * 96 - 1)
    assert len(calls) == 1 + 2
    assert set(calls[1:]) == {(1, 3, 64, 96)}


@pytest.mark.parametrize("size", [(240, 160), (120, 80), (237, 161), (16, 16)])
@pytest.mark.parametrize("max_pixels", [None, 4096])
def test_logits_come_back_at_the_own_size(pixelwise, size, max_pixels):
    image = torch.randn(3, 120, 80)
    out = run(pixelwise, image, size, max_pixels)
    assert out.shape == (4, *size)
    assert out.dtype == torch.float32
    expected = functional.interpolate(pixelwise(image[None]), size=size, mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)


def test_half_precision_logits_become_float32_before_they_are_blended():
    network = nn.Conv2d(3, 4, 1).to(torch.bfloat16).requires_grad_(False)
    image = torch.randn(3, 100, 100)
    for max_pixels in (None, 4096):
        assert run(lambda x: network(x.to(torch.bfloat16)), image, max_pixels=max_pixels).dtype == torch.float32


def test_one_image_is_segmented_without_regard_to_the_others():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1)).eval().requires_grad_(False)
    first, second = torch.randn(1, 24, 24), 100 * torch.randn(1, 24, 24)
    alone = run(network, first)
    run(network, second)
    assert run(network, first).equal(alone)


def test_the_prepared_image_is_not_changed():
    image = torch.randn(3, 100, 100)
    before = image.clone()
    softmax_(run(lambda x: x, image))
    softmax_(run(lambda x: x, image, max_pixels=4096))
    assert image.equal(before)


@pytest.mark.parametrize("shape", [(2, 3, 5), (3, 40, 70), (2, 5, STRIP)])
def test_probabilities_are_made_in_place(shape):
    logits = 5 * torch.randn(shape)
    expected = logits.softmax(dim=0)
    out = softmax_(logits)
    assert out is logits
    torch.testing.assert_close(out, expected)


@pytest.mark.parametrize(("shape", "where"), [((2, 1000, 1000), "cuda"), ((2, 1250, 1000), "cuda"), ((2, 1251, 1000), "cpu")])
def test_a_map_too_large_for_the_gpu_goes_to_main_memory(monkeypatch, shape, where):
    for name, value in (("memory_reserved", 12e6), ("memory_allocated", 2e6), ("mem_get_info", (10e6, 80e6))):
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    assert choose_device(shape, torch.device("cuda")).type == where  # two of 10 MB into 20 MB
    assert choose_device(shape, torch.device("cpu")).type == "cpu"


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
    axis = window_positions(length, window, overlap)
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
    axis = window_positions(10_000, 2048, 128)
    steps = [b - a for a, b in pairwise(axis.starts)]
    assert max(steps) - min(steps) <= UNIT
    assert (len(axis.starts), axis.window) == (6, 1792), "six of 2048 would do as well, and cost more"


@pytest.mark.parametrize("length", [70, 200, 513, 1000])
@pytest.mark.parametrize("overlap", [32, 64, 96])
def test_the_shares_of_a_pixel_sum_to_one(length: int, overlap: int) -> None:
    axis = window_positions(length, overlap + 64, overlap)
    total = torch.zeros(axis.starts[-1] + axis.window)
    for start, weights in zip(axis.starts, axis.weights(), strict=True):
        assert weights.min() > 0
        total[start : start + axis.window] += weights
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-6)


def test_a_window_counts_fully_in_its_core_and_at_the_borders_of_the_image() -> None:
    axis = window_positions(992, 512, 32)
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
    for axis in (window_positions(512, 256, 128), window_positions(480, 192, 96)):
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
    rows, columns = grid = plan_windows(*size, max_pixels)
    assert rows.window * columns.window <= max_pixels
    assert covered(rows).min() >= 1
    assert covered(columns).min() >= 1
    assert window_cost(grid) <= 1.3
    assert all(axis.overlap >= 64 for axis in grid if len(axis.starts) > 1)
    assert (len(rows.starts) * len(columns.starts) == 1) == (size[0] * size[1] <= max_pixels)


def test_large_windows_overlap_by_more_and_still_cost_less() -> None:
    overlaps = [min(axis.overlap for axis in plan_windows(10_000, 10_000, side**2)) for side in (256, 512, 1024, 2048, 4096)]
    assert overlaps == [32, 64, 96, 128, 128]
    assert window_cost(plan_windows(10_000, 10_000, 4096**2)) < window_cost(plan_windows(10_000, 10_000, 2048**2)) < 1.15


def test_an_image_narrower_than_a_window_has_one_column() -> None:
    rows, columns = plan_windows(4000, 17, 20_000)
    assert (columns.starts, columns.window) == ((0,), 17)
    assert rows.window * 17 <= 20_000
    assert covered(rows).min() >= 1


@pytest.mark.parametrize("max_pixels", [1, 300, 64 * 64])
def test_a_budget_below_the_smallest_window_gets_the_smallest(max_pixels: int) -> None:
    rows, columns = plan_windows(200, 333, max_pixels)
    assert (rows.window, columns.window) == (2 * UNIT, 2 * UNIT)
    assert covered(rows).min() >= 1
    assert covered(columns).min() >= 1
