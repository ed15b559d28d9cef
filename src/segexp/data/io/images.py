"""Read images without loss, write them atomically. Thread-safe.

Legend: H W pixels, C channels.
"""

import math
import shlex
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from segexp.atomic import atomic_write
from segexp.config.overrides import shell_words
from segexp.data.io import nifti, npy, tiff
from segexp.data.io.raw import Grid, RawImage, apply_orientation, check_declared_size, from_pillow
from segexp.errors import DataError, NotFiniteImageError, SegexpError, UnreadableError
from segexp.types import Source

Array = npt.NDArray[Any]
T = TypeVar("T")

SUFFIXES = ("png", "jpg", "jpeg", "gif", "bmp", "tif", "tiff", "npy")
"""Supported file extensions, besides `nifti.ENDINGS`."""

NODATA_LABEL = -9999
"""Value of pixels without data in a decoded mask whose own nodata value is NaN, or none that a class can have."""

_FORMATS = ("PNG", "JPEG", "GIF", "BMP")
_ORIENTATION = 0x0112

Image.MAX_IMAGE_PIXELS = None  # `check_declared_size` has a limit that aerial images do not exceed
warnings.filterwarnings("ignore", module=r"PIL\.")  # what makes a file unreadable is raised


class StoredImage(NamedTuple):
    """An image with the channels of its file.

    Attributes:
        values: (H, W, C).
        alpha: (H, W, 1 or more), the channels that are declared as transparency where they are left out of `values`, else None.
        valid: (H, W) bool, False for nodata pixels, which are filled; None if every pixel holds data.
    """

    values: Array
    alpha: Array | None
    valid: Array | None = None


def read_image(source: Source, channels: int | None = None) -> Array:
    """Read an image as (H, W, C) uint8, uint16 or float32; palettes become colours.

    Other number types become float32. A multi-page TIFF of up to 16 equal pages, read without a page, has a channel per page. A
    page of a NIfTI volume is a slice along its third axis, see `nifti`. Nodata pixels are filled, see `read_image_and_valid`.

    Args:
        source: a file or one of its pages.
        channels: 1 converts colour to gray (ITU-R BT.601 luma; three equal channels give exactly that channel), 3 repeats gray;
            any other number must match the file. None keeps the channels. Transparency is read as a channel only where the
            number counts it, 4 for RGBA and 2 for gray with alpha: GDAL declares the fourth of four 8-bit bands so by itself.

    Raises:
        DataError: the file is missing or broken, has another number of channels, or NaN or infinite values that are not nodata.
    """
    return read_image_and_valid(source, channels)[0]


def read_image_and_valid(source: Source, channels: int | None = None) -> tuple[Array, Array | None]:
    """Read an image as `read_image` does, and which of its pixels hold data.

    Nodata are the value `source.nodata` and that of the tag GDAL_NODATA of a TIFF file; where there is one of them, NaN and
    infinite values too.

    Returns:
        The image, filled by `fill_nodata`, and (H, W) bool, False for nodata; None if every pixel holds data.

    Raises:
        DataError: see `read_image`.
    """
    image = read_stored(source, channels)
    return np.ascontiguousarray(fit_channels(image.values, channels, source)), image.valid


def read_stored(source: Source, channels: int | None = None) -> StoredImage:
    """Read an image like `read_image`, without turning gray and colour into each other.

    Raises:
        DataError: the file is missing or broken, or has NaN or infinite values.
    """
    raw = _load(source)
    whole = raw.array.ndim == 3 and raw.array.shape[2] == channels
    array = raw.array if raw.alpha and whole else raw.shown()
    compared = array if raw.palette is None else raw.array  # of a palette, the index
    gone = [_equals(compared, value) for value in _nodata_values(source, raw.nodata)]
    if array.dtype not in (np.uint8, np.uint16, np.float32):
        array = _as_float32(array)
    array = array[..., None] if array.ndim == 2 else array
    valid: Array | None = None
    if gone:
        missing = np.logical_or.reduce(gone)
        array, valid = fill_nodata(array, missing[..., None] if missing.ndim == 2 else missing)
    _check_finite(array, source)
    alpha = None if whole or not raw.alpha else raw.array[..., list(raw.alpha)]
    return StoredImage(np.ascontiguousarray(array), alpha, valid)


