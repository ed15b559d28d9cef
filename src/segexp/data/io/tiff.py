"""TIFF files: pages that are pictures, channel axes, palettes, inverted gray, compression, position on the earth.

tifffile reads and writes them, with the codecs of imagecodecs. Values are those that the file stores, with these exceptions:
1-bit pages become 0 and 255; unsigned MINISWHITE gray of up to 16 bits is inverted, so that bright is high; YCbCr and 8-bit
CMYK become RGB.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image
from tifffile import COMPRESSION, PHOTOMETRIC

from segexp.atomic import atomic_write
from segexp.data.io.raw import Grid, RawImage, apply_orientation, check_declared_size
from segexp.errors import UnreadableError
from segexp.types import Source

Array = npt.NDArray[Any]

MAX_CHANNELS = 16
"""Maximum number of pages that are read as channels when no page is given."""

LARGE = 2**32 - 2**25
"""Size in bytes above which BigTIFF is written, which not every program reads."""

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_ALPHA = (1, 2)  # associated (premultiplied) and unassociated
_REDUCED_OR_MASK = 0b101  # bits of NewSubfileType
_PLAIN = (PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.RGB, PHOTOMETRIC.PALETTE, PHOTOMETRIC.MASK)
_JPEG = (COMPRESSION.OJPEG, COMPRESSION.JPEG, COMPRESSION.ALT_JPEG, COMPRESSION.JPEG_LOSSY)
_MODES = {PHOTOMETRIC.SEPARATED: "CMYK", PHOTOMETRIC.YCBCR: "YCbCr"}  # of Pillow, which converts them to RGB
_PIXEL_SCALE, _TIE_POINT, _TRANSFORMATION = 33550, 33922, 34264
_GEOTIFF = (_PIXEL_SCALE, _TIE_POINT, _TRANSFORMATION, 34735, 34736, 34737)
"""ModelPixelScale, ModelTiepoint, ModelTransformation, GeoKeyDirectory, GeoDoubleParams, GeoAsciiParams (OGC 19-008r4)."""
_POINT = 2  # of GTRasterTypeGeoKey: positions are those of pixel centres
_GDAL_NODATA = 42113

logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what makes a file unreadable is raised


def is_tiff(path: Path) -> bool:
    """Return whether the file starts with a TIFF signature."""
    with path.open("rb") as file:
        return file.read(4) in _MAGIC


def count(path: Path) -> int:
    """Return the number of pages that are pictures, see `_pictures`.

    Raises:
        ValueError: there is none, or the file is cut off before the last one.
    """
    with tifffile.TiffFile(path) as file:
        _check_list(file)
        return len(_pictures(file, path))


def left_out(path: Path) -> int:
    """Return the number of pages that are no pictures: reduced copies and transparency masks."""
    with tifffile.TiffFile(path) as file:
        return max(0, len(file.pages) - len(_pictures(file, path)))


def size(source: Source) -> tuple[int, int]:
    """Return (H, W) as displayed, from the header."""
    with tifffile.TiffFile(source.path) as file:
        page: Any = file.pages[_index(file, source)[0]]
        height, width = int(page.imagelength), int(page.imagewidth)
        check_declared_size(source, height, width, page.samplesperpixel)
        return (width, height) if _orientation(page, source) >= 5 else (height, width)


def orientation(source: Source) -> int:
    """Return the orientation tag of a page, 1 to 8."""
    with tifffile.TiffFile(source.path) as file:
        return _orientation(file.pages[_index(file, source)[0]])


def nodata(source: Source) -> float | None:
    """Return `RawImage.nodata` of a page, from the header."""
    with tifffile.TiffFile(source.path) as file:
        return _nodata(file, _index(file, source)[0])


def load(source: Source) -> RawImage:
    """Decode one page, or the first image of the file with all channels.

    Raises:
        UnreadableError: a compression or colour space that is not supported.
        ValueError: no such page, or no page given for a stack.
    """
    with tifffile.TiffFile(source.path) as file:
        index, frame = _index(file, source)
        page: Any = file.pages[index]
        height, width = int(page.imagelength), int(page.imagewidth)
        check_declared_size(source, height, width, page.samplesperpixel)
        pictures = _pictures(file, source.path)
        whole = _series(file, pictures) if source.page is None and len(pictures) > 1 else page
        check_declared_size(source, height, width, math.prod(whole.shape) // (height * width))
        if len(page.dataoffsets) != math.prod(page.chunked) and not page.is_contiguous:
            raise ValueError(f"it has {len(page.dataoffsets)} of {math.prod(page.chunked)} strips or tiles")
        samples = _layout(whole.shape, whole.axes, len(pictures))
        _check_colours(source, page)
        array = _channels_last(_decode(source, page, whole, frame), whole.axes, samples)
        palette = _colours(page) if page.photometric == PHOTOMETRIC.PALETTE else None
        array = _values(array, page)
        oriented = apply_orientation(array, _orientation(page, source))
        return RawImage(oriented, palette, _alpha(array, page), _nodata(file, index))


@dataclass(frozen=True)
class Placement:
    """Where a page lies: its GeoTIFF tags, resolution and orientation, to be written with a mask of the same size.

    Attributes:
        tags: as `extratags` of tifffile.
        resolution: pixels per unit (x, y) as fractions, or None.
        unit: of the resolution, tag 296.
        orientation: of the stored rows and columns, 1 to 8, tag 274.
    """

    tags: tuple[tuple[int, int, int, Any, bool], ...] = ()
    resolution: tuple[tuple[int, int], tuple[int, int]] | None = None
    unit: int | None = None
    orientation: int = 1

    @property
    def georeferenced(self) -> bool:
        """Whether a position on the earth is known: tie points or a transformation."""
        return any(tag[0] in (_TIE_POINT, _TRANSFORMATION) for tag in self.tags)


def placements(path: Path) -> tuple[Placement, ...]:
    """Return the placement of each picture of a file, in order."""
    with tifffile.TiffFile(path) as file:
        pictures = _pictures(file, path)
        return (
            tuple(_placement(file.pages[index]) for index in pictures) if len(file.pages) > 1 else (_placement(file.pages[0]),)
        )


def grid(path: Path) -> Grid | None:
    """Return the pixels of a GeoTIFF in space by its tags (OGC 19-008r4); None if they do not tell the position.

    Args:
        path: of the file; the tags of its first page are read.
    """
    with tifffile.TiffFile(path) as file:
        page: Any = file.pages[0]
        affine = np.eye(4)
        scale, tie, matrix = (page.tags.valueof(code) for code in (_PIXEL_SCALE, _TIE_POINT, _TRANSFORMATION))
        if matrix is not None and len(matrix) == 16:
            affine[:2] = np.reshape(matrix, (4, 4))[:2]
        elif scale is not None and tie is not None and len(tie) == 6:  # more are control points of a warped image
            affine[:2, :2] = np.diag([scale[0], -scale[1]])
            affine[:2, 3] = np.array(tie[3:5]) - affine[:2, :2] @ tie[:2]
        else:
            return None
        if (page.geotiff_tags or {}).get("GTRasterTypeGeoKey") == _POINT:  # else positions are those of corners
            affine[:2, 3] -= affine[:2, :2] @ (0.5, 0.5)
        affine[2, 2] = np.linalg.norm(affine[:2, :2], axis=0).max()
        return Grid((int(page.imagewidth), int(page.imagelength)), affine, "map units")


def write(
    path: Path,
    pages: Sequence[Array],
    palette: Sequence[tuple[int, int, int]] | None = None,
    placed: Sequence[Placement] = (),
) -> None:
    """Write pages (H, W) or (H, W, 3) of any sizes to one zlib-compressed file, atomically.

    Args:
        path: of the file.
        pages: as they are displayed.
        palette: uint8 pages (H, W) are written as palette images.
        placed: of each page.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    colours = np.zeros((3, 256), np.uint16)
    if palette is not None:
        colours[:, : len(palette)] = 257 * np.array(palette, np.uint16).T  # 16 bits per colour
    large = sum(page.nbytes for page in pages) > LARGE
    with atomic_write(path, durable=False) as part, tifffile.TiffWriter(part, bigtiff=large) as file:
        for number, page in enumerate(pages):
            place = placed[number] if number < len(placed) else Placement()
            turned = {6: 8, 8: 6}.get(place.orientation, place.orientation)  # back to the stored rows and columns
            file.write(
                np.ascontiguousarray(apply_orientation(page, turned)),
                photometric="rgb" if page.ndim == 3 else "minisblack" if palette is None else "palette",
                colormap=None if palette is None else colours,
                compression="zlib",
                metadata=None,
                contiguous=False,
                resolution=place.resolution,
                resolutionunit=place.unit,
                extratags=[*place.tags, *([(274, 3, 1, place.orientation, True)] if place.orientation > 1 else [])],
            )


