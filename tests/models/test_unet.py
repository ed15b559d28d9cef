import pytest
import torch
from torch import nn

from segexp.errors import ConfigError
from segexp.models import UNet
from segexp.models.attention import AttentionGate, ScSE


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


@pytest.mark.parametrize("up", ["transposed", "bilinear"])
@pytest.mark.parametrize("attention", ["scse", "gate"])
def test_attention(attention, up):
    net = UNet(2, 3, width=8, depth=3, up=up, attention=attention)
    image = torch.randn(2, 2, 37, 50)
    assert net(image).shape == (2, 3, 37, 50)
    net(image).square().mean().backward()
    assert all(p.grad is not None and p.grad.any() for p in net.parameters())
    kinds = [type(m) for m in net.modules()]
    assert (kinds.count(AttentionGate), kinds.count(ScSE)) == ((1, 0) if attention == "gate" else (0, 5))


def test_gates_on_all_skips_but_the_first():
    net = UNet(1, 2, width=2, up="bilinear", attention="gate")
    assert [step.gate is not None for step in net.up] == [True, True, True, False]
    assert [step.gate.of_skip.in_channels for step in net.up[:3]] == [16, 8, 4]


def test_without_gates_the_attention_unet_is_the_unet():
    net, gated = (UNet(1, 2, width=2, up="bilinear", attention=attention).eval() for attention in ("none", "gate"))
    missing = gated.load_state_dict(net.state_dict(), strict=False).missing_keys
    assert {key.split(".")[2] for key in missing} == {"gate"}
    with torch.no_grad():
        for step in gated.up[:3]:
            step.gate.psi.bias.fill_(100)
    image = torch.randn(1, 1, 32, 32)
    torch.testing.assert_close(gated(image), net(image))


@pytest.mark.parametrize("arguments", [{}, {"up": "bilinear"}, {"up": "bilinear", "attention": "gate"}])
def test_a_head_for_each_level(arguments):
    net = UNet(1, 3, width=2, deep_supervision=True, **arguments)
    image = torch.randn(2, 1, 37, 50)
    scales = net.eval().forward_scales(image)
    assert [tuple(each.shape) for each in scales] == [(2, 3, 37, 50)] * 4
    assert torch.equal(scales[0], net(image))
    sum(each.square().mean() for each in net.train().forward_scales(image)).backward()
    assert all(p.grad is not None and p.grad.any() for p in net.parameters())
    plain = UNet(1, 3, width=2, **arguments)
    assert len(plain.forward_scales(image)) == 1
    assert {key for key in net.state_dict() if key not in plain.state_dict()} == {
        f"coarse_heads.{n}.{part}" for n in range(3) for part in ("weight", "bias")
    }


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"depth": 1}, "model.depth is 1. an integer of at least 2. Set model.depth=2 or more."),
        ({"up": "bilinaer"}, "model.up is 'bilinaer'. one of transposed, bilinear. Did you mean bilinear?"),
        ({"dropout": 1.5}, "model.dropout is 1.5."),
        ({"attention": "gates"}, "model.attention is 'gates'. one of none, scse, gate. Did you mean gate?"),
        ({"attention": "gate", "depth": 2}, "model.depth is 2. an integer of at least 3. Set model.depth=3 or more."),
    ],
)
def test_nonsense_is_refused(arguments, text):
    with pytest.raises(ConfigError) as error:
        UNet(1, 2, **arguments)
    assert text in str(error.value)