def fill_nodata(image: Array, missing: Array) -> tuple[Array, Array | None]:
    """Return an image (H, W, C) without its nodata pixels, and which pixels hold data, (H, W) bool; None if all do.

    A pixel of uint8 or uint16 is nodata where all channels are `missing` (H, W, 1 or C), as a channel of a colour may be 0; a
    pixel of float32 where one channel is missing, NaN or infinite. It gets the mean of the other pixels of the image, per
    channel: this is known from the image alone, and neither resizing nor a convolution finds an edge there. Without others it
    gets 0.
    """
    real = image.dtype.kind == "f"
    gone = np.asarray((missing | ~np.isfinite(image)).any(axis=2) if real else missing.all(axis=2))
    if not gone.any():
        return image, None
    mean = np.zeros(image.shape[2]) if gone.all() else image[~gone].mean(axis=0, dtype=np.float64)
    filled = image.copy()
    filled[gone] = mean if real else np.rint(mean)
    return filled, ~gone


def fit_channels(array: Array, channels: int | None, source: Source | str) -> Array:
    """Convert an image (H, W, C) to a number of channels, see `read_image`.

    Raises:
        DataError: other conversions than between gray and colour.
    """
    have = array.shape[2]
    if channels is None or channels == have:
        return array
    if channels == 1 and have == 3:
        if array.dtype == np.float32 and np.array_equal(array[..., 0], array[..., 1]) and np.ptp(array[..., 1:], -1).max() == 0:
            return array[..., :1]  # rounding would change the values of a gray image
        return cv2.cvtColor(np.ascontiguousarray(array), cv2.COLOR_RGB2GRAY)[..., None]
    if channels == 3 and have == 1:
        return np.repeat(array, 3, axis=2)
    raise DataError(
        f"{source} has {have} channels, data.channels is {channels}",
        "Only gray and colour are turned into each other",
        f"Type data.channels={have} if all have as many, or take one page per case with [{{id}}] at the end of data.image",
    )


def read_mask(source: Source, indices: bool = False) -> Array:
    """Read the raw values of a mask: (H, W), or (H, W, 3) for colour images.

    Args:
        source: a file or one of its pages.
        indices: return the indices of a colour palette instead of its colours; gray palettes always give gray values.

    Returns:
        uint8 or uint16 where the values fit, else float32. Pixels without data by the tag GDAL_NODATA have the value of
        `mask_nodata`.

    Raises:
        DataError: the file is missing or broken, has neither 1 nor 3 channels, or NaN or infinite values.
    """
    raw = _load(source)
    array = raw.array if indices and raw.palette is not None and not raw.gray_palette else raw.shown()
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim == 3 and array.shape[2] != 3:
        raise DataError(
            f"Mask {source} has {array.shape[2]} channels",
            "A mask is a gray, palette or RGB picture",
            f"If these are pages, read one case from each: {shell_words({'data.mask': f'{source.path.name}[{{id}}]'})}",
        )
    for tag in _nodata_values(source, raw.nodata):
        if _label(tag) != tag and (gone := _equals(array, tag)).any():  # NaN, or a number that no label has
            array = np.where(gone, np.float32(NODATA_LABEL), array)
    array = _smallest(array)
    _check_finite(array, source)
    if array.ndim == 3 and array.dtype == np.float32:
        raise DataError(
            f"Mask {source} is a colour picture with values that are not whole numbers from 0 to 65535",
            "Colours of classes have whole numbers, as in PNG",
            "Save the mask as an 8-bit PNG",
        )
    return np.ascontiguousarray(array)


def mask_nodata(source: Source) -> int | None:
    """Return the value that pixels without data have in `read_mask`, by the tag GDAL_NODATA; None without this tag.

    Raises:
        DataError: the file is missing or broken.
    """
    tagged = not nifti.is_nifti(source.path) and tiff.is_tiff(source.path)
    tag = _guarded(source, lambda: tiff.nodata(source)) if tagged else None
    return next((_label(value) for value in _nodata_values(source, tag)), None)


