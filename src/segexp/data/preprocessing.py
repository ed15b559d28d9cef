"""Preprocessing: from a decoded image to the network input.

The same steps in training, scoring and prediction: working size, unit scale (0 to 1), normalisation; augmentation comes before
normalisation.

Legend: C channels, H W original size, h w working size.
"""

from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

import cv2
import numpy as np
import torch
from pydantic import TypeAdapter

from segexp.errors import ConfigError, DataError
from segexp.types import Fingerprint

Size = int | float | tuple[int, int] | None
"""Working resolution: longest side (int), factor (float), (h, w), or None for the original size."""

NORMALIZATIONS = ("dataset", "minmax", "percentile")


@dataclass(frozen=True)
class Preprocessing:
    """Preprocessing of an image array.

    Attributes:
        channels: C.
        size: working resolution, see `Size`.
        value_range: values that map to 0 and 1 for images other than 8-bit.
        low: per channel, lower clipping bound on the unit scale; None: no clipping.
        high: per channel, upper clipping bound.
        mean: per channel, subtracted on the unit scale.
        std: per channel, divided by.
    """

    channels: int
    size: Size = None
    value_range: tuple[float, float] = (0.0, 1.0)
    low: tuple[float, ...] | None = None
    high: tuple[float, ...] | None = None
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def prepare(self, image: np.ndarray) -> torch.Tensor:
        """Return the network input (C, h, w) float32 of an image (H, W, C) uint8, uint16 or float32."""
        return self.finish(self.resize(image))

    def resize(self, image: np.ndarray) -> np.ndarray:
        """Return the image (H, W, C) at its working size (h, w, C), same dtype."""
        return resize_image(image, working_size(self.size, image.shape[:2]))

    def finish(self, part: np.ndarray) -> torch.Tensor:
        """Return the network input (C, h, w) float32 of an image, or part of one, at working size (h, w, C)."""
        return self.normalize(to_unit(part, self.value_range))

    def normalize(self, unit: np.ndarray) -> torch.Tensor:
        """Return (C, h, w) float32, normalised, of an image (h, w, C) on the unit scale."""
        array: np.ndarray = unit.astype(np.float32, copy=False)
        if self.low is not None and self.high is not None:
            array = np.clip(array, np.asarray(self.low, np.float32), np.asarray(self.high, np.float32))
        array = (array - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)
        return torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1)))

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for a checkpoint."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Preprocessing":
        """Inverse of `as_dict`.

        Raises:
            TypeError: an entry is missing or unknown.
            ValueError: an entry is of another type.
        """
        plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        TypeAdapter(cls).validate_python(asdict(made := cls(**plain)))
        return made


def preprocessing_for(
    normalize: str | dict[str, Any], channels: int, size: Size, value_range: tuple[float, float], found: Fingerprint
) -> Preprocessing:
    """Choose the normalisation from the statistics of the training images.

    Args:
        normalize: "dataset" (mean and deviation), "minmax" (extremes to 0 and 1), "percentile" (clip to the 0.5th and 99.5th
            percentile, then to 0 and 1), or {"mean": …, "std": …} on the unit scale.
        channels: C.
        size: working resolution.
        value_range: see `Preprocessing`.
        found: statistics of the training images.

    Raises:
        ConfigError: unknown normalisation, or invalid mean or std.
    """
    low = high = None
    if isinstance(normalize, dict):
        mean, std = (_per_channel(normalize, key, channels) for key in ("mean", "std"))
    elif normalize == "dataset":
        mean, std = tuple(found.mean), tuple(found.std)
    elif normalize in ("minmax", "percentile"):
        start, end = (found.low, found.high) if normalize == "minmax" else (found.p_low, found.p_high)
        mean, std = tuple(start), tuple(b - a for a, b in zip(start, end, strict=True))
        low, high = (tuple(start), tuple(end)) if normalize == "percentile" else (None, None)
    else:
        raise ConfigError(
            f"data.normalize={normalize} is not a normalisation",
            f"One of {', '.join(NORMALIZATIONS)}, or fixed values were expected",
            "Type for example data.normalize=dataset or 'data.normalize={mean: 0.5, std: 0.5}'",
        )
    std = tuple(value if value > 1e-6 else 1.0 for value in std)  # constant channels are only centred
    return Preprocessing(channels, size, value_range, low, high, mean, std)


