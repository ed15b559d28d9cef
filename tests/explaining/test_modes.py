import pytest
import torch
from torch import nn

from segexp.explaining.modes import explainable


def test_modes_are_put_back_module_by_module():
    network = nn.Sequential(nn.BatchNorm2d(1), nn.Dropout(0.5)).train()
    network[0].eval()
    with explainable(network):
        assert not any(module.training for module in network.modules())
    assert [module.training for module in network.modules()] == [True, False, True]


def test_also_after_an_error():
    network = nn.Dropout(0.5).train()
    with pytest.raises(RuntimeError), explainable(network):
        raise RuntimeError
    assert network.training


@pytest.mark.parametrize("around", [torch.no_grad, torch.inference_mode])
def test_gradients_are_there_within_a_validation_step(around):
    network = nn.Conv2d(1, 1, 1)
    with around(), explainable(network):
        image = torch.ones(1, 1, 2, 2, requires_grad=True)
        (found,) = torch.autograd.grad(network(image).sum(), image)
    assert torch.allclose(found, network.weight.detach().expand_as(found))
