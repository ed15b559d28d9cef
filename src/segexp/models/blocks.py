"""Blocks shared by the networks: convolutions, resampling, padding to a stride, and checks of their arguments.

Shapes: B batch, C channels, H W pixels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segexp.errors import ConfigError, nearest

NORMS = ("batch", "instance", "group", "none")
UPS = ("transposed", "bilinear")


class GroupNorm(nn.GroupNorm):
    """Group normalisation that accepts a single value per group, for which it returns its bias.

    torch rejects it, but a 16x16 image reaches it at the bottom of a five-level network.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C, H, W) within each group of channels of each image."""
        return torch.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation that accepts a single value per channel in training, using the running statistics.

    torch rejects it, since one value has no variance: a batch of one 16x16 image at the bottom of a five-level network.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise each channel of (B, C, H, W)."""
        if self.training and input.numel() == self.num_features:
            return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(input)


class ConvNormAct(nn.Sequential):
    """A size-preserving (or strided) 3x3 convolution with norm and ReLU."""

    def __init__(self, inside: int, outside: int, norm: str, rate: int = 1, stride: int = 1) -> None:
        """Build the block.

        Args:
            inside: input channels.
            outside: output channels.
            norm: one of `NORMS`; with "none" the convolution has a bias instead.
            rate: dilation.
            stride: of the convolution.
        """
        super().__init__(
            nn.Conv2d(inside, outside, 3, stride, padding=rate, dilation=rate, bias=norm == "none"),
            norm_layer(norm, outside),
            nn.ReLU(inplace=True),
        )


class DoubleConv(nn.Sequential):
    """Two 3x3 convolutions, each with norm and ReLU: the block of U-Net and the VGG block of UNet++."""

    def __init__(self, inside: int, outside: int, norm: str, middle: int | None = None) -> None:
        """Build the block; `middle` is the number of channels between the convolutions, by default `outside`."""
        middle = middle or outside
        super().__init__(ConvNormAct(inside, middle, norm), ConvNormAct(middle, outside, norm))


def double_size() -> nn.Upsample:
    """Return bilinear upsampling by two, by a factor so that exports need no shape arithmetic."""
    return nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)


def norm_layer(norm: str, channels: int) -> nn.Module:
    """Return a norm by name; the number of groups is the largest of 32, 16, 8, 4, 2, 1 that divides the channels."""
    if norm == "batch":
        return BatchNorm(channels)
    if norm == "instance":
        return GroupNorm(channels, channels)
    if norm == "group":
        return GroupNorm(next(g for g in (32, 16, 8, 4, 2, 1) if channels % g == 0), channels)
    check_choice("norm", norm, NORMS)
    return nn.Identity()


def pad_to(image: Tensor, stride: int) -> Tensor:
    """Pad an image by reflection, evenly on both sides, to the next multiple of `stride`.

    Args:
        image: (B, C, H, W), H and W at least 2.
        stride: divisor of the padded sides.

    Returns:
        (B, C, H', W') with H' and W' less than H + stride and W + stride.
    """
    for axis in (2, 3):
        size = image.shape[axis]
        padded = (size + stride - 1) // stride * stride
        image = mirror(image, axis, -((padded - size) // 2), padded)
    return image


def mirror(image: Tensor, axis: int, start: int, length: int) -> Tensor:
    """Return `length` pixels along an axis, from pixel `start` on, of an image that is reflected periodically.

    Index-based, because `F.pad` limits the reflection to the image size and ties an export to one size.

    Args:
        image: at least 2 pixels along the axis.
        axis: to index.
        start: first pixel; may be negative.
        length: number of pixels.
    """
    last = image.shape[axis] - 1
    offset = torch.arange(length, device=image.device) + start
    period = torch.full_like(offset, 2 * last)  # a tensor, because the ONNX exporter does not support symbolic divisors
    return image.index_select(axis, last - (offset.abs() % period - last).abs())


def crop_to(padded: Tensor, image: Tensor) -> Tensor:
    """Crop (B, K, H', W') to the size of `image` (B, C, H, W), undoing `pad_to`.

    Negative padding instead of a slice, whose strides would tie an export to sizes with or without padding.
    """
    tall, wide = padded.shape[2] - image.shape[2], padded.shape[3] - image.shape[3]
    top, left = tall // 2, wide // 2
    return F.pad(padded, (-left, left - wide, -top, top - tall))


def init_weights(network: nn.Module) -> None:
    """Initialise convolution weights by He et al. 2015 for ReLU (variance 2 / fan in) and biases to zero."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            # In a transposed convolution with kernel = stride, each output pixel has one weight per input channel.
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
