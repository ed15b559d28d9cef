import pytest
import torch
from torch import nn
from torch.nn import functional

from segexp.inference import lay, plan, segment, softmax_
from segexp.inference.blend import STRIP, place_for


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
    rows, columns = plan(512, 768, 320 * 320)
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
    grid = lay(image.shape[1], 256, overlap), lay(image.shape[2], 256, overlap)
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
    image, grid = torch.randn(1, 200, 300), (lay(200, 96, 32), lay(300, 96, 32))
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
    assert place_for(shape, torch.device("cuda")).type == where  # two of 10 MB into 20 MB
    assert place_for(shape, torch.device("cpu")).type == "cpu"
