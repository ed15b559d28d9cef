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

import numpy as np

from segexp.checking.findings import CaseFacts
from segexp.checking.masks import MaskLook, encoded, look_at_mask
from segexp.checking.small import one_channel, small_labels, small_picture
from segexp.data.files.images import read_image, read_mask
from segexp.data.labels.coding import gray_if_gray
from segexp.data.labels.overlapping import Labels, OverlappingTable, merged, table_of
from segexp.errors import DataError
from segexp.labelling import EXCLUSIVE, OVERLAPPING
from segexp.types import IGNORE, Case, Source

Array = np.ndarray[Any, np.dtype[Any]]

FEW = 12
"""An image with no more different values than these may be a mask."""


@dataclass(frozen=True)
class Look:
    """What was seen of one case.

    Attributes:
        case: the case.
        facts: sizes, values and the like.
        stored: channels in the file; `facts.channels` is 1 where they are all equal.
        digest: of the decoded image, see `picture_digest`; equal for equal pictures.
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
    masks: tuple[MaskLook, ...] = ()
    labels: Array | None = None
    mask_digest: str = ""
    raw_digest: str = ""

    def of_class(self, name: str) -> "Look":
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


Seen = tuple[Look | None, tuple[Fault, ...]]
Track = Callable[[Iterator[Seen], int], Iterator[Seen]]


def digest(array: Array) -> str:
    """Return a hash of decoded pixels, their shape and type; three equal channels count as one."""
    array = np.squeeze(one_channel(array)) if array.ndim == 3 else array
    content = hashlib.blake2b(f"{array.shape} {array.dtype.str}".encode(), digest_size=16)
    content.update(np.ascontiguousarray(array).data)
    return content.hexdigest()


def picture_digest(image: Array) -> str:
    """Return the `digest` of an image (H, W, C), "" if all of it has one value: blank pictures are no copies."""
    return digest(image) if (image != image[:1, :1]).any() else ""


def surveyed(
    cases: Sequence[Case], table: Labels | None, *, track: Track = lambda seen, _: seen, threads: int = 4
) -> tuple[list[Look], list[Fault]]:
    """Look at all cases.

    Args:
        cases: what to look at.
        table: maps mask values to classes; None counts the values alone.
        track: wraps the pass (iterator, count), for a progress bar.
        threads: that decode.

    Returns:
        The cases whose image can be read, in order, and the files that cannot be used.
    """
    looks: list[Look] = []
    faults: list[Fault] = []
    for look, bad in track(_ahead(lambda case: look_at(case, table), cases, threads), len(cases)):
        looks += [look] if look else []
        faults += bad
    return looks, faults


def look_at(case: Case, table: Labels | None) -> Seen:
    """Decode the files of one case and measure them."""
    try:
        image = read_image(case.image)
    except DataError as problem:
        return None, (Fault("unreadable", case, case.image, problem),)
    masks: list[MaskLook] = []
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
        look = look_at_mask(source, raw, own)
        masks.append(look)
        raws.append(raw)
        indices.append(encoded(raw, own, look) if own else None)
    labels = None
    if table is not None and indices and not faults and all(mask is not None for mask in indices):
        labels = merged(table, case, [mask for mask in indices if mask is not None])
    plain = one_channel(image)
    return Look(
        case,
        _facts(case, plain, masks, labels, table),
        image.shape[2],
        picture_digest(plain),
        _few_values(plain),
        small_picture(plain),
        tuple(masks),
        None if labels is None else small_labels(labels),
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


def _facts(case: Case, image: Array, masks: Sequence[MaskLook], labels: Array | None, table: Labels | None) -> CaseFacts:
    values: Counter[str] = Counter()
    for mask in masks:
        values.update({str(value): count for value, count in mask.counts.items()})
    shares: tuple[float, ...] = ()
    if labels is not None and table is not None:
        labelling = OVERLAPPING if isinstance(table, OverlappingTable) else EXCLUSIVE
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
