"""Decoded images: values, palette, orientation."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class RawImage:
    """Decoded values, oriented, without alpha.

    Attributes:
        array: (H, W) or (H, W, C); palette indices if there is a palette.
        palette: (N, 3) uint8 colours, or None.
    """

    array: Array
    palette: Array | None = None

    @property
    def gray_palette(self) -> bool:
        """Whether all colours of the palette are gray."""
        return self.palette is not None and not np.ptp(self.palette, axis=1).any()

    def shown(self) -> Array:
        """Return the displayed values: (H, W) for gray palettes, (H, W, 3) for colour palettes."""
        if self.palette is None:
            return self.array
        table = np.zeros((max(256, len(self.palette)), 3), np.uint8)
        table[: len(self.palette)] = self.palette
        return table[:, 0][self.array] if self.gray_palette else table[self.array]


def from_pillow(picture: Image.Image) -> RawImage:
    """Return the pixels of a Pillow image: 1-bit as 0 and 255, without alpha, CMYK and others as RGB."""
    mode = picture.mode
    if mode in ("P", "PA"):
        palette = np.array(picture.getpalette("RGB"), np.uint8).reshape(-1, 3)
        indices = np.asarray(picture)
        return RawImage(indices[..., 0] if mode == "PA" else indices, palette)
    if mode == "1":
        return RawImage(np.asarray(picture.convert("L")))
    if mode in ("LA", "La"):
        return RawImage(np.asarray(picture)[..., 0])
    if mode in ("L", "F", "I") or mode.startswith("I;16"):
        array = np.asarray(picture)
        return RawImage(array.astype(array.dtype.newbyteorder("=")))
    if mode in ("RGB", "RGBA", "RGBX"):
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
