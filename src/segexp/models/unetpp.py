"""UNet++ (Zhou et al.: "UNet++: A Nested U-Net Architecture for Medical Image Segmentation", DLMIA 2018)."""

import torch
from torch import Tensor, nn

from segexp.errors import ConfigError
from segexp.models.blocks import (
    NORMS,
    DoubleConv,
    check_choice,
    check_sizes,
    crop_to,
    double_size,
    init_weights,
    pad_to,
)


class UNetPlusPlus(nn.Module):
    """A U-Net whose skips are filled with nodes: node `i_j` sees `i_0` ... `i_(j-1)` and the doubled `(i+1)_(j-1)`.

    Attributes:
        stride: by how much the deepest level is smaller than the image.
    """

    conv0_0: DoubleConv
    conv1_0: DoubleConv
    conv2_0: DoubleConv
    conv3_0: DoubleConv
    conv4_0: DoubleConv
    conv0_1: DoubleConv
    conv1_1: DoubleConv
    conv2_1: DoubleConv
    conv3_1: DoubleConv
    conv0_2: DoubleConv
    conv1_2: DoubleConv
    conv2_2: DoubleConv
    conv0_3: DoubleConv
    conv1_3: DoubleConv
    conv0_4: DoubleConv

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        width: int = 32,
        depth: int = 5,
        norm: str = "batch",
        deep_supervision: bool = False,
    ) -> None:
        """Make the network; at width 32 and depth 5 it has 9.04 million parameters.

        Args:
            in_channels: C.
            num_classes: K.
            width: channels of the first level; each deeper one has twice as many (32 64 128 256 512).
            depth: number of levels, 2 to 5; the paper's L1 to L4 have 2 to 5.
            norm: "batch", "instance", "group" or "none".
            deep_supervision: give each of `x0_1`, `x0_2`, ... a head of its own.

        Raises:
            ConfigError: an argument is out of its range.
        """
        super().__init__()
        check_sizes(1, in_channels=in_channels, width=width)
        check_sizes(2, num_classes=num_classes, depth=depth)
        check_choice("norm", norm, NORMS)
        if depth > 5:
            raise ConfigError(f"model.depth is {depth}", "2 to 5 for UNet++", "Set model.depth=5")
        self.depth, self.stride = depth, 2 ** (depth - 1)
        widths = [width * 2**level for level in range(depth)]
        for level, out in enumerate(widths):
            inside = widths[level - 1] if level else in_channels
            self.add_module(f"conv{level}_0", DoubleConv(inside, out, norm))
            for column in range(1, depth - level):
                self.add_module(f"conv{level}_{column}", DoubleConv(out * column + 2 * out, out, norm))
        self.pool = nn.MaxPool2d(2)
        self.up = double_size()
        self.heads = nn.ModuleList(nn.Conv2d(width, num_classes, 1) for _ in range(depth - 1 if deep_supervision else 1))
        init_weights(self)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (B, K, H, W) for an image (B, C, H, W) of any size from 16 up.

        With deep supervision that is the paper's "accurate mode", the average over all heads; it is taken over logits, so
        that the result is again a logit for softmax and sigmoid alike.
        """
        scales = self.forward_scales(image)
        return torch.stack(scales).mean(dim=0) if len(scales) > 1 else scales[0]

    def forward_scales(self, image: Tensor) -> list[Tensor]:
        """Return the logits (B, K, H, W) of each head, that of the last column first; one without deep supervision."""
        nodes = self.top_row(pad_to(image, self.stride))[-len(self.heads) :]
        return [crop_to(head(x), image) for head, x in reversed(list(zip(self.heads, nodes, strict=True)))]

    def top_row(self, image: Tensor) -> list[Tensor]:
        """Return x0_1, x0_2, ... up to the network's depth, each (B, width, H, W), as in Figure 1 of the paper."""
        pool, up = self.pool, self.up

        x0_0 = self.conv0_0(image)
        x1_0 = self.conv1_0(pool(x0_0))
        x0_1 = self.conv0_1(join(x0_0, up(x1_0)))
        if self.depth == 2:
            return [x0_1]

        x2_0 = self.conv2_0(pool(x1_0))
        x1_1 = self.conv1_1(join(x1_0, up(x2_0)))
        x0_2 = self.conv0_2(join(x0_0, x0_1, up(x1_1)))
        if self.depth == 3:
            return [x0_1, x0_2]

        x3_0 = self.conv3_0(pool(x2_0))
        x2_1 = self.conv2_1(join(x2_0, up(x3_0)))
        x1_2 = self.conv1_2(join(x1_0, x1_1, up(x2_1)))
        x0_3 = self.conv0_3(join(x0_0, x0_1, x0_2, up(x1_2)))
        if self.depth == 4:
            return [x0_1, x0_2, x0_3]

        x4_0 = self.conv4_0(pool(x3_0))
        x3_1 = self.conv3_1(join(x3_0, up(x4_0)))
        x2_2 = self.conv2_2(join(x2_0, x2_1, up(x3_1)))
        x1_3 = self.conv1_3(join(x1_0, x1_1, x1_2, up(x2_2)))
        x0_4 = self.conv0_4(join(x0_0, x0_1, x0_2, x0_3, up(x1_3)))
        return [x0_1, x0_2, x0_3, x0_4]


def join(*maps: Tensor) -> Tensor:
    """Stack maps of one size along their channels."""
    return torch.cat(maps, dim=1)
