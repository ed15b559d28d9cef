"""U-Net (Ronneberger, Fischer, Brox: "U-Net", MICCAI 2015), with convolutions that keep the size."""

from itertools import pairwise

from torch import Tensor, nn

from segexp.models.blocks import (
    NORMS,
    UPS,
    DoubleConv,
    Up,
    check_choice,
    check_share,
    check_sizes,
    crop_to,
    init_weights,
    pad_to,
)


class UNet(nn.Module):
    """An encoder that halves the map level by level, and a decoder that brings it back with the encoder's maps beside it.

    Attributes:
        stride: by how much the deepest level is smaller than the image.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        width: int = 64,
        depth: int = 5,
        norm: str = "batch",
        up: str = "transposed",
        dropout: float = 0.0,
    ) -> None:
        """Make the network; at width 64 and depth 5 it has 31.0 million parameters (17.3 with bilinear upsampling).

        Args:
            in_channels: C.
            num_classes: K.
            width: channels of the first level; each deeper one has twice as many. With bilinear upsampling the deepest
                level keeps the width of the one above (64 128 256 512 512).
            depth: number of levels; one less than that many poolings.
            norm: "batch", "instance", "group" or "none".
            up: "transposed" or "bilinear".
            dropout: share of the deepest level's channels that are dropped in training, 0 to below 1.

        Raises:
            ConfigError: an argument is out of its range.
        """
        super().__init__()
        check_sizes(1, in_channels=in_channels, width=width)
        check_sizes(2, num_classes=num_classes, depth=depth)
        check_choice("norm", norm, NORMS)
        check_choice("up", up, UPS)
        check_share("dropout", dropout)
        self.stride = 2 ** (depth - 1)
        widths = [width * 2**level for level in range(depth)]
        half = 2 if up == "bilinear" else 1
        encoded = [*widths[:-1], widths[-1] // half]
        # What each level hands to the one above it: interpolation keeps the channels, so they are halved beforehand.
        given = [width, *(w // half for w in widths[1:])]

        self.stem = DoubleConv(in_channels, width, norm)
        self.down = nn.ModuleList(DoubleConv(above, below, norm) for above, below in pairwise(encoded))
        self.pool = nn.MaxPool2d(2)
        self.drop = nn.Dropout2d(dropout)
        self.up = nn.ModuleList(
            Up(given[level + 1], widths[level], given[level], norm, up) for level in reversed(range(depth - 1))
        )
        self.head = nn.Conv2d(width, num_classes, 1)
        init_weights(self)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (B, K, H, W) for an image (B, C, H, W) of any size from 16 up."""
        x = self.stem(pad_to(image, self.stride))
        skips = []
        for down in self.down:
            skips.append(x)
            x = down(self.pool(x))
        x = self.drop(x)
        for up in self.up:
            x = up(x, skips.pop())
        return crop_to(self.head(x), image)
