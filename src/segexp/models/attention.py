"""Attention for U-Nets: gates on skips (Oktay et al. 2018), spatial and channel squeeze and excitation (Roy et al. 2018).

Shapes: B batch, C channels, H W pixels.
"""

import torch
from torch import Tensor, nn

from segexp.models.blocks import double_size

ATTENTION = ("none", "scse", "gate")


class AttentionGate(nn.Module):
    """The additive attention gate of Oktay et al.: "Attention U-Net: Learning Where to Look for the Pancreas", MIDL 2018.

    The skip is weighted pixel by pixel: alpha = sigmoid(psi(relu(W_x x + W_g g))), out = x * alpha. As in the paper, alpha is
    computed on the grid of the gating map g, to which x is reduced by a strided convolution, and upsampled linearly. The gate
    is initialised almost open.
    """

    def __init__(self, skip: int, deep: int) -> None:
        """Build the gate for a skip of `skip` channels and a gating map of `deep` channels at half its size."""
        super().__init__()
        self.of_skip = nn.Conv2d(skip, skip, 2, stride=2, bias=False)
        self.of_gate = nn.Conv2d(deep, skip, 1)
        self.psi = nn.Conv2d(skip, 1, 1)
        self.up = double_size()

    def open(self) -> None:
        """Initialise psi so that alpha starts near 0.95; call after the initialisation of the network."""
        nn.init.normal_(self.psi.weight, std=0.01)
        nn.init.constant_(self.psi.bias, 3.0)  # type: ignore[arg-type]

    def forward(self, skip: Tensor, deep: Tensor) -> Tensor:
        """Return (B, skip, H, W) from `skip` (B, skip, H, W) and `deep` (B, deep, H/2, W/2)."""
        out: Tensor = skip * self.up(self.alpha(skip, deep))
        return out

    def alpha(self, skip: Tensor, deep: Tensor) -> Tensor:
        """Return the attention coefficients (B, 1, H/2, W/2), 0 to 1."""
        out: Tensor = self.psi(torch.relu(self.of_skip(skip) + self.of_gate(deep)))
        return out.sigmoid()


class ScSE(nn.Module):
    """Roy et al.: "Concurrent Spatial and Channel Squeeze & Excitation in Fully Convolutional Networks", MICCAI 2018.

    Channels are weighted by the global context, pixels by their channels, and the two results are added.
    """

    def __init__(self, channels: int) -> None:
        """Build the block; the squeezed vector has half the channels, as in the paper."""
        super().__init__()
        squeezed = max(1, channels // 2)
        self.channel = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, squeezed, 1), nn.ReLU(), nn.Conv2d(squeezed, channels, 1), nn.Sigmoid()
        )
        self.space = nn.Sequential(nn.Conv2d(channels, 1, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C, H, W) from (B, C, H, W)."""
        out: Tensor = x * self.channel(x) + x * self.space(x)
        return out
