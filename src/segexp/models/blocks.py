"""Blocks shared by the networks: convolutions, resampling, padding to a stride, and checks of their arguments.

Legend: B batch, C channels, H W pixels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segexp.errors import ConfigError, nearest

NORMS = ("batch", "instance", "group", "none")
UPS = ("transposed", "bilinear")


class GroupNorm(nn.GroupNorm):
    """Group normalisation that also takes a map of one pixel, where it returns its bias.

    torch refuses a single value per group, which a 16x16 image reaches at the bottom of a five-level network.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C, H, W) within each group of channels of each image."""
        return torch.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)


class ConvNormAct(nn.Sequential):
    """A 3x3 convolution that keeps the size (or divides it by `stride`), its norm and a ReLU."""

    def __init__(self, inside: int, outside: int, norm: str, rate: int = 1, stride: int = 1) -> None:
        """Make the block.

        Args:
            inside: channels taken.
            outside: channels given.
            norm: one of `NORMS`; with "none" the convolution has a bias instead.
            rate: dilation of the convolution.
            stride: factor by which the map gets smaller.
        """
        super().__init__(
            nn.Conv2d(inside, outside, 3, stride, padding=rate, dilation=rate, bias=norm == "none"),
            norm_layer(norm, outside),
            nn.ReLU(inplace=True),
        )


class DoubleConv(nn.Sequential):
    """Two 3x3 convolutions, each with norm and ReLU: the block of U-Net and the VGG block of UNet++."""

    def __init__(self, inside: int, outside: int, norm: str, middle: int | None = None) -> None:
        """Make the block; `middle` is the width between the convolutions, `outside` when not given."""
        middle = middle or outside
        super().__init__(ConvNormAct(inside, middle, norm), ConvNormAct(middle, outside, norm))


class Up(nn.Module):
    """One step up: double the deeper map, append it to the skipped one, and convolve twice."""

    def __init__(self, deep: int, skip: int, outside: int, norm: str, up: str) -> None:
        """Make the block.

        Args:
            deep: channels of the deeper map, at half the size.
            skip: channels of the map that skipped the deeper levels.
            outside: channels given.
            norm: one of `NORMS`.
            up: "transposed" learns the doubling and takes it to `skip` channels; "bilinear" interpolates.
        """
        super().__init__()
        transposed = up == "transposed"
        self.up: nn.Module = nn.ConvTranspose2d(deep, skip, 2, stride=2) if transposed else double_size()
        joined = 2 * skip if transposed else deep + skip
        self.conv = DoubleConv(joined, outside, norm, middle=outside if transposed else joined // 2)

    def forward(self, deep: Tensor, skip: Tensor) -> Tensor:
        """Return (B, outside, H, W) from `deep` (B, deep, H/2, W/2) and `skip` (B, skip, H, W)."""
        out: Tensor = self.conv(torch.cat([skip, self.up(deep)], dim=1))
        return out


def double_size() -> nn.Upsample:
    """Return bilinear upsampling by two; by factor and not by size, so that an export needs no shape arithmetic."""
    return nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)


def norm_layer(norm: str, channels: int) -> nn.Module:
    """Return the norm of that name for `channels` channels; groups are the largest of 32, 16, 8, 4, 2, 1 that fits."""
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    if norm == "instance":
        return GroupNorm(channels, channels)
    if norm == "group":
        return GroupNorm(next(g for g in (32, 16, 8, 4, 2, 1) if channels % g == 0), channels)
    check_choice("norm", norm, NORMS)
    return nn.Identity()


def pad_to(image: Tensor, stride: int) -> Tensor:
    """Reflect an image at its borders, evenly on both sides, up to the next multiple of `stride`.

    Written with indices because `F.pad` refuses to reflect further than the image is large and ties an export to one size.

    Args:
        image: (B, C, H, W), H and W at least 2.
        stride: what both sides must divide by.

    Returns:
        (B, C, H', W') with H' and W' less than H + stride and W + stride.
    """
    for axis in (2, 3):
        size = image.shape[axis]
        padded = (size + stride - 1) // stride * stride
        offset = torch.arange(padded, device=image.device) - (padded - size) // 2
        last = size - 1
        index = last - (offset.abs() % (2 * last) - last).abs()
        image = image.index_select(axis, index)
    return image


def crop_to(padded: Tensor, image: Tensor) -> Tensor:
    """Cut from (B, K, H', W') the middle that belongs to `image` (B, C, H, W) after `pad_to`.

    Negative padding and not a slice: a slice's strides tie an export to sizes that do need padding, or to those that do not.
    """
    tall, wide = padded.shape[2] - image.shape[2], padded.shape[3] - image.shape[3]
    top, left = tall // 2, wide // 2
    return F.pad(padded, (-left, left - wide, -top, top - tall))


def init_weights(network: nn.Module) -> None:
    """Draw convolution weights as He et al. 2015 do for ReLU (variance 2 / fan in) and set biases to zero."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            # A transposed convolution with kernel = stride hands each output pixel one weight per input channel.
            fan = layer.in_channels * (layer.weight[0, 0].numel() if isinstance(layer, nn.Conv2d) else 1)
            nn.init.normal_(layer.weight, std=(2 / fan) ** 0.5)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def check_sizes(at_least: int, **sizes: int) -> None:
    """Check integers of a network's configuration.

    Raises:
        ConfigError: one is no integer or below `at_least`.
    """
    for name, value in sizes.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
            key = {"in_channels": "data.channels", "num_classes": "data.num_classes"}.get(name, f"model.{name}")
            raise ConfigError(
                f"model.{name} is {value!r}", f"an integer of at least {at_least}", f"Set {key}={at_least} or more"
            )


def check_choice(name: str, value: str, known: tuple[str, ...]) -> None:
    """Check a name of a network's configuration.

    Raises:
        ConfigError: `value` is not in `known`.
    """
    if value not in known:
        raise ConfigError(f"model.{name} is {value!r}", f"one of {', '.join(known)}", nearest(str(value), known))


def check_share(name: str, value: float) -> None:
    """Check a share of a network's configuration.

    Raises:
        ConfigError: `value` is not from 0 to below 1.
    """
    if not 0 <= value < 1:
        raise ConfigError(f"model.{name} is {value!r}", "a share from 0 to below 1", f"Set model.{name}=0.0")