def page_count(path: Path, orientation: str | None = None) -> int:
    """Return the number of pages, frames or, along the third axis of an orientation, slices of a file, at least 1.

    Raises:
        DataError: the file is missing or broken.
    """
    if nifti.is_nifti(path):
        return _guarded(Source(path), lambda: nifti.count(path, orientation))
    return _guarded(Source(path), lambda: decoder.count(path) if (decoder := _decoder(path)) else _frames(path))


def pages_left_out(path: Path) -> int:
    """Return the number of pages of a TIFF file that are no pictures, reduced copies and transparency masks; 0 of others.

    Raises:
        DataError: the file is missing or broken.
    """
    return _guarded(Source(path), lambda: tiff.left_out(path) if tiff.is_tiff(path) else 0)


def page_placements(path: Path) -> tuple[tiff.Placement, ...]:
    """Return the position, pixel size and resolution of each picture of a TIFF file; () of others, or if it cannot be read."""
    try:
        return _guarded(Source(path), lambda: tiff.placements(path) if tiff.is_tiff(path) else ())
    except DataError:
        return ()


def stored_type(source: Source, image: Array) -> str:
    """Return the type of the values of an image in its file; for a scaled NIfTI volume, and other formats, of `image`."""
    stored = _guarded(source, lambda: nifti.stored_type(source.path)) if nifti.is_nifti(source.path) else None
    return stored or str(image.dtype)


def image_size(source: Source) -> tuple[int, int]:
    """Return (H, W), with the EXIF orientation applied if the source says so, from the header only.

    Raises:
        DataError: the file is missing or broken.
    """
    if nifti.is_nifti(source.path):
        return _guarded(source, lambda: nifti.size(source))
    return _guarded(source, lambda: decoder.size(source) if (decoder := _decoder(source.path)) else _header_size(source))


def exif_orientation(source: Source) -> int:
    """Return the orientation in the header of a photograph or a TIFF (EXIF 2.32, tag 0x0112), 1 to 8; 1 if it has none."""
    if nifti.is_nifti(source.path):
        return 1
    try:
        found = _guarded(source, lambda: tiff.orientation(source) if tiff.is_tiff(source.path) else _header_orientation(source))
    except UnreadableError:  # no picture, or reported when it is read
        return 1
    return found if found in range(1, 9) else 1


def size_mismatch(mask: Source, own: Sequence[int], image: Source | None, size: Sequence[int]) -> DataError:
    """Return the error about a mask of another size (H, W) than its image; it names an EXIF orientation that explains it."""
    found = f"{mask} is {own[0]}x{own[1]} (height x width) and its image {image} is {size[0]}x{size[1]}"
    turns = [turn for each in (image, mask) if each is not None and (turn := exif_orientation(each)) >= 5]
    if image is not None and turns and tuple(own[:2]) == (size[1], size[0]):
        kept = f"turned by the EXIF orientation {turns[0]}" if image.exif else f"read without the EXIF orientation {turns[0]}"
        expected = "A mask is drawn on the image as it is stored, or as it is turned"
        return DataError(f"{found}, {kept}", expected, f"Type data.exif={'ignore' if image.exif else 'apply'}")
    return DataError(
        found, "A mask has the size of its image", "Make the mask again at the image's size, or take the pair out of the folder"
    )


def pixel_spacing(path: Path, orientation: str | None = None) -> tuple[float, float] | None:
    """Return the pixel size (row, column) from the header of a NIfTI volume, None if unknown or of other files.

    Raises:
        DataError: the volume is missing or broken.
    """
    return _guarded(Source(path), lambda: nifti.spacing(path, orientation)) if nifti.is_nifti(path) else None


def volume_orientation(path: Path) -> tuple[str, tuple[float, float, float]]:
    """Return the orientation in which a NIfTI volume is stored, such as "RAS", and the sides of its voxels.

    Raises:
        DataError: the volume is missing or broken, or its affine has no orientation.
    """
    return _guarded(Source(path), lambda: nifti.orientation(path))


