"""Mask values to class indices.

A class is a gray value, a colour "#RRGGBB", `ANY`, or a list of these. The gray value v equals the colour (v, v, v). The values
of annotated shapes are their labels; 0 is where none is, and other whole numbers are labels that are written so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from segexp.config.overrides import shell_words
from segexp.data.annotations.files import is_annotation
from segexp.data.annotations.rasterize import DrawnMask, ShapeFacts, draw_mask
from segexp.data.io.images import image_size, mask_nodata, read_mask, size_mismatch
from segexp.data.labels.regions import SOFT_BORDER, find_numbering, find_regions, slope_share
from segexp.data.labels.spec import (
    ANY,
    Colour,
    Value,
    check_once,
    check_threshold,
    claim,
    class_colours,
    gray,
    own_colour,
    packed,
    parse_classes,
    parse_values,
    rgb,
)
from segexp.errors import DataError, listed
from segexp.types import IGNORE, Case, Source

Array = npt.NDArray[Any]

UNCLAIMED = 254
"""Code of pixels whose value belongs to no class."""


def value_counts(pixels: Array, colour: bool) -> dict[Value, int]:
    """Count pixels by value for (H, W) or (N,), by "#RRGGBB" for (H, W, 3) or (N, 3) with `colour`."""
    if colour:
        values, counts = np.unique(pack_colours(pixels), return_counts=True)
        return {f"#{int(v):06X}": int(n) for v, n in zip(values, counts, strict=True)}
    if pixels.dtype in (np.uint8, np.uint16):
        counts = np.bincount(pixels.ravel())
        return {int(v): int(counts[v]) for v in np.flatnonzero(counts)}
    values, counts = np.unique(pixels, return_counts=True)
    return {int(v) if float(v).is_integer() else float(v): int(n) for v, n in zip(values, counts, strict=True)}  # type: ignore[misc]


def gray_if_gray(raw: Array) -> Array:
    """Return one channel of a colour image with equal channels; 16-bit colours become 8-bit."""
    if raw.ndim == 2:
        return raw
    if np.array_equal(raw[..., 0], raw[..., 1]) and np.array_equal(raw[..., 0], raw[..., 2]):
        return raw[..., 0]
    if raw.dtype == np.uint16:
        return (raw if raw.max() <= 255 else raw >> 8).astype(np.uint8)
    return raw


def apply_lookup(raw: Array, claims: tuple[tuple[int, int], ...], other: int = UNCLAIMED) -> Array:
    """Map values (H, W) of any dtype, or (H, W, 3) uint8, to codes (H, W) uint8.

    Claims are pairs of a gray value (or packed colour 0xRRGGBB) and its code; the code of every other value is `other`.
    """
    if raw.ndim == 3:
        return np.take(_colour_lookup(claims, other), pack_colours(raw))
    if raw.dtype in (np.uint8, np.uint16):
        lookup = np.full(np.iinfo(raw.dtype).max + 1, other, np.uint8)
        for value, index in claims:
            if 0 <= value < len(lookup):
                lookup[value] = index
        return np.take(lookup, raw)
    out = np.full(raw.shape, other, np.uint8)  # soft or negative values: rare
    for value, index in claims:
        out[raw == value] = index
    return out


@lru_cache(maxsize=2)
def _colour_lookup(claims: tuple[tuple[int, int], ...], other: int) -> Array:
    """Return the 16 MiB lookup table of all colours; cached here so that it is not pickled to workers."""
    lookup = np.full(1 << 24, other, np.uint8)
    for value, index in claims:
        lookup[value] = index
    return lookup


def pack_colours(colours: Array) -> Array:
    """Return colours (…, 3) as 0xRRGGBB."""
    wide = colours.astype(np.int32)
    return (wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2]


@dataclass(frozen=True)
class LabelTable:
    """Mask values of exclusive classes.

    Attributes:
        classes: values by name in index order, a background first; accepts a value, a colour or a list, stored as tuples.
        ignore: values ignored by loss and metrics; they become 255.
        threshold: for soft masks of two classes: pixels above it get the class with the higher value.
        background: whether the first class is the background.
        annotated: the masks are drawn from annotated shapes, and values are their labels.
        others: labels that are read as the first class.
    """

    classes: Mapping[str, Any]
    ignore: Any = ()
    threshold: float | None = None
    background: bool = True
    annotated: bool = False
    others: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Validate and normalise.

        Raises:
            ConfigError: fewer than two classes, a class without a value, a value of two classes, a name that is no text.
        """
        object.__setattr__(self, "classes", parse_classes(self.classes, self.annotated))
        object.__setattr__(self, "ignore", parse_values(self.ignore, "data.ignore", empty=True, labels=self.annotated))
        check_once(self.classes, self.ignore)
        if self.threshold is not None:
            check_threshold(self.threshold, self.classes)

    @property
    def names(self) -> tuple[str, ...]:
        """Class names by index."""
        return tuple(self.classes)

    @property
    def palette(self) -> tuple[Colour, ...]:
        """One colour per class: its first own colour, else a distinct colour-blind safe one."""
        return class_colours([own_colour(values) for values in self.classes.values()], self.background)

    @property
    def by_value(self) -> bool:
        """Whether no class is a colour, so that palette masks are read as indices."""
        return all(isinstance(value, int) or value == ANY for values in self.classes.values() for value in values)

    @property
    def takes_any(self) -> bool:
        """Whether a class takes every value that nothing else names."""
        return any(ANY in values for values in self.classes.values())

    def owner(self, value: int) -> str | None:
        """Return the class, or "data.ignore", that names a gray value; None if nothing does."""
        named = [*self.classes.items(), ("data.ignore", self.ignore)]
        return next((name for name, values in named if value in [gray(each) for each in values]), None)

    def ignoring(self, nodata: int | None) -> "LabelTable":
        """Return the table that also ignores the nodata value of a mask (see `mask_nodata`), unless a class has this value."""
        return self if nodata is None or self.owner(nodata) else replace(self, ignore=(*self.ignore, nodata))

    def encode(self, mask_raw: Array, name: str = "the mask") -> Array:
        """Return class indices (H, W) uint8, 255 where ignored, of a mask from `read_mask`.

        Raises:
            DataError: a value belongs to no class, or is NaN; `name` is the file.
        """
        raw = gray_if_gray(mask_raw)
        if raw.dtype.kind == "f" and np.isnan(raw).any():
            raise DataError(
                f"{name} has {pixel_text(int(np.isnan(raw).sum()))} of the value NaN", do="Replace them by a number"
            )
        if self.threshold is not None:
            return self._encode_soft(raw)
        rest = next((index for index, values in enumerate(self.classes.values()) if ANY in values), UNCLAIMED)
        out = apply_lookup(raw, self._claims(raw.ndim == 3), rest)
        if (out == UNCLAIMED).any():
            raise self._unclaimed(raw, out == UNCLAIMED, name)
        return out

    def code(self, label: str | int) -> int:
        """Return the class index of a label of shapes, or of 0 for no shape; else `IGNORE` or `UNCLAIMED`."""
        codes: dict[str | int, int] = dict.fromkeys(self.others, 0)
        for index, values in [*enumerate(self.classes.values()), (IGNORE, self.ignore)]:
            codes |= {str(value) if value else value: index for value in values if value != ANY}
        rest = next((index for index, values in enumerate(self.classes.values()) if ANY in values), UNCLAIMED)
        return codes.get(label, rest if label else UNCLAIMED)

    def read(self, case: Case, size: tuple[int, ...] | None = None) -> Array:
        """Read and merge the masks of a case, see `read_labels`."""
        return read_labels(case.masks, self, case.image, size)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for a checkpoint."""
        classes = {name: list(values) for name, values in self.classes.items()}
        return {"classes": classes, "ignore": list(self.ignore), "threshold": self.threshold}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "LabelTable":
        """Inverse of `as_dict`; also accepts the keys of a data section."""
        return cls(plain["classes"], plain["ignore"], plain["threshold"])

    def _claims(self, colour: bool) -> tuple[tuple[int, int], ...]:
        """Return pairs (gray value or packed colour, class index)."""
        pairs = [(value, index) for index, values in enumerate(self.classes.values()) for value in values]
        pairs += [(value, IGNORE) for value in self.ignore]
        form = packed if colour else gray
        return tuple((form(value), index) for value, index in pairs if form(value) is not None)  # type: ignore[misc]

    def _encode_soft(self, raw: Array) -> Array:
        level = raw @ np.array([0.299, 0.587, 0.114]) if raw.ndim == 3 else raw
        first, second = (min(gray(value) or 0 for value in values) for values in self.classes.values())
        out = np.where(level > self.threshold, int(second >= first), int(second < first)).astype(np.uint8)
        for value in self.ignore:
            out[raw == gray(value) if raw.ndim == 2 else (raw == rgb(value)).all(-1)] = IGNORE
        return out

    def _unclaimed(self, raw: Array, where: Array, name: str) -> DataError:
        return self.unclaimed(value_counts(raw[where], colour=raw.ndim == 3), name, raw)

    def unclaimed(self, counts: Mapping[Value, int], name: str, raw: Array | None = None) -> DataError:
        """Return an error on the pixels of values or labels that no class claims; `name` is the file, `raw` its values."""
        found = sorted(counts.items(), key=lambda item: -item[1])
        value, count = found[0]
        others = [f"{other} ({pixel_text(n)})" for other, n in found[1:]]
        claimed = listed([f"{v} ({n})" for n, values in self.classes.items() for v in values], 12)
        ignored = f", ignored are {listed(self.ignore)}" if self.ignore else ""
        return DataError(
            f"{name} has {pixel_text(count)} of the {'label' if self.annotated else 'value'} {value}, which no class claims"
            + (f"; also {listed(others, 4)}" if others else ""),
            f"Claimed are {claimed}{ignored}",
            self._advice(found, raw),
        )

    def _advice(self, found: list[tuple[Value, int]], raw: Array | None) -> str:
        value, last = found[0][0], self.names[-1]
        grays = sorted(g for values in self.classes.values() for v in values if (g := gray(v)) is not None)
        if raw is not None and raw.ndim == 2 and len(self.classes) == 2 and len(grays) == 2 and len(found) > 3:
            low, high = grays
            margin = max(1, (high - low) // 8)
            near = float(((np.abs(raw - float(low)) <= margin) | (np.abs(raw - float(high)) <= margin)).mean())
            if near > 0.5 and high - low > 1 and slope_share(raw) >= SOFT_BORDER:
                middle = (low + high) // 2
                return f"The mask looks JPEG-compressed or anti-aliased: type data.threshold={middle}"
            if find_numbering([find_regions(raw)]):
                return f"If the values number objects, type {shell_words({'data.classes': {self.names[0]: 0, last: ANY}})}"
        return claim_advice(self.classes, self.ignore, value, last)


def claim_advice(
    classes: Mapping[str, Sequence[Value]], ignored: Sequence[Value], value: Value, owner: str, owner_first: bool = False
) -> str:
    """Return what to type for a value that no class claims: ignore it, or give it to the class `owner`."""
    if not isinstance(value, str) and value != int(value):
        return "A mask value is a whole number: save the masks with one for each class"
    ignore = shell_words({"data.ignore": [*ignored, value]})
    given = claim({name: list(values) for name, values in classes.items()}, owner, [*classes[owner], value])
    if owner_first:
        return f"Type {given} to count it as {owner}, or {ignore} to leave such pixels out"
    return f"Type {ignore} to leave such pixels out, or give it to a class: {given}"


def pixel_text(count: int) -> str:
    """Return "1 pixel", "2 pixels", …."""
    return f"{count} pixel{'s' * (count != 1)}"


def read_labels(
    sources: Sequence[Source], table: LabelTable, image: Source | None = None, size: tuple[int, ...] | None = None
) -> Array:
    """Read and merge the masks of one image, (H, W) uint8 class index; all must have `size` (None: any common size).

    Raises:
        DataError: a file is broken, has an unclaimed value, or another size.
    """
    if len(sources) > 1 and not table.background:
        raise DataError(
            f"{image} has {len(sources)} masks, {sources[0]} and others, and no class is the background (data.background=null)",
            "Several masks of one image are laid over each other where they are not background",
            "Merge them into one file, or name the background: data.background=CLASS",
        )
    encoded = []
    for source in sources:
        drawn = draw_labels(source, table, image, size) if is_annotation(source.path) else None
        raw = read_mask(source, table.by_value) if drawn is None else drawn.codes
        if size is not None and raw.shape[:2] != size:
            raise size_mismatch(source, raw.shape, image, size)
        if drawn is not None and (missed := unclaimed_labels(drawn.facts, table)):
            raise table.unclaimed(missed, str(source))
        encoded.append(table.ignoring(mask_nodata(source)).encode(raw, str(source)) if drawn is None else raw)
    return merge_masks(encoded, str(sources[0]))


def draw_labels(source: Source, table: LabelTable, image: Source | None, size: tuple[int, ...] | None) -> DrawnMask:
    """Draw the annotations of an image as class indices, `UNCLAIMED` where no class has the label; see `draw_mask`."""
    height, width = size or image_size(image or source)
    return draw_mask(source, table.code, image or source, (height, width))


def unclaimed_labels(facts: ShapeFacts, table: LabelTable) -> dict[Value, int]:
    """Return the pixels of each label that no class has."""
    return {label: count for label, count in facts.pixels.items() if table.code(label) == UNCLAIMED}


def merge_masks(encoded: Sequence[Array], name: str = "the masks") -> Array:
    """Merge masks (H, W) uint8 of one image; foreground of later masks wins.

    Raises:
        DataError: their sizes differ; `name` is used in the message.
    """
    out = encoded[0].copy()
    for mask in encoded[1:]:
        if mask.shape != out.shape:
            raise DataError(
                f"The masks of one image have different sizes, {out.shape} and {mask.shape} (height, width), beside {name}",
                "All masks of an image have its size",
                "Make the odd one again",
            )
        np.copyto(out, mask, where=mask != 0)
    return out
