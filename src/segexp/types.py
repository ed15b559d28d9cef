"""Shared data types: sources, cases, samples, batches, data specification and fingerprint.

Shapes: B batch, C channels, K classes, H W pixels.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

import numpy as np

if TYPE_CHECKING:
    import torch

Array = np.ndarray[Any, np.dtype[Any]]
IGNORE = 255
"""The class index of pixels that are ignored by losses and metrics."""


@dataclass(frozen=True, order=True)
class Source:
    """One image on disk: a file, one page of a multi-page file (0-based), or an entry of an annotation file by its name.

    The axes of a NIfTI volume are brought into an orientation such as "RAS" (see `data.orientation`); None: as they are stored;
    "stored": as they are stored, and positions in headers are not compared. The EXIF orientation of a photograph, or that of a
    TIFF, is applied where `exif` is true.
    Pixels of an image hold no data where they have the value that the file declares, or `nodata`, a number or "nan" (see
    `data.nodata`); with "none" all pixels hold data.
    """

    path: Path
    page: int | None = None
    orientation: str | None = None
    exif: bool = True
    nodata: float | str | None = None
    entry: str | None = None

    def __str__(self) -> str:
        part = self.page if self.entry is None else self.entry
        return str(self.path) if part is None else f"{self.path}[{part}]"


@dataclass(frozen=True)
class Case:
    """One image with its mask files: the unit of splits, scores and reports.

    Attributes:
        id: unique name within the data set, made of the fields of the layout ("train/012", "Tile 1/part_003").
        image: of the case.
        masks: its mask files; several files are merged into one mask.
        split: "train", "val", "test", or None if not given by the layout.
        group: cases of one group (patient, scan, tile) stay in the same split; None for no group.
        classes: for overlapping labels, the class of each mask; empty if the mask values determine it.
    """

    id: str
    image: Source
    masks: tuple[Source, ...]
    split: str | None = None
    group: str | None = None
    classes: tuple[str, ...] = ()

    def with_nodata(self, nodata: float | str | None) -> "Case":
        """Return the case with the nodata value of its image, see `Source`."""
        return replace(self, image=replace(self.image, nodata=nodata))


@dataclass(frozen=True)
class DataSpec:
    """Properties of the data needed by network, loss and metrics.

    Attributes:
        name: name of the data set.
        classes: class names by index; the background, if any, is the first one.
        channels: image channels, C.
        palette: one RGB colour (0-255) per class, for images.
        overlapping: a pixel may have several classes: masks hold bit sets (`data.labels.modes`) instead of class indices.
        background: whether the first class is the background, which means over classes leave out.
    """

    name: str
    classes: tuple[str, ...]
    channels: int
    palette: tuple[tuple[int, int, int], ...]
    overlapping: bool = False
    background: bool = True

    @property
    def num_classes(self) -> int:
        """K, at least 2."""
        return len(self.classes)

    @property
    def first(self) -> int:
        """Index of the first class that counts in means: 1, or 0 without a background."""
        return int(self.background)

    def without_nodata(self, classes: Array, valid: Array | None) -> Array:
        """Return a prediction (H, W) uint8 with background, or 255 where no class is the background, where `valid` is False."""
        return classes if valid is None else np.where(valid, classes, np.uint8(0 if self.background else IGNORE))

    @property
    def foreground(self) -> tuple[str, ...]:
        """Names of the classes that count in means."""
        return self.classes[self.first :]


class Batch(TypedDict):
    """One training batch.

    image: (B, C, H, W) float32, normalised. mask: (B, H, W) int64 class index (overlapping labels: bit sets), 255 = ignore.
    index: positions of the cases in their split.
    """

    image: "torch.Tensor"
    mask: "torch.Tensor"
    index: list[int]


class Sample(NamedTuple):
    """One case for scoring: image (C, h, w) float32 at the working size, mask (H, W) uint8 at the original image size."""

    position: int
    image: "torch.Tensor"
    mask: "torch.Tensor"


@dataclass
class Fingerprint:
    """Statistics of the training images, for normalisation and description.

    Intensities are on the unit scale (0 to 1 for integer images), one entry per channel. `class_share` refers to the known
    pixels; for overlapping labels, its first entry is the share of pixels without a class, and the sum may exceed 1.
    """

    count: int = 0
    mean: list[float] = field(default_factory=list)
    std: list[float] = field(default_factory=list)
    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)
    p_low: list[float] = field(default_factory=list)
    p_high: list[float] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)
    class_share: list[float] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return plain Python values for a checkpoint or JSON."""
        return dict(vars(self))
