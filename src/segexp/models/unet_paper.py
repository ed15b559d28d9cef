"""U-Net as published (Ronneberger, Fischer, Brox: "U-Net", MICCAI 2015), for images of any size by its overlap-tile strategy.

Valid convolutions, so that 572x572 pixels give 388x388 logits; 2x2 up-convolutions that halve the channels; skips cropped in
the middle; dropout at the end of the contracting path (the last two levels, as in the authors' network file); no norm; weights
drawn as He et al. 2015 do. What an image lacks around it is its mirror image.

Shapes: B batch, C channels, K classes, H W pixels.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from segexp.errors import ConfigError
from segexp.models.blocks import check_share, check_sizes, init_weights, mirror


class UNetPaper(nn.Module):
    """The published network around which an image is mirrored, seen whole or in tiles.

    Convolutions are not padded, so a logit depends on its receptive field alone and not on where a tile ends: tiles that begin
    at multiples of the stride give exactly what the image gives in one pass.

    Attributes:
        stride: by how much the deepest level is smaller than the image.
        margin: pixels that the unpadded network loses on each side, 92 at five levels.
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
        """Make the network; at width 64 and depth 5 it has 31.0 million parameters.

        Args:
            in_channels: C.
            num_classes: K.
            width: channels of the first level; each deeper one has twice as many.
            depth: number of levels; one less than that many poolings.
            dropout: share of the values of the two deepest levels that are dropped in training, 0 to below 1.
            tile: height and width of the logits of one tile (the paper's 388), for images whose one pass does not fit into
                memory; None sees every image in one pass, and so does training.

        Raises:
            ConfigError: an argument is out of its range, or tiles of that size do not come out of the network.
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
        """Return logits (B, K, H, W) for an image (B, C, H, W) of any size from 16 up.

        In training, and without a tile size, that is one pass over the mirrored image.
        """
        if self.tile is None or self.training:
            return self.part(image, 0, 0, image.shape[2], image.shape[3])
        step = self.tile - 4  # the largest multiple of the stride in a tile; what lies beyond comes from the next one
        rows = []
        for top in range(0, image.shape[2], step):
            height = min(step, image.shape[2] - top)
            lefts = range(0, image.shape[3], step)
            row = [self.part(image, top, left, height, min(step, image.shape[3] - left)) for left in lefts]
            rows.append(torch.cat(row, dim=3))
        return torch.cat(rows, dim=2)

    def part(self, image: Tensor, top: int, left: int, height: int, width: int) -> Tensor:
        """Return the logits (B, K, height, width) of a part of an image, from its surroundings in the mirrored image."""
        seen = image
        for axis, start, length in ((2, top, height), (3, left, width)):
            seen = mirror(seen, axis, start - self.margin, self.size_for(length) + 2 * self.margin)
        return self.unpadded(seen)[:, :, :height, :width]

    def size_for(self, length: int) -> int:
        """Return the smallest size of the network's output that is at least `length`: a multiple of the stride, and 4."""
        size: int = (length - 4 + self.stride - 1) // self.stride * self.stride + 4
        return size

    def unpadded(self, image: Tensor) -> Tensor:
        """Return the logits (B, K, H - 2 margin, W - 2 margin) of (B, C, H, W), as the paper's network does: 572 to 388.

        Args:
            image: H and W are a multiple of the stride, and 4, and twice the margin.
        """
        last = len(self.down) - 1
        x, skips = image, []
        for level, convs in enumerate(self.down):
            x = convs(self.pool(x) if level else x)
            x = self.drop(x) if level >= last - 1 else x
            skips.append(x)
        x = skips.pop()
        for above, (up, join) in enumerate(zip(self.up, self.join, strict=True), start=1):
            edge = 6 * 2**above - 8  # what the levels below lose on each side, in pixels of this one
            x = join(torch.cat([skips.pop()[:, :, edge:-edge, edge:-edge], up(x)], dim=1))
        logits: Tensor = self.head(x)
        return logits


def valid_convs(inside: int, outside: int) -> nn.Sequential:
    """Return two unpadded 3x3 convolutions, each followed by a ReLU."""
    return nn.Sequential(
        nn.Conv2d(inside, outside, 3), nn.ReLU(inplace=True), nn.Conv2d(outside, outside, 3), nn.ReLU(inplace=True)
    )


def check_tile(tile: int | None, stride: int) -> int | None:
    """Return the size of the tiles.

    Raises:
        ConfigError: the network's outputs have other sizes.
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
