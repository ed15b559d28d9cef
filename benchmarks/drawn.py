"""Drawn pictures of membranes, and a small network that has learned them: what benchmarks measure on."""

import numpy as np
import torch
from torch.nn import functional

from segexp.data.preprocessing import Preprocessing
from segexp.data.synthetic.membranes import membranes
from segexp.inference.segmenter import Segmenter
from segexp.models import UNet
from segexp.types import DataSpec

Picture = tuple[np.ndarray, np.ndarray]
"""An image and its mask (H, W) uint8, 1 for membranes."""

TILE = 512
SPEC = DataSpec("membranes", ("cell", "membrane"), 1, ((0, 0, 0), (255, 255, 255)))


def tiles(count: int) -> list[Picture]:
    """Return drawn pictures of TILE x TILE pixels."""
    drawn = [membranes(np.random.default_rng(n), TILE) for n in range(count)]
    return [(image, (label == 0).astype(np.uint8)) for image, label in drawn]


def mosaic(pictures: list[Picture], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return an image (size, size, 1) uint8 and its mask, of pictures side by side, each mirrored in its own way."""
    image, mask = np.empty((size, size, 1), np.uint8), np.empty((size, size), np.uint8)
    for number, (top, left) in enumerate((y, x) for y in range(0, size, TILE) for x in range(0, size, TILE)):
        for whole, part in zip((image[..., 0], mask), pictures[number * 7 % len(pictures)], strict=True):
            here = whole[top : top + TILE, left : left + TILE]
            here[:] = np.rot90(part, number % 4)[: here.shape[0], : here.shape[1]]
    return image, mask


def trained(width: int, steps: int, pictures: list[Picture]) -> Segmenter:
    """Return a U-Net trained on crops of pictures."""
    torch.manual_seed(0)
    network = UNet(1, 2, width=width).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=max(2, steps))
    segmenter = Segmenter(network, Preprocessing(1, mean=(0.5,), std=(0.2,)), SPEC)
    rng = np.random.default_rng(0)
    for _ in range(steps):
        images, masks = [], []
        for _ in range(4):
            image, mask = pictures[rng.integers(len(pictures))]
            y, x = rng.integers(0, TILE - 128, 2)
            images.append(segmenter.preprocessing.prepare(image[y : y + 128, x : x + 128, None]))
            masks.append(torch.from_numpy(mask[y : y + 128, x : x + 128].astype(np.int64)))
        loss = functional.cross_entropy(segmenter.forward(torch.stack(images)), torch.stack(masks))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    network.eval()
    return segmenter
