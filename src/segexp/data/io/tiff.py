"""TIFF files: pages, channel axes, palettes, inverted gray, compression. Falls back to libtiff where tifffile fails."""

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image

from segexp.atomic import atomic_write
from segexp.data.io.raw import RawImage, apply_orientation, check_declared_size, from_pillow
from segexp.types import Source

Array = npt.NDArray[Any]

MAX_CHANNELS = 16
"""Maximum number of pages that are read as channels when no page is given."""

LARGE = 2**32 - 2**25
"""Size in bytes above which BigTIFF is written, which not every program reads."""

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_MINISWHITE, _MINISBLACK, _RGB, _PALETTE = 0, 1, 2, 3
_ALPHA = (1, 2)

logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what makes a file unreadable is raised


def is_tiff(path: Path) -> bool:
    """Return whether the file starts with a TIFF signature."""
    with path.open("rb") as file:
        return file.read(4) in _MAGIC


def count(path: Path) -> int:
    """Return the number of pages.

    Raises:
        ValueError: there is none, or the file is cut off before the last one.
    """
    with tifffile.TiffFile(path) as file:
        return _count(file)


def size(source: Source) -> tuple[int, int]:
    """Return (H, W) as displayed, from the header."""
    with tifffile.TiffFile(source.path) as file:
        page = _page(file, source.page)
        height, width = int(page.imagelength), int(page.imagewidth)
        check_declared_size(source, height, width, page.samplesperpixel)
        return (width, height) if _orientation(page) >= 5 else (height, width)


