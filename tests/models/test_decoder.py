import pytest
import torch
from torch import nn

from segexp.models.blocks import DoubleConv, pad_to
from segexp.models.decoder import DecoderStep, coarse_heads, decode, head_logits, make_upsampling


@pytest.mark.parametrize(("up", "deep", "given"), [("transposed", 16, 8), ("bilinear", 16, 16)])
def test_doubling(up, deep, given):
    layer, channels = make_upsampling(up, deep, 8)
    assert channels == given
    assert layer(torch.randn(2, deep, 4, 6)).shape == (2, given, 8, 12)
    assert isinstance(layer, nn.ConvTranspose2d) == (up == "transposed")


def test_one_step_up():
    layer, channels = make_upsampling("transposed", 16, 8)
    step = DecoderStep(layer, DoubleConv(8 + channels, 4, "batch"))
    deep, skip = torch.randn(2, 16, 4, 6), torch.randn(2, 8, 8, 12)
    assert step(deep, skip).shape == (2, 4, 8, 12)
    assert torch.equal(step.eval()(deep, skip), step.conv(torch.cat([skip, step.up(deep)], dim=1)))


def test_the_gate_sees_both_maps_and_changes_the_skip():
    class Swap(nn.Module):
        def forward(self, skip, deep):
            return skip * 0 + deep.mean()

    step = DecoderStep(nn.Identity(), nn.Identity(), Swap())
    deep, skip = torch.full((1, 1, 2, 2), 3.0), torch.zeros(1, 1, 2, 2)
    assert step(deep, skip).tolist() == [[[[3.0] * 2] * 2] * 2]


def test_steps_from_the_lowest_and_maps_from_the_finest():
    class Step(nn.Module):
        def forward(self, deep, skip):
            return 10 * deep + skip

    skips = [torch.tensor(1.0), torch.tensor(2.0), torch.tensor(3.0)]
    assert [int(x) for x in decode([Step()] * 3, torch.tensor(9.0), skips)] == [9321, 932, 93]


def test_coarse_logits_lie_where_the_image_does():
    # a map that says the row of each coarse pixel, read by a head that hands it through
    image = torch.randn(1, 1, 26, 32)
    padded = pad_to(image, 4)
    assert padded.shape[2:] == (28, 32)
    rows = torch.arange(28.0).view(1, 1, 28, 1).expand(1, 1, 28, 32)
    coarse = nn.functional.avg_pool2d(rows, 4)
    finest, other = head_logits([nn.Identity()] * 2, [rows, coarse], padded, image)
    assert finest.shape == other.shape == (1, 1, 26, 32)
    assert torch.equal(finest, rows[:, :, 1:27])
    torch.testing.assert_close(other[:, :, 2:-2], finest[:, :, 2:-2])


def test_as_many_logits_as_heads():
    heads = coarse_heads([3, 5], 4)
    assert [(head.in_channels, head.out_channels) for head in heads] == [(3, 4), (5, 4)]
    image = torch.randn(2, 3, 16, 16)
    maps = [image, torch.randn(2, 5, 8, 8), torch.randn(2, 7, 4, 4)]
    assert [tuple(logits.shape) for logits in head_logits(heads, maps, image, image)] == [(2, 4, 16, 16)] * 2
    assert len(coarse_heads([], 4)) == 0