def align_mask(mask: Path, image: Source) -> tuple[str | None, tuple[Grid, Grid] | None]:
    """Return the orientation in which a mask lies on its image, and the grids of both; None where a position is unknown.

    Positions are those of two NIfTI volumes or two GeoTIFF files.

    Raises:
        DataError: a file is missing or broken, or an affine has no orientation.
    """
    if nifti.is_nifti(mask) and nifti.is_nifti(image.path):
        return _guarded(Source(mask), lambda: nifti.align(mask, image.path, image.orientation or "stored"))
    turned = image.orientation if nifti.is_nifti(image.path) else None
    if not all(path.suffix.lower() in (".tif", ".tiff") for path in (mask, image.path)):
        return turned, None
    theirs = _guarded(Source(mask), lambda: tiff.grid(mask))
    ours = _guarded(image, lambda: tiff.grid(image.path)) if theirs else None
    return turned, (ours, theirs) if ours and theirs else None


def write_png(path: Path, array: Array, palette: tuple[tuple[int, int, int], ...] | None = None) -> None:
    """Write (H, W), (H, W, 1) or (H, W, 3) uint8 or uint16 as PNG, atomically; missing folders are created.

    With a palette, a uint8 (H, W) array is written as a palette image.

    Raises:
        ValueError: another dtype or shape.
    """
    array = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
    if array.dtype not in (np.uint8, np.uint16) or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)):
        raise ValueError(f"a PNG holds uint8 or uint16 gray or RGB, not {array.dtype} {array.shape}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path, durable=False) as part:
        if palette is not None:
            picture = Image.fromarray(np.ascontiguousarray(array))
            more = int(array.max()) + 1 - len(palette)  # ignored pixels
            picture.putpalette([value for colour in [*palette, *[(0, 0, 0)] * more] for value in colour])
            picture.save(part, format="PNG")
        else:
            _, data = cv2.imencode(".png", np.ascontiguousarray(array if array.ndim == 2 else array[..., ::-1]))
            part.write_bytes(data.tobytes())


def _nodata_values(source: Source, tag: float | None) -> list[float]:
    """Return the values of pixels without data: that of the source, and that of the file's tag."""
    if source.nodata == "none":
        return []
    return [float(value) for value in (source.nodata, tag) if value is not None]


def _equals(array: Array, nodata: float) -> Array:
    """Return where an array of any type has a value; NaN is also infinity. No value that the type cannot hold is found."""
    if array.dtype.kind == "f":
        if math.isnan(nodata):
            return ~np.isfinite(array)
        with np.errstate(over="ignore"):
            return np.asarray(array == array.dtype.type(nodata))
    return np.asarray(array == int(nodata)) if float(nodata).is_integer() else np.zeros(array.shape, bool)


def _label(nodata: float) -> int:
    """Return the value of nodata pixels in a decoded mask."""
    return int(nodata) if float(nodata).is_integer() and abs(nodata) <= 1 << 24 else NODATA_LABEL


def _check_finite(array: Array, source: Source) -> None:
    if array.dtype == np.float32 and not np.isfinite(array).all():
        bad = int(np.size(array) - np.isfinite(array).sum())
        raise NotFiniteImageError(
            f"{source} holds {bad} values that are NaN or infinite",
            "Every pixel of a picture needs a finite value, unless NaN means that there are no data",
            "Train with data.nodata=nan if it does; otherwise replace them (with 0, say) and save the picture again",
            file=str(source.path),
        )


def _smallest(array: Array) -> Array:
    """Return integers from 0 to 65535 as uint8 or uint16, anything else as float32."""
    if array.dtype in (np.uint8, np.uint16):
        return array
    whole = array.dtype.kind in "iu" or bool((array == np.floor(array)).all())
    if whole and array.size and array.min() >= 0 and array.max() <= 65535:
        return array.astype(np.uint8 if array.max() <= 255 else np.uint16)
    return _as_float32(array)


def _as_float32(array: Array) -> Array:
    with np.errstate(over="ignore"):  # becomes infinite, which `_check_finite` refuses
        return array.astype(np.float32)


def _decoder(path: Path) -> ModuleType | None:
    """Return the module that reads the file, by its first bytes; None for the formats of Pillow."""
    return next((module for module, reads in ((tiff, tiff.is_tiff), (npy, npy.is_npy)) if reads(path)), None)


def _load(source: Source) -> RawImage:
    def read() -> RawImage:
        if nifti.is_nifti(source.path):
            raw = nifti.load(source)
        else:
            raw = decoder.load(source) if (decoder := _decoder(source.path)) else _load_picture(source)
        if raw.array.dtype.kind not in "biuf" or not raw.array.size:
            raise ValueError(f"it holds {raw.array.size} values of type {raw.array.dtype}, and real numbers are read")
        return raw

    return _guarded(source, read)


def _guarded(source: Source, read: Callable[[], T]) -> T:
    """Convert exceptions of decoders to an UnreadableError that names the file."""
    cause: Exception | None = None
    try:
        if source.path.exists() and not source.path.is_file():  # opening a pipe would wait for ever
            raise ValueError("it is a folder" if source.path.is_dir() else "it is a pipe, a socket or a device")
        return read()
    except FileNotFoundError:
        what = "is a link to a file that does not exist" if source.path.is_symlink() else "does not exist"
        found, expected, do = f"{source} {what}", "", "Put the file back, or check data.root, data.image, data.mask"
    except PermissionError:
        found, expected, do = f"{source} may not be read", "", f"Type: chmod u+r {shlex.quote(str(source.path))}"
    except SegexpError:
        raise
    except Exception as error:  # decoders raise nearly anything on damaged files
        cause = error
        found = f"{source} cannot be read ({_one_line(error)})"
        volume, array = nifti.is_nifti(source.path), source.path.suffix.lower() == ".npy"
        kind = "NIfTI volume" if volume else "array of numbers" if array else "PNG, JPEG, GIF, BMP or TIFF picture"
        expected = f"Expected a readable {kind}"
        do = "Copy the file again from where it came, or move it and its partner out of the data folder"
    raise UnreadableError(found, expected, do, file=str(source.path)) from cause


def _one_line(error: Exception) -> str:
    """Return the message of an exception, shortened to 200 characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:200]}…"


def _load_picture(source: Source) -> RawImage:
    with Image.open(source.path, formats=_FORMATS) as picture:
        picture.seek(source.page or 0)
        check_declared_size(source, picture.height, picture.width, len(picture.getbands()))
        picture.load()
        if picture.format == "PNG":
            with Image.open(source.path, formats=_FORMATS) as checked:
                checked.verify()  # checksums, which `load` skips
        raw = from_pillow(picture)
        orientation = picture.getexif().get(_ORIENTATION, 1) if source.exif else 1
        deep = picture.format == "PNG" and picture.mode in ("RGB", "RGBA", "LA")
    if deep:
        with source.path.open("rb") as file:
            header = file.read(26)
        if header[24] == 16:  # Pillow cuts 16-bit colour to 8 bits
            raw = _deep_png(source.path, kind=header[25])
    return RawImage(apply_orientation(raw.array, orientation), raw.palette, raw.alpha)


def _deep_png(path: Path, kind: int) -> RawImage:
    """Decode colour or alpha of 16 bits; the kind is 2 for RGB, 4 for gray with alpha, 6 for RGBA."""
    array = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if array is None:
        raise ValueError("16-bit PNG that OpenCV cannot decode")
    order = {2: [2, 1, 0], 4: [0, 3], 6: [2, 1, 0, 3]}[kind]  # of blue, green, red, alpha
    return RawImage(array[..., order], alpha=() if kind == 2 else (len(order) - 1,))


def _header_orientation(source: Source) -> int:
    with Image.open(source.path, formats=_FORMATS) as picture:
        plain = picture.format == "PNG" and "exif" not in picture.info  # Pillow would decode the pixels to look behind them
        return 1 if plain else int(picture.getexif().get(_ORIENTATION, 1))


def _frames(path: Path) -> int:
    with Image.open(path, formats=_FORMATS) as picture:
        return int(getattr(picture, "n_frames", 1))


def _header_size(source: Source) -> tuple[int, int]:
    with Image.open(source.path, formats=_FORMATS) as picture:
        picture.seek(source.page or 0)
        check_declared_size(source, picture.height, picture.width, len(picture.getbands()))
        turned = source.exif and picture.getexif().get(_ORIENTATION, 1) >= 5
        return (picture.width, picture.height) if turned else (picture.height, picture.width)
