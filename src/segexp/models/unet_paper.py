"""U-Net as published (Ronneberger, Fischer, Brox: "U-Net", MICCAI 2015), for images of any size by its overlap-tile strategy.

Valid convolutions (572x572 pixels give 388x388 logits), 2x2 up-convolutions that halve the channels, cropped skips, dropout at
the end of the contracting path (the last two levels, as in the authors' network file), no norm, initialisation by He et al.
2015. The image is extended by reflection.

Shapes: B batch, C channels, K classes, H W pixels.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from segexp.errors import ConfigError
from segexp.models.blocks import check_share, check_sizes, init_weights, mirror


class UNetPaper(nn.Module):
    """The published network on the reflected image, as a whole or in tiles.

    Convolutions are not padded, so a logit depends only on its receptive field: tiles that begin at multiples of the stride
    give exactly the result of a single pass.

    Attributes:
        stride: ratio of the image size to the deepest map.
        margin: pixels lost on each side by the unpadded network, 92 at five levels.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        width: int = 64,
        depth: int = 5,
        dropout: float = 0.5,
        tile: int | None = None,
    ) -> None:
        """Build the network; at width 64 and depth 5 it has 31.0 million parameters.

        Args:
            in_channels: C.
            num_classes: K.
            width: channels of the first level; each deeper one has twice as many.
            depth: number of levels, one more than poolings.
            dropout: share of dropped values of the two deepest levels in training, 0 to below 1.
            tile: height and width of the logits of one tile (388 in the paper), for large images; None for a single pass, which
                is always used in training.

        Raises:
            ConfigError: an argument is out of its range, or the network has no outputs of the tile size.
        """
        super().__init__()
        check_sizes(1, in_channels=in_channels, width=width)
        check_sizes(2, num_classes=num_classes, depth=depth)
        check_share("dropout", dropout)
        self.stride = 2 ** (depth - 1)
        self.margin = 6 * self.stride - 4
        self.tile = check_tile(tile, self.stride)
        widths = [width * 2**level for level in range(depth)]
        self.down = nn.ModuleList(valid_convs(above, below) for above, below in pairwise([in_channels, *widths]))
        self.pool = nn.MaxPool2d(2)
        self.drop = nn.Dropout(dropout)
        steps = [(below, above) for above, below in reversed(list(pairwise(widths)))]
        self.up = nn.ModuleList(nn.ConvTranspose2d(below, above, 2, stride=2) for below, above in steps)
        self.join = nn.ModuleList(valid_convs(2 * above, above) for _, above in steps)
        self.head = nn.Conv2d(width, num_classes, 1)
        init_weights(self)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (B, K, H, W) for an image (B, C, H, W) of any size from 16 up."""
        if self.tile is None or self.training:
            return self.part(image, 0, 0, image.shape[2], image.shape[3])
        step = self.tile - 4  # the largest multiple of the stride in a tile
        rows = []
        for top in range(0, image.shape[2], step):
            height = min(step, image.shape[2] - top)
            lefts = range(0, image.shape[3], step)
            row = [self.part(image, top, left, height, min(step, image.shape[3] - left)) for left in lefts]
            rows.append(torch.cat(row, dim=3))
        return torch.cat(rows, dim=2)

    def part(self, image: Tensor, top: int, left: int, height: int, width: int) -> Tensor:
        """Return the logits (B, K, height, width) of a part of an image, using its surroundings in the reflected image."""
        seen = image
        for axis, start, length in ((2, top, height), (3, left, width)):
            seen = mirror(seen, axis, start - self.margin, self.size_for(length) + 2 * self.margin)
        return self.unpadded(seen)[:, :, :height, :width]

    def size_for(self, length: int) -> int:
        """Return the smallest output size of the network that is at least `length`: a multiple of the stride plus 4."""
        size: int = (length - 4 + self.stride - 1) // self.stride * self.stride + 4
        return size

    def unpadded(self, image: Tensor) -> Tensor:
        """Return the logits (B, K, H - 2 margin, W - 2 margin) of (B, C, H, W), as in the paper: 572 to 388.

        Args:
            image: H and W are a multiple of the stride, plus 4, plus twice the margin.
        """
        last = len(self.down) - 1
        x, skips = image, []
        for level, convs in enumerate(self.down):
            x = convs(self.pool(x) if level else x)
            x = self.drop(x) if level >= last - 1 else x
            skips.append(x)
        x = skips.pop()
        for above, (up, join) in enumerate(zip(self.up, self.join, strict=True), start=1):
            edge = 6 * 2**above - 8  # border lost by the deeper levels, in pixels of this one
            x = join(torch.cat([skips.pop()[:, :, edge:-edge, edge:-edge], up(x)], dim=1))
        logits: Tensor = self.head(x)
        return logits


def valid_convs(inside: int, outside: int) -> nn.Sequential:
    """Return two unpadded 3x3 convolutions, each followed by a ReLU."""
    return nn.Sequential(
        nn.Conv2d(inside, outside, 3), nn.ReLU(inplace=True), nn.Conv2d(outside, outside, 3), nn.ReLU(inplace=True)
    )


def check_tile(tile: int | None, stride: int) -> int | None:
    """Validate and return the tile size.

    Raises:
        ConfigError: the network has no outputs of that size.
    """
    if tile is None:
        return None
    check_sizes(1, tile=tile)
    if tile % stride != 4 % stride or tile < stride + 4:
        near = max(1, round((tile - 4) / stride)) * stride + 4
        raise ConfigError(
            f"model.tile is {tile}",
            f"a size that comes out of {stride.bit_length()} levels of valid convolutions: a multiple of {stride}, and 4",
            f"Set model.tile={near}",
        )
    return tile
