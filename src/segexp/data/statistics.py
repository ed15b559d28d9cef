"""One pass over all cases before training: decode, check and measure each once.

Legend: C channels, K classes, H W original size, h w working size.
"""

import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar

import numpy as np

from segexp.config.schema import DataConfig
from segexp.data.io.images import read_image_and_valid
from segexp.data.labels.modes import ALL_CLASSES, MULTICLASS, MULTILABEL, LabelMode
from segexp.data.labels.multilabel import Labels, label_table
from segexp.data.preprocessing import Size, resize_image, resize_mask, to_unit, working_size
from segexp.errors import DataError
from segexp.types import IGNORE, Case, Fingerprint

T = TypeVar("T")


@dataclass(frozen=True)
class DecodedCase:
    """A decoded case.

    Attributes:
        image: (h, w, C) at working size, nodata pixels filled.
        mask: (H, W) uint8 class index or bit set at its original size; nodata pixels of the image are ignored.
        valid: (h, w) bool, False for nodata pixels of the image; None if every pixel holds data.
    """

    image: np.ndarray
    mask: np.ndarray
    valid: np.ndarray | None = None

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """The arrays that it has."""
        return tuple(array for array in (self.image, self.mask, self.valid) if array is not None)


@dataclass(frozen=True)
class Reader:
    """Decodes cases.

    Attributes:
        channels: C.
        labels: maps mask values to classes.
        size: working resolution.
    """

    channels: int
    labels: Labels
    size: Size = None

    def __call__(self, case: Case) -> DecodedCase:
        """Read image and masks of a case; without masks all pixels are ignored.

        Raises:
            DataError: a file cannot be read, sizes differ, or a mask value belongs to no class; names the file.
        """
        image, valid = read_image_and_valid(case.image, self.channels)
        size = image.shape[:2]
        mask = self.labels.read(case, size) if case.masks else np.full(size, IGNORE, np.uint8)
        image = resize_image(image, working := working_size(self.size, size, str(case.image)))
        if valid is None:
            return DecodedCase(image, mask)
        mask = np.where(valid, mask, np.uint8(IGNORE))
        return DecodedCase(image, mask, resize_mask(valid.view(np.uint8), working).view(bool))


def make_reader(data: DataConfig) -> Reader:
    """Return the reader of a data section."""
    return Reader(data.channels or 3, label_table(data), data.size)


def held_classes(data: DataConfig, cases: Sequence[Case]) -> dict[str, frozenset[int]]:
    """Return the indices of the counted classes that the mask of each case holds, by id; decodes the masks.

    Raises:
        DataError: see `Reader`.
    """
    labels, single = label_table(data), MULTICLASS if data.background is not None else ALL_CLASSES
    mode = MULTILABEL if data.multilabel else single
    found = read_all(lambda case: mode.present(labels.read(case)).tolist() if case.masks else [], cases)
    return {case.id: frozenset(classes) for case, classes in zip(cases, found, strict=True)}


@dataclass(frozen=True)
class ImageStats:
    """What the pass keeps of each case.

    Attributes:
        checksum: CRC-32 of the decoded image; equal images have equal checksums.
        classes: indices of the counted classes that the mask holds.
    """

    checksum: int
    classes: frozenset[int]

    @property
    def empty(self) -> bool:
        """Whether the mask has no foreground pixel."""
        return not self.classes


def image_stats(picture: DecodedCase, labelling: LabelMode = MULTICLASS) -> ImageStats:
    """Return checksum and classes of a decoded case."""
    start = zlib.crc32(f"{picture.image.shape} {picture.image.dtype.str}".encode())
    checksum = zlib.crc32(np.ascontiguousarray(picture.image).data, start)
    return ImageStats(checksum, frozenset(labelling.present(picture.mask).tolist()))


