"""The way back up, shared by the U-Nets: one step, all steps, and the heads of deep supervision on them.

Shapes: B batch, K classes, H W pixels.
"""

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segexp.models.blocks import crop_to, double_size, pad_to


class Up(nn.Module):
    """One step up: double the deeper map, append it to the skipped one, and convolve."""

    def __init__(self, up: nn.Module, conv: nn.Module, gate: nn.Module | None = None) -> None:
        """Take the parts.

        Args:
            up: doubles the deeper map; see `doubling`.
            conv: of the skipped and the doubled map together.
            gate: called as gate(skip, deep), changes the skipped map before it is used.
        """
        super().__init__()
        self.up, self.conv, self.gate = up, conv, gate

    def forward(self, deep: Tensor, skip: Tensor) -> Tensor:
        """Return (B, ..., H, W) from `deep` (B, ..., H/2, W/2) and `skip` (B, ..., H, W)."""
        if self.gate is not None:
            skip = self.gate(skip, deep)
        out: Tensor = self.conv(torch.cat([skip, self.up(deep)], dim=1))
        return out


def doubling(up: str, deep: int, skip: int) -> tuple[nn.Module, int]:
    """Return what doubles a map of `deep` channels, and how many channels it gives.

    Args:
        up: "transposed" learns the doubling and takes it to `skip` channels; "bilinear" interpolates and keeps them.
        deep: channels of the deeper map.
        skip: channels of the map that skipped the deeper levels.
    """
    return (nn.ConvTranspose2d(deep, skip, 2, stride=2), skip) if up == "transposed" else (double_size(), deep)


def decode(steps: Iterable[nn.Module], deepest: Tensor, skips: Sequence[Tensor]) -> list[Tensor]:
    """Return the map after each step up, that of full resolution first.

    Args:
        steps: called as step(deep, skip), the lowest first.
        deepest: where they begin.
        skips: the encoder's maps, that of full resolution first.
    """
    maps = [deepest]
    for step, skip in zip(steps, reversed(skips), strict=True):
        maps.append(step(maps[-1], skip))
    return maps[:0:-1]


def coarse_heads(widths: Iterable[int], num_classes: int) -> nn.ModuleList:
    """Return the further heads of deep supervision: a 1x1 convolution for each of these numbers of channels."""
    return nn.ModuleList(nn.Conv2d(width, num_classes, 1) for width in widths)


def all_logits(heads: Iterable[nn.Module], maps: Sequence[Tensor], padded: Tensor, image: Tensor) -> list[Tensor]:
    """Return the logits (B, K, H, W) of each head, for as many of the maps as there are heads.

    Those of coarser maps are interpolated to the size of the image, where its mask is known exactly: a mask reduced to an
    eighth by nearest neighbour has lost whatever is thinner than eight pixels.

    Args:
        heads: the finest first.
        maps: the first of the padded image's size, coarser ones after it.
        padded: what `pad_to` made of the image.
        image: (B, C, H, W).
    """
    finest, *coarser = (head(x) for head, x in zip(heads, maps, strict=False))
    larger = [F.interpolate(logits, padded.shape[2:], mode="bilinear", align_corners=False) for logits in coarser]
    return [crop_to(logits, image) for logits in (finest, *larger)]


class UShaped(nn.Module):
    """What U-Nets share: down level by level, and up again with the maps of the way down beside.

    A network of this kind makes `stem`, `down`, `up`, `head` and `coarse_heads`, and sets the attributes.

    Attributes:
        stride: by how much the deepest level is smaller than the image.
        deep_supervision: whether each level of the decoder has a head.
    """

    stride: int
    deep_supervision: bool
    stem: nn.Module
    down: nn.ModuleList
    up: nn.ModuleList
    head: nn.Module
    coarse_heads: nn.ModuleList

    def __init__(self) -> None:
        super().__init__()
        self.pool: nn.Module = nn.Identity()
        self.drop: nn.Module = nn.Identity()

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (B, K, H, W) for an image (B, C, H, W) of any size from 16 up."""
        return crop_to(self.head(self.decoded(pad_to(image, self.stride))[0]), image)

    def forward_scales(self, image: Tensor) -> list[Tensor]:
        """Return the logits (B, K, H, W) of each level's head, the finest first; one without deep supervision."""
        padded = pad_to(image, self.stride)
        return all_logits([self.head, *self.coarse_heads], self.decoded(padded), padded, image)

    def decoded(self, padded: Tensor) -> list[Tensor]:
        """Return the maps of the decoder's levels, that of full resolution first."""
        maps = [self.stem(padded)]
        for down in self.down:
            maps.append(down(self.pool(maps[-1])))
        return decode(self.up, self.drop(maps[-1]), maps[:-1])
