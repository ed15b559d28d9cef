"""U-Net (Ronneberger, Fischer, Brox: "U-Net", MICCAI 2015) with padded convolutions and optional attention."""

from itertools import pairwise

from torch import nn

from segexp.models.attention import ATTENTION, AttentionGate, ScSE
from segexp.models.blocks import (
    NORMS,
    UPS,
    DoubleConv,
    check_choice,
    check_share,
    check_sizes,
    init_weights,
)
from segexp.models.decoder import DecoderStep, UShaped, coarse_heads, make_upsampling


class UNet(UShaped):
    """An encoder that halves the map at each level, and a decoder with skip connections.

    With `attention="gate"` and `up="bilinear"` it is the Attention U-Net of Oktay et al. 2018 in two dimensions: gates on all
    skips but the first, bilinear upsampling, batch norm, optional deep supervision. In contrast to the paper, the heads of deep
    supervision have separate losses and are not combined into one output.
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
        attention: str = "none",
        deep_supervision: bool = False,
    ) -> None:
        """Build the network; at width 64 and depth 5 it has 31.0 million parameters (17.3 with bilinear upsampling).

        Args:
            in_channels: C.
            num_classes: K.
            width: channels of the first level; each deeper one has twice as many. With bilinear upsampling the deepest
                level keeps the width of the one above (64 128 256 512 512).
            depth: number of levels, one more than poolings.
            norm: "batch", "instance", "group" or "none".
            up: "transposed" or "bilinear".
            dropout: share of dropped channels of the deepest level in training, 0 to below 1.
            attention: "none"; "scse" after every block (Roy et al. 2018); "gate" on the skips (Oktay et al. 2018).
            deep_supervision: add heads to the coarser levels of the decoder, for `forward_scales`.

        Raises:
            ConfigError: an argument is out of its range.
        """
        super().__init__()
        check_sizes(1, in_channels=in_channels, width=width)
        check_sizes(2, num_classes=num_classes)
        check_choice("norm", norm, NORMS)
        check_choice("up", up, UPS)
        check_share("dropout", dropout)
        check_choice("attention", attention, ATTENTION)
        check_sizes(3 if attention == "gate" else 2, depth=depth)  # the first skip has no gate
        self.stride, self.deep_supervision = 2 ** (depth - 1), deep_supervision
        widths = [width * 2**level for level in range(depth)]
        half = 2 if up == "bilinear" else 1
        encoded = [*widths[:-1], widths[-1] // half]
        # Output channels of each level: interpolation keeps the channels, so they are halved beforehand.
        given = [width, *(w // half for w in widths[1:])]

        def block(inside: int, outside: int, middle: int | None = None) -> nn.Module:
            conv = DoubleConv(inside, outside, norm, middle)
            return nn.Sequential(conv, ScSE(outside)) if attention == "scse" else conv

        def step(level: int) -> DecoderStep:
            deep, skip, outside = given[level + 1], widths[level], given[level]
            doubled, channels = make_upsampling(up, deep, skip)
            middle = outside if up == "transposed" else (skip + channels) // 2
            gate = AttentionGate(skip, deep) if attention == "gate" and level else None
            return DecoderStep(doubled, block(skip + channels, outside, middle), gate)

        self.stem = block(in_channels, width)
        self.down = nn.ModuleList(block(above, below) for above, below in pairwise(encoded))
        self.pool = nn.MaxPool2d(2)
        self.drop = nn.Dropout2d(dropout)
        self.up = nn.ModuleList(step(level) for level in reversed(range(depth - 1)))
        self.head = nn.Conv2d(width, num_classes, 1)
        self.coarse_heads = coarse_heads(given[1:-1] if deep_supervision else [], num_classes)
        init_weights(self)
        for layer in self.modules():
            if isinstance(layer, AttentionGate):
                layer.open()
