"""Deep residual U-Net (Zhang, Liu, Wang: "Road Extraction by Deep Residual U-Net", IEEE GRSL 2018).

As in the paper: pre-activation units with shortcuts, strided units instead of pooling, upsampling without weights, and one 1x1
convolution at the end; with four levels of 64 to 512 channels the 3x3 convolutions have the paper's 7.8 million weights. Where
the paper gives no details, shortcuts between different numbers of channels are 1x1 convolutions, and upsampling is bilinear.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from segexp.models.blocks import (
    NORMS,
    check_choice,
    check_sizes,
    double_size,
    init_weights,
    norm_layer,
)
from segexp.models.decoder import DecoderStep, UShaped, coarse_heads


class ResidualUnit(nn.Module):
    """Norm, ReLU and 3x3 convolution twice, with a shortcut around them (He et al. 2016, "full pre-activation")."""

    def __init__(self, inside: int, outside: int, norm: str, stride: int = 1, first: bool = False) -> None:
        """Build the unit.

        Args:
            inside: input channels.
            outside: output channels.
            norm: one of `NORMS`.
            stride: of the unit.
            first: its input is the image, which is not normalised and rectified before the first convolution.
        """
        super().__init__()
        before: list[nn.Module] = [] if first else [norm_layer(norm, inside), nn.ReLU()]
        self.conv = nn.Sequential(
            *before,
            nn.Conv2d(inside, outside, 3, stride, padding=1, bias=norm == "none"),
            norm_layer(norm, outside),
            nn.ReLU(inplace=True),
            nn.Conv2d(outside, outside, 3, padding=1),
        )
        alike = inside == outside and stride == 1
        self.shortcut: nn.Module = nn.Identity() if alike else nn.Conv2d(inside, outside, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, outside, H / stride, W / stride) from (B, inside, H, W)."""
        return torch.add(self.conv(x), self.shortcut(x))


class ResUNet(UShaped):
    """A U-Net of residual units."""

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        width: int = 64,
        depth: int = 4,
        norm: str = "batch",
        deep_supervision: bool = False,
    ) -> None:
        """Build the network; at width 64 and depth 4 it has 8.2 million parameters.

        Args:
            in_channels: C.
            num_classes: K.
            width: channels of the first level; each deeper one has twice as many (64 128 256 512).
            depth: number of levels; the deepest is the paper's bridge.
            norm: "batch", "instance", "group" or "none".
            deep_supervision: add heads to the coarser levels of the decoder, for `forward_scales`.

        Raises:
            ConfigError: an argument is out of its range.
        """
        super().__init__()
        check_sizes(1, in_channels=in_channels, width=width)
        check_sizes(2, num_classes=num_classes, depth=depth)
        check_choice("norm", norm, NORMS)
        self.stride, self.deep_supervision = 2 ** (depth - 1), deep_supervision
        widths = [width * 2**level for level in range(depth)]
        self.stem = ResidualUnit(in_channels, width, norm, first=True)
        self.down = nn.ModuleList(ResidualUnit(above, below, norm, stride=2) for above, below in pairwise(widths))
        self.up = nn.ModuleList(
            DecoderStep(double_size(), ResidualUnit(above + below, above, norm))
            for above, below in reversed(list(pairwise(widths)))
        )
        self.head = nn.Conv2d(width, num_classes, 1)
        self.coarse_heads = coarse_heads(widths[1:-1] if deep_supervision else [], num_classes)
        init_weights(self)