def load(source: Source) -> RawImage:
    """Decode one page, or the first image of the file with all channels.

    Raises:
        ValueError: no such page, no page given for a stack, or an unsupported compression.
    """
    with tifffile.TiffFile(source.path) as file:
        page = _page(file, source.page)
        height, width = int(page.imagelength), int(page.imagewidth)
        check_declared_size(source, height, width, page.samplesperpixel)
        whole = file.series[0] if source.page is None else page
        check_declared_size(source, height, width, math.prod(whole.shape) // (height * width))
        if len(page.dataoffsets) != math.prod(page.chunked) and not page.is_contiguous:
            raise ValueError(f"it has {len(page.dataoffsets)} of {math.prod(page.chunked)} strips or tiles")
        samples = _layout(whole.shape, whole.axes, len(file.pages))
        palette = _colours(page) if page.photometric == _PALETTE else None
        if page.photometric not in (_MINISWHITE, _MINISBLACK, _RGB, _PALETTE):
            return _by_libtiff(source, page)
        try:
            array = whole.asarray()
        except ValueError as error:
            if "imagecodecs" not in str(error):
                raise
            return _by_libtiff(source, page)
        array = _channels_last(array, whole.axes, samples)
        array = _kept(_values(array, page), page)
        return RawImage(apply_orientation(array, _orientation(page)), palette)


def write(path: Path, pages: Sequence[Array], palette: Sequence[tuple[int, int, int]] | None = None) -> None:
    """Write pages (H, W) or (H, W, 3) of any sizes to one zlib-compressed file, atomically.

    With a palette, uint8 pages (H, W) are written as palette images.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    colours = np.zeros((3, 256), np.uint16)
    if palette is not None:
        colours[:, : len(palette)] = 257 * np.array(palette, np.uint16).T  # 16 bits per colour
    large = sum(page.nbytes for page in pages) > LARGE
    with atomic_write(path, durable=False) as part, tifffile.TiffWriter(part, bigtiff=large) as file:
        for page in pages:
            kind = "rgb" if page.ndim == 3 else "minisblack" if palette is None else "palette"
            table = None if palette is None else colours
            file.write(page, photometric=kind, colormap=table, compression="zlib", metadata=None, contiguous=False)


def _count(file: tifffile.TiffFile) -> int:
    """Return the number of pages. tifffile ends the list in silence where it points outside the file or back."""
    count, width = len(file.pages), file.tiff.offsetsize
    if not count:
        raise ValueError("it has no page")
    end, last = file.pages.next_page_offset or 0, file.pages[-1].offset
    if last is not None and end > last:  # not so for the pages that tifffile computes (ScanImage, NDPI, LSM)
        file.filehandle.seek(end)
        if file.filehandle.read(width) != bytes(width):
            raise ValueError(f"its list of pages is broken after page {count}")
    return count


def _page(file: tifffile.TiffFile, page: int | None) -> Any:
    count = _count(file) if page is None else len(file.pages)
    if not 0 <= (page or 0) < count:
        raise ValueError(f"it has {count} pages, numbered from 0")
    return file.pages[page or 0]


def _layout(shape: tuple[int, ...], axes: str, pages: int) -> str:
    """Return the letter of the only axis besides Y and X that is longer than 1, or ""."""
    extra = [name for name, length in zip(axes, shape, strict=True) if name not in "YX" and length > 1]
    if len(extra) > 1 or (extra and extra[0] not in "SC" and shape[axes.index(extra[0])] > MAX_CHANNELS):
        raise ValueError(
            f"it holds {pages} pages {dict(zip(axes, shape, strict=True))}: ask for one by [{{id}}] in the pattern"
        )
    return "".join(extra)


def _channels_last(array: Array, axes: str, samples: str) -> Array:
    order = [axes.index(name) for name in "YX" + samples]
    rest = [axis for axis in range(array.ndim) if axis not in order]
    return np.transpose(array, order + rest).reshape([array.shape[axis] for axis in order])


def _values(array: Array, page: Any) -> Array:
    """Return bits as 0 and 255, inverted gray restored, 2 and 4 bits scaled to 255, in native byte order."""
    if array.dtype == bool:
        return np.where(array != (page.photometric == _MINISWHITE), np.uint8(255), np.uint8(0))
    if page.photometric == _PALETTE:
        return array
    bits = int(page.bitspersample)
    if page.photometric == _MINISWHITE and array.dtype.kind == "u":
        array = np.asarray((1 << bits) - 1, array.dtype) - array
    if bits < 8:
        array = (array.astype(np.uint16) * 255 // ((1 << bits) - 1)).astype(np.uint8)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _kept(array: Array, page: Any) -> Array:
    """Drop declared alpha channels."""
    kinds = tuple(page.extrasamples or ())
    if array.ndim == 2 or array.shape[2] != page.samplesperpixel or not kinds:
        return array
    base = array.shape[2] - len(kinds)
    keep = [*range(base), *(base + i for i, kind in enumerate(kinds) if kind not in _ALPHA)]
    return array[..., keep] if len(keep) > 1 else array[..., keep[0]]


def _colours(page: Any) -> Array:
    table = np.asarray(page.colormap)
    # The format says 16 bits per colour; some writers store 8.
    return (table >> 8 if table.max() > 255 else table).astype(np.uint8).T


def _orientation(page: Any) -> int:
    tag = page.tags.get("Orientation")
    return int(tag.value) if tag is not None else 1


def _by_libtiff(source: Source, page: Any) -> RawImage:
    """Decode LZW, JPEG, CCITT and others: 8-bit and gray by Pillow, deeper colour by OpenCV."""
    if source.page is None and len(page.parent.series[0].pages) > 1:
        raise ValueError(f"channels in {page.compression.name}-compressed pages need `pip install imagecodecs`")
    if page.samplesperpixel == 1 or page.bitspersample <= 8:
        with Image.open(source.path, formats=["TIFF"]) as picture:
            picture.seek(source.page or 0)
            picture.load()  # applies the EXIF orientation
            return from_pillow(picture)
    done, arrays = cv2.imreadmulti(str(source.path), start=source.page or 0, count=1, flags=cv2.IMREAD_UNCHANGED)
    if not done or arrays[0].dtype != page.dtype or arrays[0].ndim != 3:
        raise ValueError(f"{page.compression.name}-compressed {page.dtype} pages need `pip install imagecodecs`")
    array = arrays[0][..., [2, 1, 0, *range(3, arrays[0].shape[2])]]
    return RawImage(apply_orientation(_kept(array, page), _orientation(page)))
