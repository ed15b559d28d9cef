"""Decoded images: values, palette, orientation, place in space. Limit on what headers may declare."""

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from segexp.errors import ConfigError, UnreadableError
from segexp.types import Source

Array = npt.NDArray[Any]

MAX_PIXELS = 1 << 28
"""Pixels of an image that are decoded unless SEGEXP_MAX_PIXELS says otherwise, 16384 x 16384."""


def max_pixels() -> int:
    """Return the number of pixels up to which images are decoded: SEGEXP_MAX_PIXELS, else `MAX_PIXELS`.

    Raises:
        ConfigError: the variable holds no positive whole number.
    """
    text = os.environ.get("SEGEXP_MAX_PIXELS") or str(MAX_PIXELS)
    if not text.isdecimal() or not int(text):
        raise ConfigError(
            f"SEGEXP_MAX_PIXELS is {text!r}", "A number of pixels was expected", f"Type export SEGEXP_MAX_PIXELS={MAX_PIXELS}"
        )
    return int(text)


def check_declared_size(source: Source, height: int, width: int, planes: int = 1) -> None:
    """Refuse a size that a header declares, before memory is taken for it.

    Args:
        source: the file.
        height: in pixels.
        width: in pixels.
        planes: channels and slices that are decoded together; up to four count as one.

    Raises:
        UnreadableError: more pixels than `max_pixels`.
        ValueError: no pixels.
    """
    if min(height, width, planes) < 1:
        raise ValueError(f"it declares {height}x{width} pixels")
    limit, pixels = max_pixels(), height * width * max(1, -(-planes // 4))
    if pixels > limit:
        of = f" in {planes} channels or slices" if planes > 4 else ""
        raise UnreadableError(
            f"{source} declares {height}x{width} pixels (height x width){of}, more than the {limit} of SEGEXP_MAX_PIXELS",
            "The limit keeps a damaged header from filling the memory",
            f"If the size is right, type export SEGEXP_MAX_PIXELS={pixels}",
            file=str(source.path),
        )


@dataclass(frozen=True)
class RawImage:
    """Decoded values, oriented.

    Attributes:
        array: (H, W) or (H, W, C); palette indices if there is a palette.
        palette: (N, 3) uint8 colours, or None.
        alpha: the channels that are declared as transparency.
        nodata: the value of pixels without data that the file declares, None if it declares none.
    """

    array: Array
    palette: Array | None = None
    alpha: tuple[int, ...] = ()
    nodata: float | None = None

    @property
    def gray_palette(self) -> bool:
        """Whether all colours of the palette are gray."""
        return self.palette is not None and not np.ptp(self.palette, axis=1).any()

    def shown(self) -> Array:
        """Return the values without alpha: (H, W) for gray and gray palettes, (H, W, 3) for colour palettes."""
        if self.palette is None:
            kept = np.delete(self.array, self.alpha, axis=-1) if self.alpha else self.array
            return kept[..., 0] if self.alpha and kept.shape[2] == 1 else kept
        table = np.zeros((max(256, len(self.palette)), 3), np.uint8)
        table[: len(self.palette)] = self.palette
        return table[:, 0][self.array] if self.gray_palette else table[self.array]


@dataclass(frozen=True)
class Grid:
    """The voxels of a volume, or the pixels of a map, in space.

    Attributes:
        shape: X, Y, Z, of maps X, Y.
        affine: (4, 4), indices to positions.
        unit: of the positions, for messages.
    """

    shape: tuple[int, ...]
    affine: Array
    unit: str

    @property
    def sides(self) -> Array:
        """The sides (3,) of a voxel."""
        return np.asarray(np.linalg.norm(self.affine[:3, :3], axis=0))

    def distance(self, other: "Grid") -> float:
        """Return the largest distance of a voxel of this grid to that of the same index in another."""
        corners = np.stack([*np.meshgrid(*[(0, side - 1) for side in (*self.shape, 1)[:3]]), np.ones((2, 2, 2))]).reshape(4, -1)
        return float(np.linalg.norm(((self.affine - other.affine) @ corners)[:3], axis=0).max())

    def difference(self, other: "Grid") -> str:
        """Return which of origin, sides and directions differ, and by how much."""
        cosines = np.diag((self.affine[:3, :3] / self.sides).T @ (other.affine[:3, :3] / other.sides))
        angle = float(np.degrees(np.arccos(np.clip(cosines, -1, 1))).max())
        origin = float(np.linalg.norm(self.affine[:3, 3] - other.affine[:3, 3]))
        sides = [" x ".join(f"{side:.4g}" for side in each.sides[: len(self.shape)]) for each in (self, other)]
        parts = {
            f"their origins are {origin:.3g} {self.unit} apart": origin > 1e-3 * self.sides.min(),
            f"their sides are {sides[0]} and {sides[1]} {self.unit}": not np.allclose(self.sides, other.sides, rtol=1e-3),
            f"their axes are {angle:.3g} degrees apart": angle > 0.1,
        }
        return ", ".join(part for part, differs in parts.items() if differs)


def from_pillow(picture: Image.Image) -> RawImage:
    """Return the pixels of a Pillow image: 1-bit as 0 and 255, CMYK and others as RGB."""
    mode = picture.mode
    if mode in ("P", "PA"):
        palette = np.array(picture.getpalette("RGB"), np.uint8).reshape(-1, 3)
        indices = np.asarray(picture)
        return RawImage(indices[..., 0] if mode == "PA" else indices, palette)
    if mode == "1":
        return RawImage(np.asarray(picture.convert("L")))
    if mode in ("LA", "La"):
        return RawImage(np.asarray(picture), alpha=(1,))
    if mode in ("L", "F", "I") or mode.startswith("I;16"):
        array = np.asarray(picture)
        return RawImage(array.astype(array.dtype.newbyteorder("=")))
    if mode == "RGBA":
        return RawImage(np.asarray(picture), alpha=(3,))
    if mode in ("RGB", "RGBX"):
        return RawImage(np.asarray(picture)[..., :3])
    return RawImage(np.asarray(picture.convert("RGB")))


def apply_orientation(array: Array, orientation: int) -> Array:
    """Apply an EXIF orientation, 1 to 8 (EXIF 2.32, tag 0x0112), to an array (H, W, …); other values do nothing."""
    if orientation in (5, 6, 7, 8):
        array = np.swapaxes(array, 0, 1)
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    return array
