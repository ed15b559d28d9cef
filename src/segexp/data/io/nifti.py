"""NIfTI volumes (.nii, .nii.gz): pages are slices along the third axis. The only module that imports nibabel.

Slices have the second axis downwards and the first to the right, as in SimpleITK; the affine is not applied, so image and mask
stay aligned. A fourth axis holds channels. nibabel (extra `medical`) is imported lazily.

Legend: X Y Z axes of the file, C channels, H W pixels of a slice (H = Y, W = X).
"""

import gzip
import logging
import math
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from segexp.atomic import atomic_write
from segexp.data.io.raw import RawImage, check_declared_size
from segexp.data.io.tiff import MAX_CHANNELS
from segexp.errors import DataError
from segexp.types import Source

Array = npt.NDArray[Any]
ENDINGS = ("nii", "nii.gz")
"""File extensions."""

DEFLATE = 1032
"""Maximum ratio of bytes before and after compression by gzip."""

KEPT = 2 << 30
"""Bytes of decoded volumes kept in memory; the last two (image and mask) are always kept."""


def is_nifti(path: Path) -> bool:
    """Return whether the file name is that of a NIfTI volume."""
    return path.name.lower().endswith(tuple(f".{ending}" for ending in ENDINGS))


def count(path: Path) -> int:
    """Return the number of slices."""
    return _shape(_opened(path), Source(path))[2]


def size(source: Source) -> tuple[int, int]:
    """Return (H, W) from the header."""
    shape = _shape(_opened(source.path), source)
    _checked(source, shape)
    return shape[1], shape[0]


def spacing(path: Path) -> tuple[float, float] | None:
    """Return the voxel size along rows and columns of a slice (Y, X) in header units (usually mm), None if invalid."""
    sides = [float(side) for side in _opened(path).header.get_zooms()[:2]]
    if len(sides) < 2 or not all(math.isfinite(side) and side > 0 for side in sides):
        return None
    return sides[1], sides[0]


def load(source: Source) -> RawImage:
    """Decode one slice; the header scaling (scl_slope, scl_inter) is applied and then gives float32.

    Raises:
        ValueError: no such slice, no slice given for a volume, or unsupported axes.
    """
    volume, slope, inter = _volumes(source.path)
    _checked(source, volume.shape)
    array = np.swapaxes(volume[:, :, source.page or 0], 0, 1)
    array = array[..., 0] if array.shape[2] == 1 else array
    if (slope, inter) != (1.0, 0.0):
        array = (array * slope + inter).astype(np.float32)
    return RawImage(np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="), copy=False)))


def write_labels(path: Path, slices: Sequence[Array], like: Path) -> None:
    """Write slices (H, W) uint8 of class indices, oriented as by `load`, as an 8-bit label volume, atomically.

    Affine, voxel sizes, units and orientation codes are copied from the segmented volume `like`.
    """
    nibabel = _nibabel(path)
    model = nibabel.load(like)
    header = model.header.copy()
    header.set_data_dtype(np.uint8)
    header.set_slope_inter(1, 0)
    header["cal_min"], header["cal_max"] = 0, 0  # display limits of the image would hide the labels
    labels = np.stack([np.swapaxes(mask, 0, 1) for mask in slices], axis=2).astype(np.uint8)
    data = type(model)(labels, model.affine, header).to_bytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path, durable=False) as part:
        part.write_bytes(gzip.compress(data, mtime=0) if path.name.lower().endswith(".gz") else data)


class _Volumes:
    """Cache of the last decoded volumes."""

    def __init__(self) -> None:
        self.kept: OrderedDict[tuple[Path, int, int], tuple[Array, float, float]] = OrderedDict()
        self.lock = threading.Lock()
        self.busy: dict[tuple[Path, int, int], threading.Lock] = {}

    def __call__(self, path: Path) -> tuple[Array, float, float]:
        """Return the stored values (X, Y, Z, C), slope and intercept of a file."""
        stat = path.stat()
        key = (path, stat.st_size, stat.st_mtime_ns)
        with self.lock:
            mine = self.busy.setdefault(key, threading.Lock())
        with mine:  # one thread decodes a volume, the others wait
            with self.lock:
                if key in self.kept:
                    self.kept.move_to_end(key)
                    return self.kept[key]
            found = _decoded(path)
            with self.lock:
                self.kept[key] = found
                while len(self.kept) > 2 and sum(array.nbytes for array, _, _ in self.kept.values()) > KEPT:
                    self.kept.popitem(last=False)
                self.busy.pop(key, None)
            return found


_volumes = _Volumes()


def _decoded(path: Path) -> tuple[Array, float, float]:
    image = _opened(path)
    shape = _shape(image, Source(path))
    if path.name.lower().endswith(".gz"):
        with gzip.open(path) as file:  # nibabel stops before the checksum
            data = file.read(image.dataobj.offset + math.prod(image.shape) * image.dataobj.dtype.itemsize)
            while file.read(1 << 20):
                pass
        array = np.frombuffer(data, image.dataobj.dtype, math.prod(image.shape), image.dataobj.offset)
        array = array.reshape(image.shape, order="F")
    else:
        array = np.asanyarray(image.dataobj.get_unscaled())
    slope, inter = float(image.dataobj.slope), float(image.dataobj.inter)
    if array.dtype.names:  # three bytes per voxel, R G B
        array = np.stack([array[name] for name in array.dtype.names[:3]], axis=-1)
    return array.reshape(shape), slope, inter


def _shape(image: Any, source: Source) -> tuple[int, int, int, int]:
    """Return X, Y, Z, C from the header; missing axes are 1.

    Raises:
        ValueError: more axes or channels than supported, or more voxels than the file holds.
        DataError: more voxels than are decoded.
    """
    sides = [int(side) for side in image.shape]
    colours = image.header.get_data_dtype().names
    x, y, z = (*sides[:3], 1, 1, 1)[:3]
    rest = [side for side in sides[3:] if side > 1]
    channels = rest[0] if rest else 1
    if len(rest) > 1 or channels > MAX_CHANNELS or (colours and channels > 1) or min(sides, default=0) < 1:
        axes = "x".join(map(str, sides))
        raise ValueError(f"it has the axes {axes}, and a volume with at most {MAX_CHANNELS} channels is read")
    channels = len(colours[:3]) if colours else channels
    check_declared_size(source, y, x, z * channels)
    room, needed = source.path.stat().st_size, image.dataobj.offset + math.prod(sides) * image.dataobj.dtype.itemsize
    if needed > room * (DEFLATE if source.path.name.lower().endswith(".gz") else 1):
        raise ValueError(f"it is cut off: it has {room} bytes, and {x}x{y}x{z} voxels take {needed}")
    return x, y, z, channels


def _checked(source: Source, shape: tuple[int, ...]) -> None:
    if source.page is None and shape[2] > 1:
        raise ValueError(f"it holds {shape[2]} slices: ask for one by [{{page}}] at the end of the pattern")
    if not 0 <= (source.page or 0) < shape[2]:
        raise ValueError(f"it has {shape[2]} slices, numbered from 0")


def _opened(path: Path) -> Any:
    path.stat()  # report a missing file before a missing package
    return _nibabel(path).load(path)


def _nibabel(path: Path) -> Any:
    try:
        import nibabel
    except ImportError as error:
        raise DataError(
            f"{path} is a NIfTI volume, and the package nibabel that reads it is not installed",
            do="Type: pip install 'segexp[medical]'",
        ) from error
    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)  # what makes a file unreadable is raised
    return nibabel
