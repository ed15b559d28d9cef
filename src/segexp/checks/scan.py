"""Scan all cases: each is decoded once and reduced to facts and a thumbnail. Errors are collected, not raised."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from segexp.checks.issues import CaseFacts
from segexp.checks.nodata import Extremes, find_extremes
from segexp.data.annotations.files import is_annotation
from segexp.data.annotations.rasterize import ShapeFacts
from segexp.data.io.images import mask_nodata, pages_left_out, read_mask, read_stored, size_mismatch, stored_type
from segexp.data.labels.class_table import (
    UNCLAIMED,
    LabelTable,
    draw_labels,
    gray_if_gray,
    pack_colours,
    unclaimed_labels,
    value_counts,
)
from segexp.data.labels.modes import MULTICLASS, MULTILABEL
from segexp.data.labels.multilabel import Labels, OverlappingTable, merge_case_masks, table_of
from segexp.data.labels.regions import SOFT_BORDER, Region, find_regions, slope_share
from segexp.data.labels.spec import Value, gray, packed
from segexp.data.statistics import read_all
from segexp.errors import DataError
from segexp.types import IGNORE, Case, Source

Array = np.ndarray[Any, np.dtype[Any]]

SIDE = 128
"""Side of a thumbnail in pixels."""
MIDDLE = 512
"""Larger masks are subsampled to about this side before area averaging."""


def one_channel(image: Array) -> Array:
    """Return (H, W, 1) of an image (H, W, 3) with three equal channels, any other unchanged."""
    if image.shape[2] != 3 or not np.array_equal(image[..., 0], image[..., 1]):
        return image
    return image[..., :1] if np.array_equal(image[..., 0], image[..., 2]) else image


def image_thumbnail(image: Array) -> Array:
    """Return an image (H, W, C) as (SIDE, SIDE, 1 or 3) uint8 by area averaging.

    8-bit values are kept; others are stretched between their 0.5th and 99.5th percentile, per image. Of two channels the first
    is used, of four and more the first three.
    """
    image = image[..., :3] if image.shape[2] >= 3 else image[..., :1]
    wide = image if image.dtype == np.uint8 else image.astype(np.float32)
    small = cv2.resize(wide, (SIDE, SIDE), interpolation=cv2.INTER_AREA).reshape(SIDE, SIDE, -1)
    if small.dtype == np.uint8:
        return np.asarray(small)
    low, high = np.percentile(small, (0.5, 99.5))
    return np.asarray(np.rint(np.clip((small - low) / max(float(high - low), 1e-12), 0, 1) * 255).astype(np.uint8))


def label_thumbnail(labels: Array) -> Array:
    """Return a mask (H, W) uint8 as (SIDE, SIDE): the majority class of each cell."""
    step = max(1, min(labels.shape) // MIDDLE)
    labels = np.ascontiguousarray(labels[step // 2 :: step, step // 2 :: step])
    present = np.flatnonzero(np.bincount(labels.ravel(), minlength=256)).astype(np.uint8)
    shares = [cv2.resize((labels == k).astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_AREA) for k in present]
    return np.asarray(present[np.argmax(shares, axis=0)])


def to_gray(picture: Array) -> Array:
    """Return a thumbnail as (SIDE, SIDE) float32, ITU-R BT.601 luma."""
    wide = picture.astype(np.float32)
    return np.asarray(wide[..., 0] if wide.shape[2] == 1 else wide @ np.array([0.299, 0.587, 0.114], np.float32))


def one_hot(labels: Array, classes: int) -> Array:
    """Return labels (…, H, W) as (…, K, H, W) float32; ignored pixels and classes beyond K are 0."""
    found = labels[..., None, :, :] == np.arange(min(classes, IGNORE), dtype=np.uint8)[:, None, None]
    return np.asarray(found.astype(np.float32))


SOFT = 3
"""Number of values between those of two classes from which a mask is soft; fewer are stray values, but for `BANDS`."""
BANDS = (0.9, 0.01)
"""Minimum share of slopes, and of the pixels, of one or two values along borders."""
CLEAR = 0.8
"""Minimum share of the pixels of a soft mask near one of the two values; images have less."""
STRAY = 64
"""Maximum number of unclaimed values in a mask that is encoded."""


@dataclass(frozen=True)
class MaskScan:
    """Summary of one mask file.

    Attributes:
        source: the file.
        counts: pixels by value or colour.
        unclaimed: counts of values without a class.
        slope: see `slope_share`.
        regions: of each value; none for two values of two classes.
        nodata: the value that the file declares as nodata and the class that it is read as; None if there is no such class.
        shapes: that the mask is drawn from; None for an image.
    """

    source: Source
    counts: dict[Value, int]
    unclaimed: dict[Value, int]
    slope: float
    regions: tuple[Region, ...]
    nodata: tuple[int, str] | None = None
    shapes: ShapeFacts | None = None

    def soft(self, ends: tuple[int, int] | None) -> bool:
        """Return whether this is a two-class mask with soft borders: most pixels near the two values, slopes in between."""
        if ends is None or not (between := self.between(*ends)):
            return False
        total = sum(self.counts.values())
        slope, share = (SOFT_BORDER, 0.0) if len(between) >= SOFT else BANDS
        if self.slope < slope or sum(self.counts[value] for value in between) < share * total:
            return False
        margin = max(1, (ends[1] - ends[0]) // 8)
        near = sum(n for v, n in self.counts.items() if not isinstance(v, str) and min(abs(v - end) for end in ends) <= margin)
        return near >= CLEAR * total

    def between(self, low: int, high: int) -> list[int]:
        """Return the unclaimed gray values between two values, sorted."""
        return sorted(v for v in self.unclaimed if not isinstance(v, str) and low < v < high)


def scan_mask(source: Source, raw: Array, table: LabelTable | None) -> MaskScan:
    """Count the values of a mask (H, W), or (H, W, 3) in colour."""
    colour = raw.ndim == 3
    counts = value_counts(raw, colour=colour)
    unclaimed = _unclaimed(counts, colour, table)
    if not unclaimed and len(counts) < 3 and (table is None or len(table.classes) == 2):
        return MaskScan(source, counts, unclaimed, 0.0, ())
    slope = slope_share(cv2.cvtColor(raw, cv2.COLOR_RGB2GRAY) if colour else raw)
    return MaskScan(source, counts, unclaimed, slope, tuple(find_regions(pack_colours(raw) if colour else raw)))


def two_grays(table: Labels | None) -> tuple[int, int] | None:
    """Return the lower and higher gray value of a two-class table with one gray value each, else None."""
    if table is None or len(table.classes) != 2 or any(len(values) != 1 for values in table.classes.values()):
        return None
    found = [gray(values[0]) for values in table.classes.values()]
    return (min(found), max(found)) if None not in found else None  # type: ignore[type-var, return-value]


def _unclaimed(counts: dict[Value, int], colour: bool, table: LabelTable | None) -> dict[Value, int]:
    if table is None or table.threshold is not None or table.takes_any:
        return {}
    claimed = [value for values in (*table.classes.values(), table.ignore) for value in values]
    known = {packed(value) if colour else gray(value) for value in claimed}
    return {value: count for value, count in counts.items() if (packed(value) if colour else value) not in known}


def encode_leniently(raw: Array, table: LabelTable, scan: MaskScan) -> Array | None:
    """Return class indices (H, W) uint8; soft values go to the nearer class, other unclaimed values are ignored.

    None where there are too many unclaimed values.
    """
    if not scan.unclaimed:
        return table.encode(raw, str(scan.source))
    ends = two_grays(table)
    if ends and scan.soft(ends):
        return LabelTable(table.classes, table.ignore, sum(ends) / 2).encode(raw)
    whole = all(isinstance(value, int | str) and int(packed(value) or 0) >= 0 for value in scan.unclaimed)
    if whole and len(scan.unclaimed) <= STRAY:
        return LabelTable(table.classes, [*table.ignore, *scan.unclaimed]).encode(raw)
    return None


FEW = 12
"""Maximum number of distinct values in an image that may be a mask."""


@dataclass(frozen=True)
class CaseScan:
    """Summary of one case.

    Attributes:
        case: the case.
        facts: size, values and shares.
        stored: channels in the file; `facts.channels` is 1 where they are all equal.
        digest: of the decoded image, see `image_digest`.
        few: whether the image has at most `FEW` distinct values.
        picture: thumbnail (SIDE, SIDE, 1 or 3) uint8.
        masks: one entry per readable mask file.
        labels: thumbnail (SIDE, SIDE) uint8 of class indices, 255 = ignore; None where a mask cannot be encoded.
        mask_digest: of the full-size class indices; "" without labels.
        raw_digest: of the values of a single mask file, comparable with `digest`; "" for several files.
        transparency: channels of the file with those that are declared as transparency, left out and not uniform; 0 without.
        left_out: files of the case with pages that are no pictures, and how many.
        nodata: number of pixels without data.
        extremes: of the channels, see `find_extremes`.
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
    transparency: int = 0
    left_out: tuple[tuple[str, int], ...] = ()
    nodata: int = 0
    extremes: tuple[Extremes, ...] = ()

    def of_class(self, name: str) -> "CaseScan":
        """Return the scan restricted to the masks of one overlapping class."""
        own = {source for source, each in zip(self.case.masks, self.case.classes, strict=True) if each == name}
        masks = tuple(mask for mask in self.masks if mask.source in own)
        return replace(self, masks=masks, raw_digest="")


