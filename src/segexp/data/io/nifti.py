"""NIfTI volumes (.nii, .nii.gz): pages are slices along the third axis. The only module that imports nibabel.

Slices have the second axis downwards and the first to the right, as in SimpleITK. The axes are brought into an orientation such
as "RAS" by the affine, where one is given, without resampling. A fourth axis holds channels. nibabel (extra `medical`) is
imported lazily.

Legend: X Y Z axes of the file, C channels, H W pixels of a slice (H = Y, W = X).
"""

import contextlib
import gzip
import itertools
import logging
import math
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from segexp.atomic import atomic_write
from segexp.data.io.raw import Grid, RawImage, check_declared_size
from segexp.data.io.tiff import MAX_CHANNELS
from segexp.errors import DataError
from segexp.types import Source

Array = npt.NDArray[Any]
T = TypeVar("T")
ENDINGS = ("nii", "nii.gz")
"""File extensions."""

DEFLATE = 1032
"""Maximum ratio of bytes before and after compression by gzip."""

KEPT = 2 << 30
"""Bytes of decoded volumes kept in memory; the last two (image and mask) are always kept."""


def is_nifti(path: Path) -> bool:
    """Return whether the file name is that of a NIfTI volume."""
    return path.name.lower().endswith(tuple(f".{ending}" for ending in ENDINGS))


def count(path: Path, orientation: str | None = None) -> int:
    """Return the number of slices."""
    return _oriented_shape(path, orientation)[2]


def size(source: Source) -> tuple[int, int]:
    """Return (H, W) from the header."""
    shape = _oriented_shape(source.path, source.orientation)
    _checked(source, shape)
    return shape[1], shape[0]


def spacing(path: Path, orientation: str | None = None) -> tuple[float, float] | None:
    """Return the voxel size along rows and columns of a slice (Y, X) in header units (usually mm), None if invalid."""
    image = _opened(path)
    sides = [float(side) for side in image.header.get_zooms()[:3]]
    sides = _reordered([*sides, *[1.0] * (3 - len(sides))], _transform(image.affine, orientation))[:2]
    if not all(math.isfinite(side) and side > 0 for side in sides):
        return None
    return sides[1], sides[0]


def orientation(path: Path) -> tuple[str, tuple[float, float, float]]:
    """Return the orientation in which a volume is stored, such as "RAS", and the sides of its voxels.

    Raises:
        ValueError: the affine has none.
    """
    image = _opened(path)
    _transform(image.affine, "RAS")  # raises where an axis has no direction
    x, y, z = _nibabel(path).affines.voxel_sizes(image.affine)
    return "".join(_nibabel(path).aff2axcodes(image.affine)), (float(x), float(y), float(z))


def stored_type(path: Path) -> str | None:
    """Return the type of the stored values, such as "int16"; None if the header scales them."""
    image = _opened(path)
    kind = image.header.get_data_dtype()
    plain = (float(image.dataobj.slope), float(image.dataobj.inter)) == (1.0, 0.0)
    return str(kind.newbyteorder("=")) if plain and not kind.names else None


def align(mask: Path, image: Path, orientation: str) -> tuple[str, tuple[Grid, Grid] | None]:
    """Return the orientation in which a mask lies on its image in another, and the grids of both, axes as in the image's file.

    Positions are given by sform and qform; of several, those that agree best are compared. Where one of the two files has
    neither (both codes are 0), the voxels belong together as they are stored, and there are no grids.
    """
    one, other = _opened(image), _opened(mask)
    shape, unit = _shape(other, Source(mask))[:3], one.header.get_xyzt_units()[0]
    pairs = []
    for here, there in itertools.product(_positions(one), _positions(other)):
        turn = _orientations().io_orientation(np.linalg.inv(here) @ there)
        ours = Grid(_shape(one, Source(image))[:3], here, "mm" if unit == "unknown" else unit)
        theirs = Grid(tuple(_reordered(shape, turn)), there @ _orientations().inv_ornt_aff(turn, shape), ours.unit)
        pairs.append((ours.distance(theirs), turn, (ours, theirs)))
    _, turn, grids = min(pairs, key=lambda pair: pair[0]) if pairs else (0.0, np.array([[0, 1], [1, 1], [2, 1]]), None)
    return _combined(turn, one.affine, other.affine, orientation), grids


def _positions(image: Any) -> list[Array]:
    """Return the affines (4, 4) of a header whose codes say that they are known, sform first."""
    from nibabel.spatialimages import HeaderDataError

    found = []
    for form in (image.header.get_sform, image.header.get_qform):
        with contextlib.suppress(HeaderDataError):  # a qform that is no rotation
            affine = form(coded=True)[0]
            if affine is not None and np.isfinite(affine).all() and np.linalg.det(affine[:3, :3]):
                found.append(affine)
    return found


