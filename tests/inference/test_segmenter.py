import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from fixtures.nodata import save_tiff
from segexp.data.io.images import write_png
from segexp.data.preprocessing import Preprocessing
from segexp.errors import CheckpointError, DataError
from segexp.inference.postprocessing import Postprocessing
from segexp.inference.segmenter import Segmenter
from segexp.types import DataSpec

SPEC = DataSpec("toy", ("background", "cell", "wall"), 3, ((0, 0, 0), (255, 0, 0), (0, 255, 0)))


class Toy(nn.Module):
    """A small network that notes what it was called with."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5))
        self.head = nn.Conv2d(8, 3, 1)
        self.calls = []

    def forward(self, image):
        logits = self.head(self.body(image))
        last = image.is_contiguous(memory_format=torch.channels_last)
        self.calls.append({"shape": tuple(image.shape), "last": last, "dtype": logits.dtype, "training": self.training})
        return logits


@pytest.fixture
def network():
    torch.manual_seed(0)
    return Toy()


def segmenter(network, **more):
    return Segmenter(network, Preprocessing(3, (32, 32), mean=(0.5,) * 3, std=(0.25,) * 3), SPEC, **more)


def image(height=45, width=61, dtype=np.uint8):
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3))
    return values.astype(dtype)


def test_values_that_are_no_numbers_are_refused_by_the_name_of_the_image(tmp_path):
    class Broken(torch.nn.Conv2d):
        def forward(self, x):
            return super().forward(x) * float("nan")

    parts = segmenter(Broken(3, 2, 1))
    with pytest.raises(DataError, match="gives values for this image that are not finite numbers"):
        parts.classes(image())
    write_png(tmp_path / "scan.png", image())
    with pytest.raises(DataError, match=r"gives values for .*scan\.png that are not finite numbers"):
        parts.predict(tmp_path / "scan.png")


def test_spec_counts_its_classes():
    assert SPEC.num_classes == 3


def test_probabilities_sum_to_one_at_the_own_size(network):
    out = segmenter(network).probabilities(image())
    assert out.shape == (3, 45, 61)
    assert out.dtype == torch.float32
    assert out.min() >= 0
    torch.testing.assert_close(out.sum(dim=0), torch.ones(45, 61))
    assert not out.requires_grad
    assert network.calls[0]["shape"] == (1, 3, 32, 32)


def test_classes_are_the_most_probable_ones(network):
    parts = segmenter(network)
    found = parts.classes(image())
    assert found.shape == (45, 61)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, parts.probabilities(image()).argmax(0).numpy())
    assert len(np.unique(found)) > 1  # not a test of nothing


def test_prediction_switches_dropout_off_and_is_repeatable(network):
    parts = segmenter(network.train())
    first = parts.probabilities(image())
    assert first.equal(parts.probabilities(image()))
    assert not any(call["training"] for call in network.calls)


def test_logits_leave_the_network_in_its_mode(network):
    parts = segmenter(network.train())
    prepared = parts.preprocessing.prepare(image())
    parts.logits(prepared, (45, 61))
    assert network.training
    network.eval()
    logits = parts.logits(prepared, (45, 61))
    assert not network.training
    assert not logits.requires_grad
    torch.testing.assert_close(logits.softmax(0), parts.probabilities(image()))


@pytest.mark.parametrize(
    ("precision", "inside"), [("32", torch.float32), ("bf16-mixed", torch.bfloat16), ("16-mixed", torch.float16)]
)
def test_autocast_is_as_told_and_ends(network, precision, inside):
    parts = segmenter(network, precision=precision)
    out = parts.probabilities(image())
    assert network.calls[0]["dtype"] == inside
    assert out.dtype == torch.float32
    torch.testing.assert_close(out.sum(dim=0), torch.ones(45, 61))
    assert not torch.is_autocast_enabled("cpu")
    torch.testing.assert_close(out, segmenter(network).probabilities(image()), atol=0.02, rtol=0)


def test_full_precision_holds_inside_a_foreign_autocast(network):
    parts = segmenter(network, precision="32")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        parts.probabilities(image())
    assert network.calls[0]["dtype"] == torch.float32


def test_channels_last_changes_the_layout_and_nothing_else(network):
    fast = segmenter(network, channels_last=True).probabilities(image())
    plain = segmenter(network, channels_last=False).probabilities(image())
    torch.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-5)
    assert [call["last"] for call in network.calls] == [True, False]


def large(network, height=200, width=310, **more):
    """A segmenter that works at the image's own size in windows of 64, and an image for it."""
    parts = segmenter(network, max_pixels=64 * 64, **more)
    parts.preprocessing = Preprocessing(3, mean=(0.5, 0.4, 0.3), std=(0.25, 0.2, 0.15), value_range=(3.0, 200.0))
    return parts, image(height, width)


