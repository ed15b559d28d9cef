import pytest
import torch
from torch import nn

from segexp.errors import ConfigError
from segexp.models import ResUNet
from segexp.models.resunet import ResidualUnit


def test_as_large_as_published():
    with torch.device("meta"):
        net = ResUNet(3, 2)
    layers = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert sum(m.weight.numel() for m in layers if m.kernel_size == (3, 3)) == 7_780_032  # "7.8M"
    assert sum(p.numel() for p in net.parameters()) == pytest.approx(8.2e6, rel=0.01)
    assert len([m for m in layers if m.kernel_size == (3, 3)]) == 14
    assert not any(isinstance(m, nn.MaxPool2d | nn.ConvTranspose2d) for m in net.modules())


def test_sizes_of_table_one():
    net = ResUNet(3, 2, width=2)
    seen = []
    for unit in (net.stem, *net.down, *(step.conv for step in net.up)):
        unit.register_forward_hook(lambda _, inputs, out: seen.append(tuple(out.shape[1:])))
    net(torch.randn(1, 3, 224, 224))
    assert seen == [
        *((2, 224, 224), (4, 112, 112), (8, 56, 56), (16, 28, 28)),
        *((8, 56, 56), (4, 112, 112), (2, 224, 224)),
    ]


def test_norm_and_relu_come_before_each_convolution():
    kinds = [type(m).__name__ for m in ResidualUnit(4, 8, "batch", stride=2).conv]
    assert kinds == ["BatchNorm", "ReLU", "Conv2d", "BatchNorm", "ReLU", "Conv2d"]
    assert [type(m).__name__ for m in ResidualUnit(1, 8, "batch", first=True).conv] == kinds[2:]


@pytest.mark.parametrize(("inside", "outside", "stride"), [(4, 4, 1), (4, 4, 2), (4, 8, 1), (4, 8, 2)])
def test_a_unit_adds_to_its_shortcut(inside, outside, stride):
    unit = ResidualUnit(inside, outside, "none", stride)
    image = torch.randn(2, inside, 8, 8)
    before = image.clone()
    out = unit(image)
    assert torch.equal(image, before), "the shortcut sees what came in"
    assert isinstance(unit.shortcut, nn.Identity) == (inside == outside and stride == 1)
    with torch.no_grad():
        unit.conv[-1].weight.zero_()
        unit.conv[-1].bias.zero_()
    assert out.shape == (2, outside, 8 // stride, 8 // stride)
    assert torch.equal(unit(image), unit.shortcut(image))


def test_heads_of_deep_supervision_are_of_the_image_size():
    net = ResUNet(1, 3, width=2, deep_supervision=True)
    image = torch.randn(2, 1, 37, 50)
    scales = net.eval().forward_scales(image)
    assert [tuple(each.shape) for each in scales] == [(2, 3, 37, 50)] * 3
    assert torch.equal(scales[0], net(image))
    sum(each.square().mean() for each in net.train().forward_scales(image)).backward()
    assert all(p.grad is not None and p.grad.any() for p in net.parameters())
    (only,) = ResUNet(1, 3, width=2).forward_scales(image)
    assert only.shape == (2, 3, 37, 50)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"depth": 1}, "model.depth is 1. an integer of at least 2. Set model.depth=2 or more."),
        ({"norm": "bn"}, "model.norm is"),
    ],
)
def test_nonsense_is_refused(arguments, text):
    with pytest.raises(ConfigError) as error:
        ResUNet(1, 2, **arguments)
    assert text in str(error.value)