def _combined(turn: Array, image: Array, mask: Array, orientation: str) -> str:
    """Return the orientation of a mask that turns its axes to those of its image, and those as the image's are turned.

    Args:
        turn: nibabel's transform (3, 2) from the stored axes of the mask to those of the image.
        image: affine by which the image is read.
        mask: affine by which the mask is read.
        orientation: in which the image is read.
    """
    then, found = _transform(image, orientation), np.zeros((3, 2))
    stored = _orientations().io_orientation(mask)
    if then is None or np.isnan(stored).any():
        return orientation
    for axis, (middle, sign) in zip(stored, turn, strict=True):
        place, flip = then[int(middle)]
        found[int(place)] = axis * (1, sign * flip)
    return "".join(_orientations().ornt2axcodes(found))


def load(source: Source) -> RawImage:
    """Decode one slice; the header scaling (scl_slope, scl_inter) is applied and then gives float32.

    Raises:
        ValueError: no such slice, no slice given for a volume, or unsupported axes.
    """
    volume, slope, inter, affine = _volumes(source.path)
    volume = _turned(volume, _transform(affine, source.orientation))
    _checked(source, volume.shape)
    array = np.swapaxes(volume[:, :, source.page or 0], 0, 1)
    array = array[..., 0] if array.shape[2] == 1 else array
    if (slope, inter) != (1.0, 0.0):
        array = (array * slope + inter).astype(np.float32)
    return RawImage(np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="), copy=False)))


def write_labels(path: Path, slices: Sequence[Array], like: Path, orientation: str | None = None) -> None:
    """Write slices (H, W) uint8 of class indices, oriented as by `load`, as an 8-bit label volume, atomically.

    Order of the axes, affine, voxel sizes, units and orientation codes are those of the segmented volume `like`.
    """
    nibabel = _nibabel(path)
    model = nibabel.load(like)
    header = model.header.copy()
    header.set_data_dtype(np.uint8)
    header.set_slope_inter(1, 0)
    header["cal_min"], header["cal_max"] = 0, 0  # display limits of the image would hide the labels
    labels = np.stack([np.swapaxes(mask, 0, 1) for mask in slices], axis=2).astype(np.uint8)
    labels = np.ascontiguousarray(_turned(labels, _transform(model.affine, orientation, back=True)))
    data = type(model)(labels, model.affine, header).to_bytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path, durable=False) as part:
        part.write_bytes(gzip.compress(data, mtime=0) if path.name.lower().endswith(".gz") else data)


class _Volumes:
    """Cache of the last decoded volumes."""

    def __init__(self) -> None:
        self.kept: OrderedDict[tuple[Path, int, int], tuple[Array, float, float, Array]] = OrderedDict()
        self.lock = threading.Lock()
        self.busy: dict[tuple[Path, int, int], threading.Lock] = {}

    def __call__(self, path: Path) -> tuple[Array, float, float, Array]:
        """Return the stored values (X, Y, Z, C), slope, intercept and affine (4, 4) of a file."""
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
                while len(self.kept) > 2 and sum(array.nbytes for array, *_ in self.kept.values()) > KEPT:
                    self.kept.popitem(last=False)
                self.busy.pop(key, None)
            return found


_volumes = _Volumes()


def _decoded(path: Path) -> tuple[Array, float, float, Array]:
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
    return array.reshape(shape), slope, inter, image.affine


def _transform(affine: Array, orientation: str | None, back: bool = False) -> Array | None:
    """Return nibabel's transform (3, 2) of the stored axes to an orientation, or back; None keeps them, as "stored" does.

    Raises:
        ValueError: an axis of the affine has no direction.
    """
    if orientation in (None, "stored"):
        return None
    stored = _orientations().io_orientation(affine) if np.isfinite(affine).all() else np.full((3, 2), np.nan)
    if np.isnan(stored).any():
        raise ValueError("its affine has an axis without direction, type data.orientation=stored to take the axes as they are")
    ends = stored, _orientations().axcodes2ornt(orientation)
    found: Array = _orientations().ornt_transform(*(reversed(ends) if back else ends))
    return found


def _turned(array: Array, turn: Array | None) -> Array:
    """Return a view of an array (X, Y, Z, …) with its first three axes reordered and flipped."""
    if turn is None:
        return array
    found: Array = _orientations().apply_orientation(array, turn)
    return found


def _orientations() -> Any:
    from nibabel import orientations

    return orientations


def _reordered(sides: Sequence[T], turn: Array | None) -> list[T]:
    """Return the values of three axes in their new order."""
    if turn is None:
        return list(sides)
    found = dict(zip(turn[:, 0].astype(int).tolist(), sides, strict=True))
    return [found[axis] for axis in range(3)]


def _oriented_shape(path: Path, orientation: str | None) -> tuple[int, int, int, int]:
    image = _opened(path)
    *sides, channels = _shape(image, Source(path))
    x, y, z = _reordered(sides, _transform(image.affine, orientation))
    return x, y, z, channels


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