def test_large_images_are_seen_through_windows(network):
    parts, picture = large(network)
    assert parts.probabilities(picture).shape == (3, 200, 310)
    assert {call["shape"] for call in network.calls} == {(1, 3, 64, 64)}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("max_pixels", [None, 64 * 64, 70 * 100])
@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("size", [None, 1.3, (150, 80)])
def test_an_array_and_the_same_prepared_give_the_same_bits(network, dtype, max_pixels, channels_last, size):
    parts = segmenter(network.eval(), max_pixels=max_pixels, channels_last=channels_last)
    parts.preprocessing = Preprocessing(3, size, (3.0, 200.0), (0.1,) * 3, (0.9,) * 3, (0.5, 0.4, 0.3), (0.25, 0.2, 0.15))
    picture = image(123, 211, dtype)
    logits = parts.logits(parts.preprocessing.prepare(picture), (123, 211))
    assert parts.probabilities(picture).equal(logits.softmax(dim=0))
    np.testing.assert_array_equal(parts.classes(picture), parts.decide(logits))


def test_a_large_image_is_never_prepared_as_a_whole(network, monkeypatch):
    seen = []
    finish = Preprocessing.finish
    monkeypatch.setattr(Preprocessing, "finish", lambda self, part: seen.append(part.shape[:2]) or finish(self, part))
    parts, picture = large(network)
    parts.classes(picture)
    assert len(seen) > 1
    assert max(height * width for height, width in seen) <= 64 * 64


class Small(nn.Module):
    """A network on a GPU with room for so many pixels."""

    def __init__(self, room):
        super().__init__()
        self.room, self.body, self.seen = room, nn.Conv2d(3, 3, 1), []

    def forward(self, images):
        pixels = images.shape[0] * images.shape[2] * images.shape[3]
        self.seen.append(pixels)
        if pixels > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        return self.body(images)


def test_windows_shrink_until_the_memory_suffices_and_it_is_said_what_to_type(network):
    parts, picture = large(Small(20_000))
    expected = Segmenter(parts.network, parts.preprocessing, SPEC, 64 * 64).probabilities(picture)
    parts.network.seen.clear()
    parts.max_pixels = None
    with pytest.warns(UserWarning, match="max_pixels=") as told:
        found = parts.probabilities(picture)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert parts.max_pixels == 200 * 310 // 4
    assert [str(warning.message) for warning in told] == [
        f"The GPU's memory does not suffice for {n} pixels at once. Large images are now seen through windows of {n // 2} "
        f"pixels; type max_pixels={n // 2} (data.max_pixels={n // 2} in training) to begin with those."
        for n in (62_000, 31_000)
    ]
    parts.probabilities(picture)  # the next image begins with what has worked, and nothing is said
    assert max(parts.network.seen[-9:]) <= 20_000


def test_memory_for_not_even_the_smallest_window_is_an_error(network):
    parts, picture = large(Small(100))
    with pytest.raises(torch.OutOfMemoryError):
        parts.probabilities(picture)


def test_a_gray_image_needs_no_axis_for_its_channel_and_may_be_a_file(tmp_path):
    gray = Segmenter(nn.Conv2d(1, 2, 1), Preprocessing(1), DataSpec("toy", ("a", "b"), 1, ((0, 0, 0), (255, 0, 0))))
    values = image()[..., 0]
    write_png(tmp_path / "gray.png", values)
    expected = gray.classes(values[..., None])
    assert len(np.unique(expected)) == 2
    for given in (values, tmp_path / "gray.png", str(tmp_path / "gray.png"), Image.fromarray(values)):
        np.testing.assert_array_equal(gray.predict(given), expected)


