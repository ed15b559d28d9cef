"""UNet++ (Zhou et al.: "UNet++: A Nested U-Net Architecture for Medical Image Segmentation", DLMIA 2018)."""

from typing import Any

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
    """A U-Net with nested skips: node `i_j` sees `i_0` ... `i_(j-1)` and the upsampled `(i+1)_(j-1)`.

    Trained with deep supervision it can be pruned: `prune_to=2` is L2 of the paper, which ends at the head of `x0_2` and has
    only the preceding nodes. The state of the whole network loads into a pruned one.

    Attributes:
        stride: ratio of the image size to the deepest map of the whole network. Images are padded to a multiple of it, also
            when pruned, so that a head gives the same result.
        deep_supervision: `forward_scales` returns the output of a head for each column.
        level: of the last column.
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
        prune_to: int | None = None,
    ) -> None:
        """Build the network; at width 32 and depth 5 it has 9.04 million parameters.

        Args:
            in_channels: C.
            num_classes: K.
            width: channels of the first level; each deeper one has twice as many (32 64 128 256 512).
            depth: number of levels, 2 to 5; the paper's L1 to L4 have 2 to 5.
            norm: "batch", "instance", "group" or "none".
            deep_supervision: add a head to each of `x0_1`, `x0_2`, ...
            prune_to: the level, 1 to depth - 1, whose head is the prediction; requires deep supervision. None for the whole
                network.

        Raises:
            ConfigError: an argument is out of its range.
        """
        super().__init__()
        check_sizes(1, in_channels=in_channels, width=width)
        check_sizes(2, num_classes=num_classes, depth=depth)
        check_choice("norm", norm, NORMS)
        if depth > 5:
            raise ConfigError(f"model.depth is {depth}", "2 to 5 for UNet++", "Set model.depth=5")
        check_level(prune_to, depth, deep_supervision)
        self.stride, self.deep_supervision, self.pruned = 2 ** (depth - 1), deep_supervision, prune_to is not None
        self.level = prune_to or depth - 1
        widths = [width * 2**level for level in range(depth)]
        for level, out in enumerate(widths[: self.level + 1]):
            inside = widths[level - 1] if level else in_channels
            self.add_module(f"conv{level}_0", DoubleConv(inside, out, norm))
            for column in range(1, self.level + 1 - level):
                self.add_module(f"conv{level}_{column}", DoubleConv(out * column + 2 * out, out, norm))
        self.pool = nn.MaxPool2d(2)
        self.up = double_size()
        self.heads = nn.ModuleList(nn.Conv2d(width, num_classes, 1) for _ in range(self.level if deep_supervision else 1))
        init_weights(self)
        self.register_load_state_dict_pre_hook(drop_pruned_weights)  # type: ignore[no-untyped-call]

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (B, K, H, W) for an image (B, C, H, W) of any size from 16 up.

        With deep supervision this is the average of the logits of all heads (the paper's "accurate mode"); pruned it is the
        output of one head ("fast mode").
        """
        if self.pruned:
            return crop_to(self.heads[-1](self.top_row(pad_to(image, self.stride))[-1]), image)
        scales = self.forward_scales(image)
        return torch.stack(scales).mean(dim=0) if len(scales) > 1 else scales[0]

    def forward_scales(self, image: Tensor) -> list[Tensor]:
        """Return the logits (B, K, H, W) of each head, the last column first; one without deep supervision."""
        nodes = self.top_row(pad_to(image, self.stride))[-len(self.heads) :]
        return [crop_to(head(x), image) for head, x in reversed(list(zip(self.heads, nodes, strict=True)))]

    def top_row(self, image: Tensor) -> list[Tensor]:
        """Return x0_1, x0_2, ... up to the network's level, each (B, width, H, W), as in Figure 1 of the paper."""
        pool, up = self.pool, self.up

        x0_0 = self.conv0_0(image)
        x1_0 = self.conv1_0(pool(x0_0))
        x0_1 = self.conv0_1(concatenate(x0_0, up(x1_0)))
        if self.level == 1:
            return [x0_1]

        x2_0 = self.conv2_0(pool(x1_0))
        x1_1 = self.conv1_1(concatenate(x1_0, up(x2_0)))
        x0_2 = self.conv0_2(concatenate(x0_0, x0_1, up(x1_1)))
        if self.level == 2:
            return [x0_1, x0_2]

        x3_0 = self.conv3_0(pool(x2_0))
        x2_1 = self.conv2_1(concatenate(x2_0, up(x3_0)))
        x1_2 = self.conv1_2(concatenate(x1_0, x1_1, up(x2_1)))
        x0_3 = self.conv0_3(concatenate(x0_0, x0_1, x0_2, up(x1_2)))
        if self.level == 3:
            return [x0_1, x0_2, x0_3]

        x4_0 = self.conv4_0(pool(x3_0))
        x3_1 = self.conv3_1(concatenate(x3_0, up(x4_0)))
        x2_2 = self.conv2_2(concatenate(x2_0, x2_1, up(x3_1)))
        x1_3 = self.conv1_3(concatenate(x1_0, x1_1, x1_2, up(x2_2)))
        x0_4 = self.conv0_4(concatenate(x0_0, x0_1, x0_2, x0_3, up(x1_3)))
        return [x0_1, x0_2, x0_3, x0_4]


def concatenate(*maps: Tensor) -> Tensor:
    """Concatenate maps along their channels."""
    return torch.cat(maps, dim=1)


def check_level(prune_to: int | None, depth: int, deep_supervision: bool) -> None:
    """Validate the pruning level.

    Raises:
        ConfigError: there is no such level, or it has no head.
    """
    if prune_to is None:
        return
    levels = f"L1 to L{depth - 1}" if depth > 2 else "L1"
    if isinstance(prune_to, bool) or not isinstance(prune_to, int) or not 1 <= prune_to < depth:
        raise ConfigError(
            f"model.prune_to is {prune_to!r}",
            f"One of {', '.join(map(str, range(1, depth)))}: a UNet++ of depth {depth} has the levels {levels}",
            f"Set model.prune_to={depth - 1} or less, or leave it out for the whole network",
        )
    if not deep_supervision:
        raise ConfigError(
            f"model.prune_to={prune_to} without deep supervision",
            f"Heads on {levels}, which training with deep supervision makes",
            "Train with deep_supervision=true, or leave model.prune_to out",
        )


def drop_pruned_weights(network: nn.Module, state: dict[str, Any], prefix: str, *_: object) -> None:
    """Remove the nodes and heads that a pruned network lacks from a state dict before it is loaded."""
    assert isinstance(network, UNetPlusPlus)
    if not network.pruned:
        return
    for name in list(state):
        part, number = f"{name.removeprefix(prefix)}..".split(".")[:2]
        node = part.startswith("conv") and sum(map(int, part.removeprefix("conv").split("_"))) > network.level
        head = part == "heads" and int(number) >= network.level
        if name.startswith(prefix) and (node or head):
            del state[name]