def _per_channel(fixed: dict[str, Any], key: str, channels: int) -> tuple[float, ...]:
    value = fixed.get(key)
    values: list[Any] = list(value) if isinstance(value, list | tuple) else [value]
    usable = all(isinstance(v, int | float) and (key == "mean" or v > 0) for v in values)
    if not usable or len(values) not in (1, channels):
        raise ConfigError(
            f"data.normalize={fixed} has no usable {key}",
            f"A number, or a list of {channels} numbers (one per channel), on the scale of 0 to 1 was expected, a std above 0",
            "Type for example 'data.normalize={mean: 0.5, std: 0.5}'",
        )
    return tuple(float(v) for v in values) * (channels if len(values) == 1 else 1)


SIDE = 256
"""Target side of a training image in pixels: enough context, small enough for a batch of eight on most machines."""


def working_size(size: Size, own: tuple[int, ...], name: str = "an image") -> tuple[int, int]:
    """Return the working size (h, w) of an image of size (H, W); `name` is the file, for messages.

    Raises:
        ConfigError: the result is smaller than 16 pixels.
    """
    height, width = own[0], own[1]
    if size is None:
        result = (height, width)
    elif isinstance(size, tuple | list):
        result = (int(size[0]), int(size[1]))
    else:
        share = Fraction(size, max(height, width)) if isinstance(size, int) else share_of(size)
        result = (max(1, round(height * share)), max(1, round(width * share)))
    if min(result) < 16:
        raise ConfigError(
            f"data.size={'null' if size is None else size} makes {name} ({height}x{width}, height x width) "
            f"{result[0]}x{result[1]} pixels small",
            "At least 16 pixels on each side are needed",
            "Give a larger data.size, or take the image out of the folder",
        )
    return result


def share_of(size: float) -> Fraction:
    """Return a factor as an exact decimal fraction: 0.3 is 3/10, so that rounding is well defined."""
    return Fraction(str(size)).limit_denominator(1_000_000)


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return the image (H, W, C) at (h, w), same dtype: area averaging to shrink, bilinear to grow."""
    if image.shape[:2] == tuple(size):
        return image
    shrinks = size[0] * size[1] < image.shape[0] * image.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    planes = [  # OpenCV resizes up to four channels at once
        cv2.resize(np.ascontiguousarray(image[..., c : c + 4]), (size[1], size[0]), interpolation=method)
        for c in range(0, image.shape[2], 4)
    ]
    return np.concatenate([p if p.ndim == 3 else p[..., None] for p in planes], axis=2)


def resize_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return the mask (H, W) uint8 at (h, w), nearest neighbour."""
    if mask.shape[:2] == tuple(size):
        return mask
    return np.asarray(cv2.resize(mask, (size[1], size[0]), interpolation=cv2.INTER_NEAREST_EXACT))


def to_unit(image: np.ndarray, value_range: tuple[float, float]) -> np.ndarray:
    """Return the image (h, w, C) as float32 on the unit scale: 8-bit divided by 255, others by the value range.

    Raises:
        DataError: the image is neither uint8, uint16 nor float32.
    """
    if image.dtype == np.uint8:
        return image.astype(np.float32) / np.float32(255)
    if image.dtype not in (np.uint16, np.float32):
        raise DataError(f"An image has {image.dtype} values", "uint8, uint16 or float32 were expected", "Convert the image")
    low, high = value_range
    return (image.astype(np.float32) - np.float32(low)) / np.float32(max(high - low, 1e-12))
