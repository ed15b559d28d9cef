"""A network made by hand, whose logits and layers can be told beforehand, and a small U-Net that learned something."""

import pytest
import torch
from torch import nn

from segexp.models import UNet
from segexp.preprocessing import Preprocessing
from segexp.segmenter import Segmenter
from segexp.types import DataSpec

PALETTE = ((0, 0, 0), (230, 159, 0), (86, 180, 233))


class Known(nn.Module):
    """One layer of two channels, the image and its negative (both cut at 0); logit 0 is 0, logit 1 the first channel."""

    def __init__(self, weights=(1.0, 0.0)):
        super().__init__()
        self.maps = nn.Conv2d(1, 2, 1, bias=False)
        self.act = nn.ReLU()
        self.head = nn.Conv2d(2, 2, 1, bias=False)
        with torch.no_grad():
            self.maps.weight.copy_(torch.tensor([1.0, -1.0])[:, None, None, None])
            self.head.weight.zero_()
            self.head.weight[1, :, 0, 0] = torch.tensor(weights)

    def forward(self, image):
        return self.head(self.act(self.maps(image)))


def plain(network, *, overlapping=False, classes=2, **more):
    """A segmenter that changes nothing about a gray image on the unit scale."""
    names = ("background", "cell", "nucleus")[:classes]
    spec = DataSpec("toy", names, 1, PALETTE[:classes], overlapping)
    facts = more.pop("facts", {})
    return Segmenter(network, Preprocessing(1), spec, channels_last=False, facts=facts, **more)


@pytest.fixture
def known():
    """`Known`."""
    return Known


@pytest.fixture
def segmenter():
    """Make a segmenter, see `plain`."""
    return plain


@pytest.fixture(scope="session")
def learned():
    """A U-Net that has learned to tell bright squares from specks, and pictures (H, W, 1) with masks that it has not seen."""
    torch.manual_seed(0)
    network = UNet(1, 2, width=8, depth=4)
    optimizer = torch.optim.Adam(network.parameters(), 5e-3)
    network.train()
    for step in range(120):
        images, masks = squares(8, step)
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images), masks).backward()
        optimizer.step()
    images, masks = squares(6, 999)
    return plain(network.eval()), images[:, 0, :, :, None].numpy(), masks.numpy() == 1


def squares(count, seed):
    """Images (count, 1, 64, 64) of noise with a bright square each, and masks (count, 64, 64); bright specks are no squares."""
    generator = torch.Generator().manual_seed(seed)
    images = 0.25 * torch.rand(count, 1, 64, 64, generator=generator) + 0.25
    masks = torch.zeros(count, 64, 64, dtype=torch.long)

    def drawn(low, high):
        return int(torch.randint(low, high, (), generator=generator))

    for n in range(count):
        for _ in range(24):
            top, left = drawn(0, 61), drawn(0, 61)
            images[n, 0, top : top + 3, left : left + 3] += 0.4
        top, left, side = drawn(2, 40), drawn(2, 40), drawn(14, 21)
        masks[n, top : top + side, left : left + side] = 1
    return torch.maximum(images.clamp_max(0.9), 0.65 * masks[:, None] + 0.2 * images), masks
