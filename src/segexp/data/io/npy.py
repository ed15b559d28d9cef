"""NumPy files (`.npy`): pictures, channels on either side, stacks. Opened memory-mapped and never unpickled.

Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from segexp.data.io.raw import RawImage, check_declared_size
from segexp.errors import UnreadableError
from segexp.types import Source

Array = npt.NDArray[Any]

MAX_CHANNELS = 16
"""Longest axis that is read as channels, where the axis at the other end of the shape is at least as long and longer."""

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def is_npy(path: Path) -> bool:
    """Return whether the file starts with the signature of NumPy."""
    with path.open("rb") as file:
        return file.read(len(np.lib.format.MAGIC_PREFIX)) == np.lib.format.MAGIC_PREFIX


def holds_objects(root: Path, name: str) -> bool:
    """Return whether a file below a folder has the ending of NumPy and Python objects, as `NAME_seg.npy` of Cellpose."""
    try:
        return name.lower().endswith(".npy") and _header(root / name)[1].hasobject
    except (OSError, ValueError):
        return False


def count(path: Path) -> int:
    """Return the number of pictures along the first axis, 1 for (H, W) and (H, W, C)."""
    shape, _ = _header(path)
    return shape[0] if len(shape) == 4 or (len(shape) == 3 and _channel_axis(shape) != 2) else 1


def size(source: Source) -> tuple[int, int]:
    """Return (H, W), from the header."""
    shape, _ = _header(source.path)
    return _checked(source, shape)


def load(source: Source) -> RawImage:
    """Return the values (H, W) or (H, W, C) of a file, or of one entry of its first axis; bool becomes 0 and 1.

    Raises:
        UnreadableError: it holds Python objects.
        ValueError: more axes than those of one picture, axes whose meaning is open, or no such entry.
    """
    shape, dtype = _header(source.path)
    if dtype.hasobject:
        raise UnreadableError(
            f"{source} holds Python objects, as *_seg.npy of Cellpose does, and reading them could run code",
            "An array of numbers was expected",
            "Save the mask alone, as PNG or TIFF or by numpy.save, and name that file",
            file=str(source.path),
        )
    _checked(source, shape)
    array = np.load(source.path, mmap_mode="r", allow_pickle=False)
    if _is_entry(source, shape):
        array = array[source.page]
    if array.ndim == 3 and _channel_axis(array.shape) == 0:
        array = np.moveaxis(array, 0, -1)
    array = np.array(array, dtype=np.uint8 if array.dtype == bool else array.dtype.newbyteorder("="), order="C")
    return RawImage(array)


def _header(path: Path) -> tuple[tuple[int, ...], "np.dtype[Any]"]:
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        if version not in _HEADERS:
            raise ValueError("it has named fields, and one number for each pixel and channel is read")
        shape, _, dtype = _HEADERS[version](file)
    return shape, dtype


def _is_entry(source: Source, shape: tuple[int, ...]) -> bool:
    """Return whether the source is an entry of the first axis."""
    pages = count(source.path)
    if source.page is not None and source.page >= pages:
        raise ValueError(f"it has {pages} pages, counted from 0")
    return source.page is not None and (pages > 1 or len(shape) == 4)


def _checked(source: Source, shape: tuple[int, ...]) -> tuple[int, int]:
    """Return (H, W) of the source after a check of its shape."""
    own = shape[1:] if _is_entry(source, shape) else shape
    axis = _channel_axis(own) if len(own) == 3 else None
    if len(own) not in (2, 3) or (len(own) == 3 and axis is None):
        what = " x ".join(map(str, shape))
        if len(own) == 3 and min(own[0], own[2]) <= MAX_CHANNELS:
            raise ValueError(f"its axes {what} may be height, width and channels or channels, height and width")
        raise ValueError(f"its axes are {what}; [{{id}}] at the end of the pattern takes each entry of the first one")
    height, width = own[:2] if axis != 0 else own[1:]
    check_declared_size(source, height, width, own[axis] if axis is not None else 1)
    return height, width


def _channel_axis(shape: tuple[int, ...]) -> int | None:
    """Return the axis of the channels of three, 0 or 2; None where neither or both may be it."""
    first, last = shape[0], shape[2]
    if last <= MAX_CHANNELS <= first and last < first:
        return 2
    return 0 if first <= MAX_CHANNELS <= last and first < last else None
