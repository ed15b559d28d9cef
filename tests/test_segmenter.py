import numpy as np
import pytest
import torch
from torch import nn

from segexp.preprocessing import Preprocessing
from segexp.segmenter import Segmenter
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


def test_large_images_are_seen_through_windows(network):
    parts = segmenter(network, max_pixels=20 * 20)
    assert parts.probabilities(image()).shape == (3, 45, 61)
    assert {call["shape"] for call in network.calls} == {(1, 3, 20, 20)}


def test_a_batch_of_prepared_images_gives_logits(network):
    parts = segmenter(network.eval())
    batch = torch.randn(2, 3, 24, 40)
    assert parts.forward(batch).shape == (2, 3, 24, 40)
    assert parts.forward(batch).requires_grad


def test_moving_returns_itself(network):
    parts = segmenter(network)
    assert parts.to("cpu") is parts
    assert parts.device == torch.device("cpu")
    assert parts.facts == {}
