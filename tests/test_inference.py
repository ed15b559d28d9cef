from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional

from segexp.inference import _starts, _tent, segment


@pytest.fixture
def pixelwise():
    torch.manual_seed(0)
    return nn.Conv2d(3, 4, 1).requires_grad_(False)


def windows_seen(height, width, max_pixels):
    """Return how often each pixel was looked at, and the sizes of the windows."""
    seen, sizes = torch.zeros(height, width), []
    where = torch.arange(height * width, dtype=torch.float64).reshape(1, height, width)

    def network(window):
        rows = (window[0, 0].long() // width).unique()
        columns = (window[0, 0].long() % width).unique()
        seen[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] += 1
        sizes.append(tuple(window.shape[-2:]))
        return torch.zeros(1, 2, *window.shape[-2:])

    segment(network, where, (height, width), max_pixels)
    return seen, sizes


@pytest.mark.parametrize(("height", "width"), [(64, 64), (61, 97), (33, 130), (16, 211)])
@pytest.mark.parametrize("window", [16, 17, 24, 31])
def test_windows_give_what_the_whole_gives(pixelwise, height, width, window):
    image = torch.randn(3, height, width)
    whole = segment(pixelwise, image, (height, width))
    windowed = segment(pixelwise, image, (height, width), max_pixels=window * window)
    assert windowed.shape == (4, height, width)
    torch.testing.assert_close(windowed, whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (61, 97), (16, 211), (50, 17)])
@pytest.mark.parametrize("window", [16, 17, 23])
def test_every_pixel_is_seen_by_windows_of_one_size(height, width, window):
    seen, sizes = windows_seen(height, width, window * window)
    assert seen.min() >= 1
    assert set(sizes) == {(min(window, height), min(window, width))}


@pytest.mark.parametrize("window", [1, 7, 8, 16, 30])
@pytest.mark.parametrize("length", [30, 31, 47, 64])
def test_starts_cover_the_length_and_overlap(window, length):
    starts = list(_starts(length, window))
    assert starts[0] == 0
    assert starts[-1] == length - window
    assert starts == sorted(set(starts))
    assert all(b - a <= window - window // 8 for a, b in pairwise(starts))


@pytest.mark.parametrize("length", [1, 7, 16, 33])
def test_tent_is_symmetric_positive_and_one_in_the_middle(length):
    tent = _tent(length, torch.device("cpu"))
    assert tent.min() > 0
    assert tent.max() <= 1
    assert tent.equal(tent.flip(0))
    assert tent[length // 2] == 1


def test_constant_logits_show_no_seam():
    level = torch.tensor([0.25, -1.5]).reshape(1, 2, 1, 1)
    out = segment(lambda x: level.expand(1, 2, *x.shape[-2:]), torch.zeros(1, 75, 91), (75, 91), max_pixels=20 * 20)
    torch.testing.assert_close(out, level[0].expand(2, 75, 91), rtol=1e-6, atol=1e-6)


def test_a_window_counts_less_at_its_border():
    def network(window):  # wrong at the border of each window, as networks are
        logits = torch.ones(1, 1, *window.shape[-2:])
        logits[..., 2:-2, 2:-2] = 0
        return logits

    out = segment(network, torch.zeros(1, 32, 64), (32, 64), max_pixels=32 * 32)[0, 16]
    assert out[:2].tolist() == out[-2:].tolist() == [1, 1]  # at the image's own border nothing else is known
    # Windows begin at 0, 28 and 32; their weights rise by quarters. Equal weights would give 1/2 four times.
    torch.testing.assert_close(out[28:34], torch.tensor([0.2, 0.4, 0.5 / 1.25, 0.25 / 1.25, 0.2, 1 / 3]))


def test_a_small_image_is_one_pass_and_a_large_one_is_not(pixelwise):
    calls = []

    def network(x):
        calls.append(tuple(x.shape))
        return pixelwise(x)

    image = torch.randn(3, 20, 20)
    segment(network, image, (20, 20), max_pixels=400)
    assert calls == [(1, 3, 20, 20)]
    segment(network, image, (20, 20), max_pixels=399)
    assert len(calls) == 1 + 4
    assert set(calls[1:]) == {(1, 3, 19, 19)}


@pytest.mark.parametrize("size", [(40, 60), (20, 30), (37, 61), (16, 16)])
@pytest.mark.parametrize("max_pixels", [None, 300])
def test_logits_come_back_at_the_own_size(pixelwise, size, max_pixels):
    image = torch.randn(3, 20, 30)
    out = segment(pixelwise, image, size, max_pixels)
    assert out.shape == (4, *size)
    assert out.dtype == torch.float32
    expected = functional.interpolate(pixelwise(image[None]), size=size, mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)


def test_half_precision_logits_become_float32_before_they_are_blended(pixelwise):
    network = nn.Conv2d(3, 4, 1).to(torch.bfloat16).requires_grad_(False)
    image = torch.randn(3, 40, 40)
    for max_pixels in (None, 400):
        out = segment(lambda x: network(x.to(torch.bfloat16)), image, (40, 40), max_pixels)
        assert out.dtype == torch.float32


def test_one_image_is_segmented_without_regard_to_the_others():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1)).eval().requires_grad_(False)
    first, second = torch.randn(1, 24, 24), 100 * torch.randn(1, 24, 24)
    alone = segment(network, first, (24, 24))
    segment(network, second, (24, 24))
    assert segment(network, first, (24, 24)).equal(alone)