@pytest.mark.parametrize(("channels", "mode"), [(3, "RGB"), (4, "RGBA")])
def test_transparency_of_a_pil_image_is_a_channel_where_the_network_has_one_for_it(channels, mode):
    four = np.random.default_rng(0).integers(0, 256, (9, 8, 4), np.uint8)
    parts = Segmenter(
        nn.Conv2d(channels, 2, 1), Preprocessing(channels), DataSpec("toy", ("a", "b"), channels, ((0,) * 3,) * 2)
    )
    np.testing.assert_array_equal(parts.read(Image.fromarray(four, "RGBA")), four[..., : len(mode)])


@pytest.mark.parametrize("shape", [(40, 40, 2), (40, 40, 4), (40,)])
def test_an_image_with_other_channels_is_refused(network, shape):
    with pytest.raises(
        DataError, match=r"The image has .* channels, shape .*The network takes 3.*Convert the image to 3 channels"
    ):
        segmenter(network).probabilities(np.zeros(shape, np.uint8))


def test_gray_and_colour_become_each_other_in_arrays_as_in_files(network, tmp_path):
    gray, colour = image()[..., :1], np.repeat(image()[..., :1], 3, axis=2)
    write_png(tmp_path / "gray.png", gray)
    of_colour = segmenter(network)
    for given in (gray, gray[..., 0], tmp_path / "gray.png"):
        np.testing.assert_array_equal(of_colour.predict(given), of_colour.predict(colour))
    of_gray = Segmenter(nn.Conv2d(1, 2, 1), Preprocessing(1), DataSpec("toy", ("a", "b"), 1, ((0, 0, 0), (255, 0, 0))))
    np.testing.assert_array_equal(of_gray.predict(colour), of_gray.predict(gray))


def test_classes_follow_the_postprocessing(network):
    two = Segmenter(nn.Conv2d(3, 2, 1), Preprocessing(3), DataSpec("toy", ("a", "b"), 3, ((0, 0, 0), (255, 0, 0))))
    share = two.probabilities(image())[1].numpy()
    np.testing.assert_array_equal(two.classes(image()), share > 0.5)
    two.postprocessing = Postprocessing(threshold=float(np.median(share)))
    np.testing.assert_array_equal(two.classes(image()), share > np.median(share))
    logits = two.logits(two.preprocessing.prepare(image()), (45, 61))
    np.testing.assert_array_equal(two.decide(logits), two.classes(image()))


def test_a_batch_of_prepared_images_gives_logits(network):
    parts = segmenter(network.eval())
    batch = torch.randn(2, 3, 24, 40)
    assert parts.forward(batch).shape == (2, 3, 24, 40)
    assert parts.forward(batch).requires_grad
    assert parts.arrange(batch).is_contiguous(memory_format=torch.channels_last)


def test_moving_returns_itself(network):
    parts = segmenter(network)
    assert parts.to("cpu") is parts
    assert parts.device == torch.device("cpu")
    assert parts.provenance is None
    with pytest.raises(CheckpointError, match="This network was not loaded from a file"):
        parts.origin  # noqa: B018


def test_files_and_masked_arrays_without_data_in_some_pixels(network, tmp_path):
    """What lies in them does not matter, neither to their neighbours nor to a resize; they become background."""
    parts = Segmenter(network, Preprocessing(3, (32, 32), (0.0, 255.0)), SPEC)
    seen = image(dtype=np.float32)
    empty = np.zeros((45, 61), bool)
    empty[10:, :20] = True
    found = []
    for value, tag in ((-9999, "-9999"), (np.nan, "nan"), (1e30, "1e30")):
        array = np.where(empty[..., None], np.float32(value), seen)
        path = save_tiff(tmp_path / "a.tif", array, tag).path
        masked = np.ma.MaskedArray(array, np.repeat(empty[..., None], 3, 2))
        found += [parts.predict(path), parts.predict(masked)]
        assert not parts.probabilities(path)[:, torch.from_numpy(empty)].any()
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])
    assert not found[0][empty].any()
    assert found[0][~empty].any()
    filled = np.where(empty[..., None], seen[~empty].mean(0), seen).astype(np.float32)
    np.testing.assert_array_equal(found[0], np.where(empty, 0, parts.predict(filled)))