def _nodata(file: tifffile.TiffFile, index: int) -> float | None:
    """Return the value that pixels without data have in `load`, by the tag GDAL_NODATA of a page, else of the first page.

    The tag is text (GDAL, GeoTIFF driver): a number as stored, or nan in one of its spellings. None for other text, or no tag.
    """
    page, first = (cast(Any, file.pages[number]) for number in (index, 0))
    text = str(page.tags.valueof(_GDAL_NODATA) or first.tags.valueof(_GDAL_NODATA) or "").strip("\0 ").lower()
    if any(word in text for word in ("nan", "#ind")):  # as in "-1.#QNAN" of Microsoft's C library
        return math.nan
    try:
        value = float(text)
    except ValueError:
        return None
    whole = value.is_integer() and page.samplesperpixel == 1 and page.dtype is not None and page.dtype.kind in "bu"
    if whole and 0 <= value < 1 << int(page.bitspersample):  # which may be inverted, or 1 bit
        value = float(_values(np.array([[value]]).astype(page.dtype), page)[0, 0])
    return value


def _placement(page: Any) -> Placement:
    tags = [page.tags[code] for code in _GEOTIFF if code in page.tags]
    resolution = (page.tags.valueof(282), page.tags.valueof(283))
    known = all(isinstance(value, tuple) and len(value) == 2 and all(value) for value in resolution)
    return Placement(
        tuple((tag.code, int(tag.dtype), tag.count, tag.value, True) for tag in tags),
        resolution if known else None,
        page.tags.valueof(296) if known else None,
        _orientation(page),
    )


