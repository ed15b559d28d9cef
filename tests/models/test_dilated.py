import pytest
import torch
from torch import nn

from segexp.errors import ConfigError
from segexp.models import DilatedNet


def reach(net, size):
    """How many pixels up, down, left and right of the middle change the logits there."""
    image = torch.randn(1, 1, size, size, dtype=torch.double, requires_grad=True)
    middle = size // 2
    net.double().eval()(image)[0, 0, middle, middle].backward()
    rows, columns = image.grad[0, 0].nonzero(as_tuple=True)
    return [middle - rows.min(), rows.max() - middle, middle - columns.min(), columns.max() - middle]


def open_gates(net):
    """Take the ReLUs away: what a dead unit hides is not out of reach."""
    for parent in net.modules():
        for name, child in parent.named_children():
            if isinstance(child, nn.ReLU):
                setattr(parent, name, nn.Identity())
    return net


def test_every_logit_sees_most_of_the_image():
    net = open_gates(DilatedNet(1, 2, width=2, norm="none"))
    assert min(reach(net, 384)) == 140
    assert min(reach(net, 256)) == 127  # to the border


@pytest.mark.parametrize(("rates", "stride"), [((1,), 1), ((1, 1, 2), 1), ((1, 2, 4), 2), ((1, 1, 2, 4), 4)])
def test_reach_is_that_of_the_rates(rates, stride):
    # One convolution for each rate, at the stride; the front end, enlargement and refinement add a few strides.
    context = sum(rates) * stride
    for side in reach(open_gates(DilatedNet(1, 2, width=2, rates=rates, stride=stride, norm="none")), 192):
        assert context < side <= context + 3 * stride + 3


def test_nothing_is_pooled_in_the_context():
    net = DilatedNet(3, 2, width=4)
    sizes, rates = [], []
    for block in net.context:
        block.register_forward_hook(lambda _, inputs, out: sizes.append((inputs[0].shape[2:], out.shape[2:])))
        rates.append({m.dilation for m in block.modules() if isinstance(m, nn.Conv2d)})
    net(torch.randn(2, 3, 64, 96))
    assert sizes == [((16, 24), (16, 24))] * 7
    assert rates == [{(r, r)} for r in (1, 1, 2, 4, 8, 16, 1)]
    assert not any(isinstance(m, nn.MaxPool2d | nn.AvgPool2d) for m in net.modules())


@pytest.mark.parametrize("stride", [1, 2, 4, 8, 16])
def test_any_stride(stride):
    net = DilatedNet(2, 3, width=3, rates=[1, 2], stride=stride)
    assert net.stride == stride
    assert net(torch.randn(2, 2, 19, 33)).shape == (2, 3, 19, 33)
    assert net.early(torch.zeros(1, 2, 32, 32)).shape[2] // net.front(net.early(torch.zeros(2, 2, 32, 32))).shape[2] == stride


def test_parameter_count():
    with torch.device("meta"):
        assert sum(p.numel() for p in DilatedNet(1, 2).parameters()) == pytest.approx(1.23e6, rel=0.02)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"stride": 3}, "model.stride is 3. a power of two: 1, 2, 4, 8, ... Set model.stride=4."),
        ({"stride": 0}, "model.stride is 0. an integer of at least 1."),
        ({"rates": []}, "model.rates is []. one or more integers of at least 1. Set 'model.rates=[1,1,2,4,8,16,1]'."),
        ({"rates": [1, 0]}, "model.rates is [1, 0]."),
        ({"rates": [1, 2.5]}, "model.rates is [1, 2.5]."),
    ],
)
def test_nonsense_is_refused(arguments, text):
    with pytest.raises(ConfigError) as error:
        DilatedNet(1, 2, **arguments)
    assert text in str(error.value)
