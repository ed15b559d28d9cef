"""Every loss of conf/loss trains: 50 steps in bfloat16 on pictures of which one is empty and one ignored altogether."""

from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn

FILES = {path.stem: path for path in sorted((Path(__file__).resolve().parents[2] / "conf" / "loss").glob("*.yaml"))}


def pictures(classes, size=24):
    """Four noisy pictures, each class bright in a channel: of every class, of class 1, of none, one whose mask is ignored."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.zeros(4, size, size, dtype=torch.long)
    for k in range(1, classes):
        mask[0, 3 * k : 3 * k + 2, 2:14] = k
        mask[3, 4 * k : 4 * k + 3, 5:9] = k
    mask[1, 4:12, 4:12] = mask[1, 14:20, 14:20] = 1
    bright = nn.functional.one_hot(mask, classes).movedim(-1, 1)[:, 1:]
    image = bright + 0.3 * torch.randn(bright.shape, generator=generator)
    mask[0, :, 20:] = 255
    mask[3] = 255
    return image, mask


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("classes", [2, 4])
def test_fifty_steps(name, classes):
    torch.manual_seed(0)
    image, mask = pictures(classes)
    network = nn.Sequential(
        nn.Conv2d(classes - 1, 12, 3, padding=1),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        nn.Conv2d(12, 12, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(12, classes, 1),
    )
    loss = instantiate(OmegaConf.load(FILES[name]), _convert_="all")
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01)
    values = []
    for step in range(50):
        # By turns all four, the one that is empty, the one that is ignored, the two with something in them.
        chosen = ([0, 1, 2, 3], [2], [3], [0, 1])[step % 4]
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(image[chosen])
            value = loss(logits, mask[chosen])
        assert logits.dtype == torch.bfloat16
        optimizer.zero_grad()
        value.backward()
        assert value.isfinite()
        assert all(p.grad.isfinite().all() for p in network.parameters())
        assert value >= 0
        if chosen == [3]:
            assert value == 0
        optimizer.step()
        if len(chosen) == 4:
            values.append(value.item())
    assert all(p.isfinite().all() for p in network.parameters())
    assert sum(values[-3:]) < 0.8 * sum(values[:3])