@dataclass
class Statistics:
    """Running sums over images, per channel, in the units of the files; nodata pixels do not count."""

    channels: int
    classes: int
    label_mode: LabelMode = MULTICLASS
    count: int = 0
    pixels: int = 0
    total: np.ndarray = field(init=False)
    square: np.ndarray = field(init=False)
    low: np.ndarray = field(init=False)
    high: np.ndarray = field(init=False)
    class_pixels: np.ndarray = field(init=False)
    known: int = 0
    dtypes: set[str] = field(default_factory=set)
    sizes: dict[str, int] = field(default_factory=dict)
    samples: list[np.ndarray] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.total, self.square = np.zeros(self.channels), np.zeros(self.channels)
        self.low, self.high = np.full(self.channels, np.inf), np.full(self.channels, -np.inf)
        self.class_pixels = np.zeros(self.classes, np.int64)

    def add(self, picture: DecodedCase) -> None:
        """Add one case."""
        values = picture.image.reshape(-1, self.channels) if picture.valid is None else picture.image[picture.valid]
        wide = np.ascontiguousarray(values.T, np.float64)  # a row per channel: ten times as fast as a column
        self.count += 1
        self.pixels += len(values)
        self.total += wide.sum(axis=1)
        self.square += np.square(wide).sum(axis=1)
        self.low = np.minimum(self.low, wide.min(axis=1, initial=np.inf))
        self.high = np.maximum(self.high, wide.max(axis=1, initial=-np.inf))
        self.class_pixels += self.label_mode.pixels(picture.mask, self.classes)
        self.known += int(np.count_nonzero(picture.mask != IGNORE))
        self.dtypes.add(str(picture.image.dtype))
        size = f"{picture.mask.shape[0]}x{picture.mask.shape[1]}"
        self.sizes[size] = self.sizes.get(size, 0) + 1
        self.samples.append(values[:: max(1, len(values) // 4096)].copy())  # a view would keep every image in memory

    def merge(self, other: "Statistics") -> None:
        """Add the cases of another."""
        self.count += other.count
        self.pixels += other.pixels
        self.total += other.total
        self.square += other.square
        self.low, self.high = np.minimum(self.low, other.low), np.maximum(self.high, other.high)
        self.class_pixels += other.class_pixels
        self.known += other.known
        self.dtypes |= other.dtypes
        for size, count in other.sizes.items():
            self.sizes[size] = self.sizes.get(size, 0) + count
        self.samples += other.samples

    def value_range(self) -> tuple[float, float]:
        """Return the file values that map to 0 and 1; always (0, 255) for 8-bit images.

        Raises:
            DataError: 8-bit images are mixed with others.
        """
        if self.dtypes <= {"uint8"} or not self.count:
            return 0.0, 255.0
        if "uint8" in self.dtypes:
            raise DataError(
                f"The training images hold values of different types: {', '.join(sorted(self.dtypes))}",
                "All 8-bit, or none of them, were expected: one scale cannot fit both",
                "Convert the images to one type, or put the two kinds into two folders",
            )
        low = float(self.low.min()) if "float32" in self.dtypes else 0.0
        return low, float(max(self.high.max(), low + 1e-6))

    def fingerprint(self) -> Fingerprint:
        """Return mean, deviation, extremes and percentiles on the unit scale, sizes and class shares."""
        low, high = self.value_range()
        span = high - low
        mean = self.total / max(1, self.pixels)
        deviation = np.sqrt(np.maximum(self.square / max(1, self.pixels) - mean**2, 0))
        sample = np.concatenate([to_unit(s[:, None], (low, high))[:, 0] for s in self.samples])
        return Fingerprint(
            count=self.count,
            mean=((mean - low) / span).tolist(),
            std=(deviation / span).tolist(),
            low=((self.low - low) / span).tolist(),
            high=((self.high - low) / span).tolist(),
            p_low=np.percentile(sample, 0.5, axis=0).astype(float).tolist(),
            p_high=np.percentile(sample, 99.5, axis=0).astype(float).tolist(),
            sizes=dict(self.sizes),
            class_share=(self.class_pixels / max(1, self.known)).tolist(),
        )


def read_all(reader: Callable[[Case], T], cases: Sequence[Case], threads: int = 4) -> Iterator[T]:
    """Yield `reader(case)` in order, computed by threads that are never more than a few cases ahead."""
    with ThreadPoolExecutor(threads) as pool:
        waiting = iter(cases)
        ahead = [pool.submit(reader, case) for case in islice(waiting, 2 * threads)]
        try:
            while ahead:
                yield ahead.pop(0).result()
                ahead.extend(pool.submit(reader, case) for case in islice(waiting, 1))
        finally:
            for future in ahead:
                future.cancel()


def check_masks(statistics: Statistics, names: Sequence[str], split: str) -> None:
    """Refuse training masks of only one class.

    Raises:
        DataError: all labelled pixels are of one class.
    """
    present = [names[int(k)] for k in np.flatnonzero(statistics.class_pixels)]
    if len(present) < 2:
        raise DataError(
            f"Every mask of the {statistics.count} {split} images is all one value"
            + (f" (class {present[0]})" if present else " (ignored everywhere)"),
            f"Pixels of at least two of the classes {', '.join(names)} were expected",
            "Look at the masks, and at which values data.classes gives to which class",
        )
