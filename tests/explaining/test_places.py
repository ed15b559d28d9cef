"""Cells lie over the pixels they stand for, also where a network reflects the image before it looks at it."""

import pytest
import torch
from torch import nn

from segexp.explaining.layers import Layer, choose_layer
from segexp.explaining.methods import grad_cam
from segexp.explaining.modes import explainable
from segexp.explaining.places import over_image
from segexp.models import UNet, UNetPaper


def layer(pitch):
    return Layer("x", nn.Identity(), (pitch, pitch))


def test_cells_of_a_divisible_image_cover_it():
    values = torch.tensor([[0.0, 1.0], [2.0, 3.0]])
    found = over_image(values, layer(8.0), nn.Identity(), (16, 16))
    assert found.shape == (16, 16)
    assert torch.equal(found[[0, 0, -1, -1], [0, -1, 0, -1]].view(2, 2), values), "the corners"
    assert found[8, 7:9].mean() == pytest.approx(1.5 + 1 / 8)


def test_what_lies_beyond_the_image_is_cut_off_evenly():
    values = torch.arange(3.0)[:, None].expand(3, 3)
    whole = over_image(values, layer(8.0), nn.Identity(), (24, 24))
    assert torch.equal(over_image(values, layer(8.0), nn.Identity(), (19, 20)), whole[2:21, 2:22])


@pytest.mark.parametrize("pitch", [0.0, 2.5])
def test_cells_that_do_not_follow_the_image_are_stretched(pitch):
    found = over_image(torch.tensor([[1.0, 2.0]]), layer(pitch), nn.Identity(), (6, 10))
    assert found.shape == (6, 10)
    assert (found[:, 0] == 1).all()
    assert (found[:, -1] == 2).all()


@pytest.mark.parametrize("size", [(80, 80), (71, 90)])
@pytest.mark.parametrize("make", [UNet, UNetPaper])
def test_the_cell_that_sees_a_spot_lies_over_it(make, size):
    """Of the deepest map, without biases and norm, only the cells around a single bright spot are not 0."""
    torch.manual_seed(0)
    network = make(1, 2, width=2, depth=3, **({"norm": "none"} if make is UNet else {}))
    with torch.no_grad():
        for name, weight in network.named_parameters():
            weight.copy_(torch.zeros_like(weight) if name.endswith("bias") else weight.abs())
    image = torch.zeros(1, 1, *size)
    image[0, 0, 30, 52] = 1
    chosen = choose_layer(network, 1)
    with explainable(network):
        values = grad_cam(lambda x: network(x)[:, 1].mean(dim=(1, 2)), image, chosen.module)
    found = over_image(values, chosen, network, size)
    assert found.shape == size
    weights = found / found.sum()
    row = (weights.sum(dim=1) * torch.arange(size[0])).sum()
    column = (weights.sum(dim=0) * torch.arange(size[1])).sum()
    assert (row.item(), column.item()) == pytest.approx((30, 52), abs=2.5), "a cell is 4 pixels wide"
