"""The decoder shared by the U-Nets: a step, all steps, and the heads of deep supervision.

Shapes: B batch, K classes, H W pixels.
"""

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segexp.models.blocks import crop_to, double_size, pad_to


class DecoderStep(nn.Module):
    """One decoder step: upsample the deeper map, concatenate the skip, and convolve."""

    def __init__(self, up: nn.Module, conv: nn.Module, gate: nn.Module | None = None) -> None:
        """Store the parts.

        Args:
            up: doubles the deeper map; see `make_upsampling`.
            conv: of the concatenated maps.
            gate: gate(skip, deep) returns the weighted skip.
        """
        super().__init__()
        self.up, self.conv, self.gate = up, conv, gate

    def forward(self, deep: Tensor, skip: Tensor) -> Tensor:
        """Return (B, ..., H, W) from `deep` (B, ..., H/2, W/2) and `skip` (B, ..., H, W)."""
        if self.gate is not None:
            skip = self.gate(skip, deep)
        out: Tensor = self.conv(torch.cat([skip, self.up(deep)], dim=1))
        return out


def make_upsampling(up: str, deep: int, skip: int) -> tuple[nn.Module, int]:
    """Return a module that doubles a map of `deep` channels, and its number of output channels.

    Args:
        up: "transposed" (learned, with `skip` output channels) or "bilinear" (keeps the channels).
        deep: channels of the deeper map.
        skip: channels of the skip.
    """
    return (nn.ConvTranspose2d(deep, skip, 2, stride=2), skip) if up == "transposed" else (double_size(), deep)


def decode(steps: Iterable[nn.Module], deepest: Tensor, skips: Sequence[Tensor]) -> list[Tensor]:
    """Return the map after each decoder step, full resolution first.

    Args:
        steps: called as step(deep, skip), the lowest first.
        deepest: input of the first step.
        skips: the encoder's maps, full resolution first.
    """
    maps = [deepest]
    for step, skip in zip(steps, reversed(skips), strict=True):
        maps.append(step(maps[-1], skip))
    return maps[:0:-1]


def coarse_heads(widths: Iterable[int], num_classes: int) -> nn.ModuleList:
    """Return the additional heads of deep supervision: a 1x1 convolution for each number of channels."""
    return nn.ModuleList(nn.Conv2d(width, num_classes, 1) for width in widths)


def head_logits(heads: Iterable[nn.Module], maps: Sequence[Tensor], padded: Tensor, image: Tensor) -> list[Tensor]:
    """Return the logits (B, K, H, W) of each head for the corresponding map.

    Coarse logits are interpolated to the image size instead of reducing the mask, which would lose thin structures.

    Args:
        heads: the finest first.
        maps: the finest (size of the padded image) first.
        padded: result of `pad_to`.
        image: (B, C, H, W).
    """
    finest, *coarser = (head(x) for head, x in zip(heads, maps, strict=False))
    larger = [F.interpolate(logits, padded.shape[2:], mode="bilinear", align_corners=False) for logits in coarser]
    return [crop_to(logits, image) for logits in (finest, *larger)]


class UShaped(nn.Module):
    """Base class of the U-Nets.

    A subclass defines `stem`, `down`, `up`, `head` and `coarse_heads`, and sets the attributes.

    Attributes:
        stride: ratio of the image size to the deepest map.
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
        """Return the logits (B, K, H, W) of each level's head, finest first; one without deep supervision."""
        padded = pad_to(image, self.stride)
        return head_logits([self.head, *self.coarse_heads], self.decoded(padded), padded, image)

    def decoded(self, padded: Tensor) -> list[Tensor]:
        """Return the maps of the decoder levels, full resolution first."""
        maps = [self.stem(padded)]
        for down in self.down:
            maps.append(down(self.pool(maps[-1])))
        return decode(self.up, self.drop(maps[-1]), maps[:-1])
