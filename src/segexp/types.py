"""What flows through the house: sources, cases, samples, batches, and the facts that data tell the network.

Shapes: B batch, C channels, K classes, H W pixels.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

if TYPE_CHECKING:
    import torch

IGNORE = 255
"""The class index of pixels that neither loss nor metrics look at."""


@dataclass(frozen=True, order=True)
class Source:
    """One image on disk: a file, or one page of a multi-page file (0-based)."""

    path: Path
    page: int | None = None

    def __str__(self) -> str:
        return str(self.path) if self.page is None else f"{self.path}[{self.page}]"


@dataclass(frozen=True)
class Case:
    """One image with its mask files: the unit that is split, scored and reported.

    Attributes:
        id: unique name within the data set, made of the fields of the layout ("train/012", "Tile 1/part_003").
        image: where the image is.
        masks: where its masks are; several files are merged into one mask.
        split: "train", "val", "test", or None when the layout does not say.
        group: cases of one group (patient, scan, tile) are never split apart; None when every case stands alone.
        classes: of overlapping labels, the class that each of the masks is of; empty if the values of a mask tell.
    """

    id: str
    image: Source
    masks: tuple[Source, ...]
    split: str | None = None
    group: str | None = None
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class DataSpec:
    """What the data know and the network, the loss and the metrics need.

    Attributes:
        name: name of the data set.
        classes: class names by index; the first one is the background.
        channels: image channels, C.
        palette: one RGB colour (0-255) per class, for images.
        overlapping: a pixel may have several classes: masks hold bit sets (`data.labels.modes`) in the place of class indices.
    """

    name: str
    classes: tuple[str, ...]
    channels: int
    palette: tuple[tuple[int, int, int], ...]
    overlapping: bool = False

    @property
    def num_classes(self) -> int:
        """K, at least 2."""
        return len(self.classes)


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
    """What one pass over the training images found; it sets the normalisation and describes the data.

    Intensities are on the unit scale (0 to 1 for integer images), one entry per channel. `class_share` is of the known pixels;
    where labels overlap, its first entry is the share of those without any class, and all of them may add up to more than 1.
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