def _check_list(file: tifffile.TiffFile) -> None:
    """Refuse a broken list of pages; tifffile ends it in silence where it points outside the file or back."""
    count, width = len(file.pages), file.tiff.offsetsize
    if not count:
        raise ValueError("it has no page")
    end, last = file.pages.next_page_offset or 0, file.pages[-1].offset
    if last is not None and end > last:  # not so for the pages that tifffile computes (ScanImage, NDPI, LSM)
        file.filehandle.seek(end)
        if file.filehandle.read(width) != bytes(width):
            raise ValueError(f"its list of pages is broken after page {count}")


def _pictures(file: tifffile.TiffFile, path: Path) -> Sequence[int]:
    """Return the indices of the pages that are pictures, without reduced copies (overviews) and transparency masks.

    All pages count where none is a picture by its tags (NewSubfileType, TIFF 6.0, and the older SubfileType). ImageJ and
    tifffile describe some stacks by one page; each of their images counts.
    """
    if len(file.pages) == 1:
        return range(_frames(file))
    stat = path.stat()
    return _flagged(path, stat.st_mtime_ns, stat.st_size) or range(len(file.pages))


@lru_cache(maxsize=256)
def _flagged(path: Path, _modified: int, _size: int) -> tuple[int, ...]:
    """Return `_pictures`; kept, since every page of a stack asks for it."""
    with tifffile.TiffFile(path) as file:
        kinds = [getattr(page, "subfiletype", 0) for page in file.pages]
    return tuple(index for index, kind in enumerate(kinds) if not kind & _REDUCED_OR_MASK)


def _series(file: tifffile.TiffFile, pictures: Sequence[int]) -> Any:
    """Return the images that belong together with the first picture, as channels or slices."""
    if len(file.pages) == 1:
        return file.series[0]
    found = [{page.index for page in series.pages if page is not None} for series in file.series]
    number = next((k for k, indices in enumerate(found) if pictures[0] in indices), None)
    if number is None or not found[number] <= set(pictures):
        raise ValueError(f"it holds {len(pictures)} pages among others: ask for one by [{{id}}] in the pattern")
    return file.series[number]


