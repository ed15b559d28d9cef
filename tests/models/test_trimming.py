import copy

import pytest
import torch
from torch import nn

from segexp.models.trimming import accept_single_values, drop_unused


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.used = nn.Conv2d(2, 4, 1)
        self.levels = nn.ModuleList([nn.Conv2d(4, 4, 1), nn.Sequential(nn.Conv2d(4, 9, 1), nn.BatchNorm2d(9))])
        self.for_nothing = nn.Conv2d(4, 4, 1)
        self.drop = nn.Dropout(0.5)

    def forward(self, image):
        x = self.used(image)
        self.for_nothing(x)
        return self.drop(self.levels[0](x))


def test_what_is_never_called_goes_and_what_is_without_effect_is_frozen():
    net = Net()
    image = torch.randn(1, 2, 4, 4)
    before = net.eval()(image)
    out = drop_unused(net.train(), image)
    assert isinstance(net.levels[1], nn.Identity)
    assert {name for name, p in net.named_parameters() if not p.requires_grad} == {"for_nothing.weight", "for_nothing.bias"}
    assert all(p.requires_grad for part in (net.used, net.levels) for p in part.parameters())
    assert torch.equal(out, before)
    assert not out.requires_grad
    assert net.training
    assert all(p.grad is None for p in net.parameters())
    assert not any(layer._forward_hooks for layer in net.modules())


def test_it_works_where_gradients_are_off():
    with torch.no_grad():
        drop_unused(net := Net(), torch.randn(1, 2, 4, 4))
    assert net.used.weight.requires_grad


@pytest.mark.parametrize("layer", [nn.BatchNorm2d(3), nn.BatchNorm1d(3)])
def test_a_single_value_is_normalised_as_in_evaluation(layer):
    with torch.no_grad():
        for tensor in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
            tensor.uniform_(0.5, 2)
    net = nn.Sequential(layer)
    one = torch.randn(1, 3, *(1,) * (2 if isinstance(layer, nn.BatchNorm2d) else 1))
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        net.train()(one)
    accept_single_values(net)
    mean = layer.running_mean.clone()
    out = net(one.requires_grad_())
    assert torch.equal(out, net.eval()(one))
    assert torch.equal(layer.running_mean, mean)
    out.sum().backward()
    assert one.grad.any()
    assert not net.train()[0].__dict__.get("lone")


def test_all_else_stays_as_it_was():
    plain = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3)).train()
    net = copy.deepcopy(plain)
    accept_single_values(net)
    assert list(net.state_dict()) == list(plain.state_dict())
    for shape in ((4, 2, 8, 8), (1, 2, 8, 8), (2, 2, 1, 1)):
        image = torch.randn(shape)
        assert torch.equal(net(image), plain(image))
    assert torch.equal(net[1].running_var, plain[1].running_var)
    assert net[1].training
    copied = copy.deepcopy(net)
    assert copied(torch.randn(1, 2, 1, 1)).shape == (1, 3, 1, 1)
    assert copied[1].training


def test_an_error_inside_leaves_the_layer_in_training():
    net = nn.Sequential(nn.BatchNorm2d(3)).train()
    accept_single_values(net)
    with pytest.raises(RuntimeError):
        net(torch.randn(1, 5, 1, 1))
    assert net[0].training


def test_group_norm_of_a_single_value_returns_its_bias_and_is_else_as_it_was():
    theirs = nn.Sequential(nn.Conv2d(3, 8, 1), nn.GroupNorm(8, 8))
    nn.init.normal_(theirs[1].bias)
    ours = copy.deepcopy(theirs)
    accept_single_values(ours)
    image = torch.randn(2, 3, 5, 6)
    assert torch.equal(ours(image), theirs(image))
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    torch.testing.assert_close(ours(image[:1, :, :1, :1]), theirs[1].bias.view(1, 8, 1, 1))
