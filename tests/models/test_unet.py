import pytest
import torch
from torch import nn

from segexp.errors import ConfigError
from segexp.models import UNet


def parameters(net):
    return sum(p.numel() for p in net.parameters())


def test_as_large_as_published():
    with torch.device("meta"):
        assert parameters(UNet(1, 2)) == pytest.approx(31.0e6, rel=0.02)
        assert parameters(UNet(1, 2, up="bilinear")) == pytest.approx(17.3e6, rel=0.02)


@pytest.mark.parametrize(
    ("up", "encoder", "decoder"),
    [
        ("transposed", [64, 128, 256, 512, 1024], [512, 256, 128, 64]),
        ("bilinear", [64, 128, 256, 512, 512], [256, 128, 64, 64]),
    ],
)
def test_widths_as_published(up, encoder, decoder):
    with torch.device("meta"):
        net = UNet(1, 2, up=up)
    last = [[m for m in block.modules() if isinstance(m, nn.Conv2d)][-1].out_channels for block in (net.stem, *net.down)]
    assert last == encoder
    assert [[m for m in block.modules() if isinstance(m, nn.Conv2d)][-1].out_channels for block in net.up] == decoder
    kinds = {type(block.up) for block in net.up}
    assert kinds == {nn.ConvTranspose2d if up == "transposed" else nn.Upsample}


@pytest.mark.parametrize("up", ["transposed", "bilinear"])
@pytest.mark.parametrize(("depth", "width"), [(2, 1), (2, 6), (3, 3), (6, 2)])
def test_any_depth_and_width(up, depth, width):
    net = UNet(2, 3, width=width, depth=depth, up=up).eval()
    assert net.stride == 2 ** (depth - 1)
    assert net(torch.randn(1, 2, 19, 33)).shape == (1, 3, 19, 33)


def test_dropout_is_of_training_only():
    net = UNet(1, 2, width=4, depth=2, dropout=0.5)
    image = torch.randn(2, 1, 32, 32)
    assert not torch.equal(net(image), net(image))
    assert torch.equal(net.eval()(image), net(image))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"depth": 1}, "model.depth is 1. an integer of at least 2. Set model.depth=2 or more."),
        ({"up": "bilinaer"}, "model.up is 'bilinaer'. one of transposed, bilinear. Did you mean bilinear?"),
        ({"dropout": 1.5}, "model.dropout is 1.5."),
    ],
)
def test_nonsense_is_refused(arguments, text):
    with pytest.raises(ConfigError) as error:
        UNet(1, 2, **arguments)
    assert text in str(error.value)