def _frames(file: tifffile.TiffFile) -> int:
    """Return the number of images that follow one another behind a single page; 1 unless ImageJ or tifffile wrote it so."""
    page = file.pages[0]
    if not (file.is_imagej or file.is_shaped) or not page.is_contiguous:
        return 1
    return max(1, math.prod(file.series[0].shape) // math.prod(page.shape))


def _index(file: tifffile.TiffFile, source: Source) -> tuple[int, int]:
    """Return the index of a picture's page, and which of the images behind that page it is."""
    if source.page is None:
        _check_list(file)
    pictures = _pictures(file, source.path)
    number = source.page or 0
    if not 0 <= number < len(pictures):
        raise ValueError(f"it has {len(pictures)} pages, numbered from 0")
    return (0, number) if len(file.pages) == 1 else (pictures[number], 0)


def _layout(shape: tuple[int, ...], axes: str, pages: int) -> str:
    """Return the letter of the only axis besides Y and X that is longer than 1, or ""."""
    extra = [name for name, length in zip(axes, shape, strict=True) if name not in "YX" and length > 1]
    if len(extra) > 1 or (extra and extra[0] not in "SC" and shape[axes.index(extra[0])] > MAX_CHANNELS):
        raise ValueError(
            f"it holds {pages} pages {dict(zip(axes, shape, strict=True))}: ask for one by [{{id}}] in the pattern"
        )
    return "".join(extra)


def _check_colours(source: Source, page: Any) -> None:
    """Refuse colour spaces that are neither gray, RGB nor a palette, and that `_values` cannot convert."""
    kind, convertible = page.photometric, page.dtype == np.uint8 and not page.extrasamples
    if kind in _PLAIN or _decoded_as_rgb(page):
        return
    if kind == PHOTOMETRIC.SEPARATED and convertible and page.samplesperpixel == 4:
        return
    lossless = page.compression not in tifffile.TIFF.IMAGE_COMPRESSIONS
    if kind == PHOTOMETRIC.YCBCR and convertible and page.samplesperpixel == 3 and lossless:
        return
    name = PHOTOMETRIC(kind).name if kind in iter(PHOTOMETRIC) else f"of kind {kind}"
    text = f"its colours are {name}, {page.samplesperpixel} channels of {page.dtype}"
    raise _refused(source, text, "Save the picture as gray or RGB")


def _decoded_as_rgb(page: Any) -> bool:
    """Return whether YCbCr is turned into RGB by the decoder."""
    whole = page.planarconfig == 1 and not page.extrasamples
    return bool(page.photometric == PHOTOMETRIC.YCBCR and page.compression in _JPEG and whole)


def _decode(source: Source, page: Any, whole: Any, frame: int) -> Array:
    """Return the values of a page or of all channels as tifffile decodes them."""
    try:
        if not frame:
            return np.asarray(whole.asarray())
        handle, kind = page.parent.filehandle, page.parent.byteorder + page._dtype.char
        handle.seek(page.dataoffsets[0] + frame * page.nbytes)
        return np.asarray(handle.read_array(kind, math.prod(page.shape)).reshape(page.shape))
    except (ImportError, KeyError, NotImplementedError, ValueError) as error:
        text = str(error)
        if "COMPRESSION" not in text and "PREDICTOR" not in text and not isinstance(error, ImportError | NotImplementedError):
            raise
        name = getattr(page.compression, "name", f"number {page.compression}")
        if find_spec("imagecodecs") is None:
            needed = f"its compression {name} needs the package imagecodecs: pip install imagecodecs"
            raise _refused(source, needed, "Type: pip install imagecodecs") from error
        do = "Save it with another compression, such as LZW or deflate"
        raise _refused(source, f"its compression {name} cannot be decoded: {text}", do) from error


def _refused(source: Source, why: str, do: str) -> UnreadableError:
    return UnreadableError(f"{source} cannot be read ({why})", "", do, file=str(source.path))


def _channels_last(array: Array, axes: str, samples: str) -> Array:
    order = [axes.index(name) for name in "YX" + samples]
    rest = [axis for axis in range(array.ndim) if axis not in order]
    return np.transpose(array, order + rest).reshape([array.shape[axis] for axis in order])


def _values(array: Array, page: Any) -> Array:
    """Return bits as 0 and 255, inverted gray restored, CMYK and YCbCr as RGB, in native byte order."""
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    kind = page.photometric if "PhotometricInterpretation" in page.tags else PHOTOMETRIC.MINISBLACK
    if kind == PHOTOMETRIC.PALETTE:
        array = array[..., 0] if array.ndim == 3 else array
        return array.astype(np.uint8) if array.dtype == bool else array
    if kind in _MODES and not _decoded_as_rgb(page):
        picture = Image.frombytes(_MODES[kind], array.shape[1::-1], np.ascontiguousarray(array).tobytes())
        return np.asarray(picture.convert("RGB"))
    bits = 8 if array.dtype == bool else page.bitspersample
    array = np.where(array, np.uint8(255), np.uint8(0)) if array.dtype == bool else array
    if kind == PHOTOMETRIC.MINISWHITE and array.dtype in (np.uint8, np.uint16):
        inverted = np.asarray((1 << bits) - 1, array.dtype) - array
        if array.ndim == 2 or not page.extrasamples:
            return inverted
        return np.concatenate([inverted[..., :1], array[..., 1:]], axis=-1)  # the others are data of their own
    return array


def _alpha(array: Array, page: Any) -> tuple[int, ...]:
    """Return the channels that are declared as transparency."""
    kinds = tuple(page.extrasamples or ())
    if array.ndim == 2 or array.shape[2] != page.samplesperpixel:
        return ()
    return tuple(k for k, kind in enumerate(kinds, start=array.shape[2] - len(kinds)) if kind in _ALPHA)


def _colours(page: Any) -> Array:
    table = np.asarray(page.colormap)
    # The format says 16 bits per colour; some writers store 8.
    return (table >> 8 if table.max() > 255 else table).astype(np.uint8).T


def _orientation(page: Any, source: Source | None = None) -> int:
    """Return the orientation of a page, 1 if it has none or its source is read without."""
    tag = page.tags.get("Orientation") if source is None or source.exif else None
    return int(tag.value) if tag is not None else 1