@dataclass(frozen=True)
class Fault:
    """An unusable file: "unreadable", or of another "size" than its image."""

    kind: str
    case: Case
    source: Source
    problem: DataError


Seen = tuple[CaseScan | None, tuple[Fault, ...]]
Track = Callable[[Iterator[Seen], int], Iterator[Seen]]


def digest(array: Array) -> str:
    """Return a hash of pixels, shape and type; three equal channels count as one."""
    array = np.squeeze(one_channel(array)) if array.ndim == 3 else array
    content = hashlib.blake2b(f"{array.shape} {array.dtype.str}".encode(), digest_size=16)
    content.update(np.ascontiguousarray(array).data)
    return content.hexdigest()


def image_digest(image: Array) -> str:
    """Return the `digest` of an image (H, W, C), "" for uniform images, which are no copies."""
    return digest(image) if (image != image[:1, :1]).any() else ""


def scan_cases(
    cases: Sequence[Case],
    table: Labels | None,
    channels: int | None = None,
    *,
    track: Track = lambda seen, _: seen,
    threads: int = 4,
) -> tuple[list[CaseScan], list[Fault]]:
    """Scan all cases; without a table, mask values are only counted. `track` wraps the iterator (iterator, count).

    Transparency counts as a channel where `channels` says so, see `read_image`.

    Returns:
        The cases with a readable image, in order, and the unusable files.
    """
    scans: list[CaseScan] = []
    faults: list[Fault] = []
    for scan, bad in track(read_all(lambda case: scan_case(case, table, channels), cases, threads), len(cases)):
        scans += [scan] if scan else []
        faults += bad
    return scans, faults


