"""One pass over all pictures: each is decoded once, measured, and made small. Nothing that is met stops it.

Legend: H W pixels, C channels.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import cv2
import numpy as np

from segexp.checks.issues import CaseFacts
from segexp.data.io.images import read_image, read_mask
from segexp.data.labels.class_table import LabelTable, gray_if_gray, value_counts
from segexp.data.labels.modes import MULTICLASS, MULTILABEL
from segexp.data.labels.multilabel import Labels, OverlappingTable, merged, table_of
from segexp.data.labels.spec import Value, gray, packed
from segexp.errors import DataError
from segexp.types import IGNORE, Case, Source

Array = np.ndarray[Any, np.dtype[Any]]

SIDE = 128
"""Pixels of a side."""
MIDDLE = 512
"""Masks with longer sides are thinned out to about this before their classes are averaged."""


def one_channel(image: Array) -> Array:
    """Return (H, W, 1) of an image (H, W, 3) whose three channels are equal, any other as it is."""
    if image.shape[2] != 3 or not np.array_equal(image[..., 0], image[..., 1]):
        return image
    return image[..., :1] if np.array_equal(image[..., 0], image[..., 2]) else image


def image_thumbnail(image: Array) -> Array:
    """Return an image (H, W, C) as (SIDE, SIDE, 1 or 3) uint8 by area averaging.

    8-bit values stay as they are; others are stretched from their 0.5th to their 99.5th percentile, each picture by itself.
    Of two channels the first is taken, of four and more the first three.
    """
    image = image[..., :3] if image.shape[2] >= 3 else image[..., :1]
    wide = image if image.dtype == np.uint8 else image.astype(np.float32)
    small = cv2.resize(wide, (SIDE, SIDE), interpolation=cv2.INTER_AREA).reshape(SIDE, SIDE, -1)
    if small.dtype == np.uint8:
        return np.asarray(small)
    low, high = np.percentile(small, (0.5, 99.5))
    return np.asarray(np.rint(np.clip((small - low) / max(float(high - low), 1e-12), 0, 1) * 255).astype(np.uint8))


def label_thumbnail(labels: Array) -> Array:
    """Return a mask (H, W) uint8 as (SIDE, SIDE): of each small pixel the class that covers most of it."""
    step = max(1, min(labels.shape) // MIDDLE)
    labels = np.ascontiguousarray(labels[step // 2 :: step, step // 2 :: step])
    present = np.flatnonzero(np.bincount(labels.ravel(), minlength=256)).astype(np.uint8)
    shares = [cv2.resize((labels == k).astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_AREA) for k in present]
    return np.asarray(present[np.argmax(shares, axis=0)])


def to_gray(picture: Array) -> Array:
    """Return a small picture as (SIDE, SIDE) float32, luma of ITU-R BT.601."""
    wide = picture.astype(np.float32)
    return np.asarray(wide[..., 0] if wide.shape[2] == 1 else wide @ np.array([0.299, 0.587, 0.114], np.float32))


def one_hot(labels: Array, classes: int) -> Array:
    """Return (…, H, W) labels as (…, K, H, W) float32; ignored pixels and classes beyond K are 0 everywhere."""
    found = labels[..., None, :, :] == np.arange(min(classes, IGNORE), dtype=np.uint8)[:, None, None]
    return np.asarray(found.astype(np.float32))


SOFT = 3
"""So many different values between those of two classes make a soft mask; fewer are stray values."""
CLEAR = 0.8
"""Share of the pixels of a soft mask that are near one of the two values; of pictures it is less."""
STRAY = 64
"""More unclaimed values than these and a mask is not encoded at all."""


@dataclass(frozen=True)
class MaskScan:
    """What was seen of one mask file.

    Attributes:
        source: the file.
        counts: pixels by value or colour.
        unclaimed: those of them that belong to no class.
        thin: whether all but the two most frequent values lie in lines that an erosion by one pixel removes, as the soft
            border of a shape does.
    """

    source: Source
    counts: dict[Value, int]
    unclaimed: dict[Value, int]
    thin: bool

    def soft(self, ends: tuple[int, int] | None) -> bool:
        """Tell whether this is a mask of two values with a soft border: most pixels are near those, and others between."""
        if ends is None or len(self.between(*ends)) < SOFT:
            return False
        margin = max(1, (ends[1] - ends[0]) // 8)
        near = sum(n for v, n in self.counts.items() if not isinstance(v, str) and min(abs(v - end) for end in ends) <= margin)
        return near >= CLEAR * sum(self.counts.values())

    def between(self, low: int, high: int) -> list[int]:
        """Return the unclaimed gray values between two values, in order."""
        return sorted(int(v) for v in self.unclaimed if not isinstance(v, str) and low < v < high)


def scan_mask(source: Source, raw: Array, table: LabelTable | None) -> MaskScan:
    """Count the values of a mask (H, W), or (H, W, 3) in colour."""
    counts = value_counts(raw, colour=raw.ndim == 3)
    return MaskScan(source, counts, _unclaimed(counts, raw.ndim == 3, table), len(counts) > 2 and _thin(raw, counts))


def two_grays(table: Labels | None) -> tuple[int, int] | None:
    """Return the lower and the higher gray value of a table with two classes of one gray value each, else None."""
    if table is None or len(table.classes) != 2 or any(len(values) != 1 for values in table.classes.values()):
        return None
    found = [gray(values[0]) for values in table.classes.values()]
    return (min(found), max(found)) if None not in found else None  # type: ignore[type-var, return-value]


def _unclaimed(counts: dict[Value, int], colour: bool, table: LabelTable | None) -> dict[Value, int]:
    if table is None or table.threshold is not None:
        return {}
    claimed = [value for values in (*table.classes.values(), table.ignore) for value in values]
    known = {packed(value) if colour else gray(value) for value in claimed}
    return {value: count for value, count in counts.items() if (packed(value) if colour else value) not in known}


def _thin(raw: Array, counts: dict[Value, int]) -> bool:
    if raw.ndim == 3:
        return False
    first, second, *_ = sorted(counts, key=lambda value: -counts[value])
    rest = ((raw != first) & (raw != second)).astype(np.uint8)
    return bool(cv2.erode(rest, np.ones((3, 3), np.uint8)).sum() < 0.05 * rest.sum())


def encoded(raw: Array, table: LabelTable, look: MaskScan) -> Array | None:
    """Return the class indices (H, W) uint8; soft values go to the nearer class, other unclaimed ones are ignored.

    None where there are too many of them.
    """
    if not look.unclaimed:
        return table.encode(raw, str(look.source))
    ends = two_grays(table)
    if ends and look.soft(ends):
        return LabelTable(table.classes, table.ignore, sum(ends) / 2).encode(raw)
    whole = all(isinstance(value, int | str) and int(packed(value) or 0) >= 0 for value in look.unclaimed)
    if whole and len(look.unclaimed) <= STRAY:
        return LabelTable(table.classes, [*table.ignore, *look.unclaimed]).encode(raw)
    return None


FEW = 12
"""An image with no more different values than these may be a mask."""


@dataclass(frozen=True)
class CaseScan:
    """What was seen of one case.

    Attributes:
        case: the case.
        facts: sizes, values and the like.
        stored: channels in the file; `facts.channels` is 1 where they are all equal.
        digest: of the decoded image, see `image_digest`; equal for equal pictures.
        few: whether the image holds no more than `FEW` different values.
        picture: (SIDE, SIDE, 1 or 3) uint8.
        masks: one entry per mask file that can be read.
        labels: (SIDE, SIDE) uint8 class index, 255 = ignore; None where the mask cannot be told.
        mask_digest: of the class indices at their own size; "" without labels.
        raw_digest: of the values of the one mask file, comparable with `digest`; "" for several.
    """

    case: Case
    facts: CaseFacts
    stored: int
    digest: str
    few: bool
    picture: Array
    masks: tuple[MaskScan, ...] = ()
    labels: Array | None = None
    mask_digest: str = ""
    raw_digest: str = ""

    def of_class(self, name: str) -> "CaseScan":
        """Return what was seen of the masks of one class alone, of labels that overlap."""
        own = {source for source, each in zip(self.case.masks, self.case.classes, strict=True) if each == name}
        masks = tuple(mask for mask in self.masks if mask.source in own)
        return replace(self, masks=masks, raw_digest="")


@dataclass(frozen=True)
class Fault:
    """A file that cannot be used: "unreadable", or of another "size" than its image."""

    kind: str
    case: Case
    source: Source
    problem: DataError


Seen = tuple[CaseScan | None, tuple[Fault, ...]]
Track = Callable[[Iterator[Seen], int], Iterator[Seen]]


def digest(array: Array) -> str:
    """Return a hash of decoded pixels, their shape and type; three equal channels count as one."""
    array = np.squeeze(one_channel(array)) if array.ndim == 3 else array
    content = hashlib.blake2b(f"{array.shape} {array.dtype.str}".encode(), digest_size=16)
    content.update(np.ascontiguousarray(array).data)
    return content.hexdigest()


def image_digest(image: Array) -> str:
    """Return the `digest` of an image (H, W, C), "" if all of it has one value: blank pictures are no copies."""
    return digest(image) if (image != image[:1, :1]).any() else ""


def scan_cases(
    cases: Sequence[Case], table: Labels | None, *, track: Track = lambda seen, _: seen, threads: int = 4
) -> tuple[list[CaseScan], list[Fault]]:
    """Look at all cases.

    Args:
        cases: what to look at.
        table: maps mask values to classes; None counts the values alone.
        track: wraps the pass (iterator, count), for a progress bar.
        threads: that decode.

    Returns:
        The cases whose image can be read, in order, and the files that cannot be used.
    """
    looks: list[CaseScan] = []
    faults: list[Fault] = []
    for look, bad in track(_ahead(lambda case: scan_case(case, table), cases, threads), len(cases)):
        looks += [look] if look else []
        faults += bad
    return looks, faults


def scan_case(case: Case, table: Labels | None) -> Seen:
    """Decode the files of one case and measure them."""
    try:
        image = read_image(case.image)
    except DataError as problem:
        return None, (Fault("unreadable", case, case.image, problem),)
    masks: list[MaskScan] = []
    indices: list[Array | None] = []
    raws: list[Array] = []
    faults: list[Fault] = []
    for number, source in enumerate(case.masks):
        own = None if table is None else table_of(table, case, number)
        try:
            raw = gray_if_gray(read_mask(source, own is not None and own.by_value))
        except DataError as problem:
            faults.append(Fault("unreadable", case, source, problem))
            continue
        if raw.shape[:2] != image.shape[:2]:
            faults.append(Fault("size", case, source, _other_size(case.image, image, source, raw)))
            continue
        look = scan_mask(source, raw, own)
        masks.append(look)
        raws.append(raw)
        indices.append(encoded(raw, own, look) if own else None)
    labels = None
    if table is not None and indices and not faults and all(mask is not None for mask in indices):
        labels = merged(table, case, [mask for mask in indices if mask is not None])
    plain = one_channel(image)
    return CaseScan(
        case,
        _facts(case, plain, masks, labels, table),
        image.shape[2],
        image_digest(plain),
        _few_values(plain),
        image_thumbnail(plain),
        tuple(masks),
        None if labels is None else label_thumbnail(labels),
        "" if labels is None else digest(labels),
        digest(raws[0]) if len(raws) == 1 else "",
    ), tuple(faults)


def _ahead(reading: Callable[[Case], Seen], cases: Sequence[Case], threads: int) -> Iterator[Seen]:
    """Yield what `reading` returns, in order, worked out by threads that are never more than a few cases ahead."""
    with ThreadPoolExecutor(threads) as pool:
        waiting = iter(cases)
        ahead: list[Future[Seen]] = [pool.submit(reading, case) for case in islice(waiting, 2 * threads)]
        try:
            while ahead:
                yield ahead.pop(0).result()
                ahead.extend(pool.submit(reading, case) for case in islice(waiting, 1))
        finally:
            for future in ahead:
                future.cancel()


def _few_values(image: Array) -> bool:
    thinned = image[:: max(1, image.shape[0] // 256), :: max(1, image.shape[1] // 256)]
    return all(len(np.unique(thinned[..., c])) <= FEW for c in range(image.shape[2]))


def _facts(case: Case, image: Array, masks: Sequence[MaskScan], labels: Array | None, table: Labels | None) -> CaseFacts:
    values: Counter[str] = Counter()
    for mask in masks:
        values.update({str(value): count for value, count in mask.counts.items()})
    shares: tuple[float, ...] = ()
    if labels is not None and table is not None:
        labelling = MULTILABEL if isinstance(table, OverlappingTable) else MULTICLASS
        pixels = labelling.pixels(labels, len(table.names))
        shares = tuple((pixels / max(1, np.count_nonzero(labels != IGNORE))).tolist())
    height, width, channels = image.shape
    low, high = float(image.min()), float(image.max())
    return CaseFacts(case.id, (height, width), channels, str(image.dtype), low, high, dict(values), shares)


def _other_size(source: Source, image: Array, mask: Source, raw: Array) -> DataError:
    return DataError(
        f"{mask} is {raw.shape[0]}x{raw.shape[1]} (height x width) and its image {source} is {image.shape[0]}x{image.shape[1]}",
        "A mask has the size of its image",
        "Make the mask again at the image's size, or take the pair out of the folder",
    )
