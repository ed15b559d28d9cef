"""Adaptive pooling by matrices against torch's own."""

import pytest
import torch
from torch import nn

from segexp.exporting.pooling import AdaptivePool, exportable


@pytest.mark.parametrize("out", [(1, 1), (2, 2), (3, 3), (6, 6), (3, 5), (None, 4), (7, None)])
@pytest.mark.parametrize("size", [(6, 6), (7, 5), (12, 31), (1, 3), (40, 40)])
def test_torchs_own_pooling(size, out):
    image = torch.randn(2, 3, *size)
    torch.testing.assert_close(AdaptivePool(*out)(image), nn.AdaptiveAvgPool2d(out)(image), atol=1e-6, rtol=1e-5)


def test_poolings_to_several_pixels_are_replaced_wherever_they_are():
    inner = nn.Sequential(nn.AdaptiveAvgPool2d(3), nn.Conv2d(2, 2, 1))
    network = nn.Sequential(nn.AdaptiveAvgPool2d((6, 5)), nn.ModuleDict({"deep": inner}), nn.AdaptiveAvgPool2d(1))
    assert exportable(network) is network
    assert (network[0].height, network[0].width) == (6, 5)
    assert (inner[0].height, inner[0].width) == (3, 3)
    assert isinstance(inner[1], nn.Conv2d)
    assert isinstance(network[2], nn.AdaptiveAvgPool2d), "the mean of a whole map leaves torch as it is"