def scan_case(case: Case, table: Labels | None, channels: int | None = None) -> Seen:
    """Decode and scan one case."""
    try:
        image, alpha, valid = read_stored(case.image, channels)
    except DataError as problem:
        return None, (Fault("unreadable", case, case.image, problem),)
    masks: list[MaskScan] = []
    indices: list[Array | None] = []
    raws: list[Array] = []
    faults: list[Fault] = []
    for number, source in enumerate(case.masks):
        own = None if table is None else table_of(table, case, number)
        try:
            drawn = draw_labels(source, own, case.image, image.shape[:2]) if own and is_annotation(source.path) else None
            raw = drawn.codes if drawn else gray_if_gray(read_mask(source, own is not None and own.by_value))
        except DataError as problem:  # an entry of a file goes with its image
            faults.append(Fault("unreadable", case, source if source.entry is None else case.image, problem))
            continue
        if raw.shape[:2] != image.shape[:2]:
            faults.append(Fault("size", case, source, size_mismatch(source, raw.shape, case.image, image.shape)))
            continue
        if drawn and own:
            counts: dict[Value, int] = {name: count for name, count in drawn.facts.pixels.items() if name not in own.others}
            masks.append(MaskScan(source, counts, unclaimed_labels(drawn.facts, own), 0.0, (), shapes=drawn.facts))
            raws.append(raw)
            indices.append(np.where(raw == UNCLAIMED, np.uint8(IGNORE), raw))
            continue
        tag = mask_nodata(source)
        name = None if own is None or tag is None else own.owner(tag)
        own = None if own is None else own.ignoring(tag)
        scan = scan_mask(source, raw, own)
        if own is not None and tag is not None and name is not None and tag in scan.counts and name in own.classes:
            scan = replace(scan, nodata=(tag, name))
        masks.append(scan)
        raws.append(raw)
        indices.append(encode_leniently(raw, own, scan) if own else None)
    labels = None
    if table is not None and indices and not faults and all(mask is not None for mask in indices):
        labels = merge_case_masks(table, case, [mask for mask in indices if mask is not None])
        labels = labels if valid is None else np.where(valid, labels, np.uint8(IGNORE))
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
        0 if alpha is None or alpha.min() == alpha.max() else image.shape[2] + alpha.shape[2],
        tuple((str(source.path), pages_left_out(source.path)) for source in (case.image, *(mask.source for mask in masks))),
        0 if valid is None else int(np.count_nonzero(~valid)),
        find_extremes(plain, valid),
    ), tuple(faults)


def _few_values(image: Array) -> bool:
    thinned = image[:: max(1, image.shape[0] // 256), :: max(1, image.shape[1] // 256)]
    return all(len(np.unique(thinned[..., c])) <= FEW for c in range(image.shape[2]))


def _facts(case: Case, image: Array, masks: Sequence[MaskScan], labels: Array | None, table: Labels | None) -> CaseFacts:
    values: Counter[str] = Counter()
    for mask in masks:
        values.update({str(value): count for value, count in mask.counts.items()})
    shares: tuple[float, ...] = ()
    height, width, channels = image.shape
    ignored = 0
    if labels is not None and table is not None:
        labelling = MULTILABEL if isinstance(table, OverlappingTable) else MULTICLASS
        pixels, ignored = labelling.pixels(labels, len(table.names)), int(np.count_nonzero(labels == IGNORE))
        shares = tuple((pixels / max(1, labels.size - ignored)).tolist())
    low, high = float(image.min()), float(image.max())
    kind = stored_type(case.image, image)
    return CaseFacts(case.id, (height, width), channels, kind, low, high, dict(values), shares, ignored)
