"""From the raw values of a mask to class indices, by a table that the configuration gives.

A class is a gray value, a colour written "#RRGGBB", or a list of such. A gray mask and a colour mask with three equal channels
mean the same: value v is the colour (v, v, v).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from segexp.data.io.images import read_mask
from segexp.data.labels.palettes import Colour, class_colours
from segexp.data.labels.spec import Value, check_once, check_threshold, checked_classes, checked_values, gray, packed, rgb
from segexp.errors import DataError, listed
from segexp.types import IGNORE, Case, Source

Array = npt.NDArray[Any]

UNCLAIMED = 254
"""The code of pixels whose value nobody claims."""


def value_counts(pixels: Array, colour: bool) -> dict[Value, int]:
    """Count the pixels of each value: of (H, W) or (N,) by number, with `colour` of (H, W, 3) or (N, 3) by "#RRGGBB"."""
    if colour:
        values, counts = np.unique(_pack(pixels), return_counts=True)
        return {f"#{int(v):06X}": int(n) for v, n in zip(values, counts, strict=True)}
    if pixels.dtype in (np.uint8, np.uint16):
        counts = np.bincount(pixels.ravel())
        return {int(v): int(counts[v]) for v in np.flatnonzero(counts)}
    values, counts = np.unique(pixels, return_counts=True)
    return {int(v) if float(v).is_integer() else float(v): int(n) for v, n in zip(values, counts, strict=True)}  # type: ignore[misc]


def gray_if_gray(raw: Array) -> Array:
    """Return one channel of a colour picture whose three channels are equal; 16-bit colours become 8-bit ones."""
    if raw.ndim == 2:
        return raw
    if np.array_equal(raw[..., 0], raw[..., 1]) and np.array_equal(raw[..., 0], raw[..., 2]):
        return raw[..., 0]
    if raw.dtype == np.uint16:
        return (raw if raw.max() <= 255 else raw >> 8).astype(np.uint8)
    return raw


def coded(raw: Array, claims: tuple[tuple[int, int], ...]) -> Array:
    """Return (H, W) uint8 codes.

    Args:
        raw: (H, W) of any type, or (H, W, 3) uint8.
        claims: pairs of a gray value, or a packed colour 0xRRGGBB for (H, W, 3), and its code.
    """
    if raw.ndim == 3:
        return np.take(_colour_lookup(claims), _pack(raw))
    if raw.dtype in (np.uint8, np.uint16):
        lookup = np.full(np.iinfo(raw.dtype).max + 1, UNCLAIMED, np.uint8)
        for value, index in claims:
            if 0 <= value < len(lookup):
                lookup[value] = index
        return np.take(lookup, raw)
    out = np.full(raw.shape, UNCLAIMED, np.uint8)  # soft or negative values: rare
    for value, index in claims:
        out[raw == value] = index
    return out


@lru_cache(maxsize=2)
def _colour_lookup(claims: tuple[tuple[int, int], ...]) -> Array:
    """16 MiB with the class of every colour; kept outside the table so that it never travels to a worker process."""
    lookup = np.full(1 << 24, UNCLAIMED, np.uint8)
    for value, index in claims:
        lookup[value] = index
    return lookup


def _pack(colours: Array) -> Array:
    wide = colours.astype(np.int32)
    return (wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2]


@dataclass(frozen=True)
class LabelTable:
    """Which mask values mean which class.

    Attributes:
        classes: name -> values, in the order of the class indices; the first one is the background. Takes what the
            configuration holds (a value, a colour, a list of both) and keeps tuples.
        ignore: values of pixels that neither loss nor metrics look at; they become 255.
        threshold: for soft masks of two classes: pixels above it are of the class with the higher value.
    """

    classes: Mapping[str, Any]
    ignore: Any = ()
    threshold: float | None = None

    def __post_init__(self) -> None:
        """Check and unify.

        Raises:
            ConfigError: fewer than two classes, a class without a value, a value of two classes, a name that is no text.
        """
        object.__setattr__(self, "classes", checked_classes(self.classes))
        object.__setattr__(self, "ignore", checked_values(self.ignore, "data.ignore", empty=True))
        check_once(self.classes, self.ignore)
        if self.threshold is not None:
            check_threshold(self.threshold, self.classes)

    @property
    def names(self) -> tuple[str, ...]:
        """Class names by index."""
        return tuple(self.classes)

    @property
    def palette(self) -> tuple[Colour, ...]:
        """One colour per class: its own first one, else a colour that colour-blind readers tell from the others."""
        own = [next((rgb(v) for v in values if isinstance(v, str)), None) for values in self.classes.values()]
        return class_colours(own)

    @property
    def by_value(self) -> bool:
        """Whether no class is a colour, so that palette masks are to be read as indices."""
        return all(isinstance(value, int) for values in self.classes.values() for value in values)

    def encode(self, mask_raw: Array, name: str = "the mask") -> Array:
        """Return the class index of each pixel, (H, W) uint8, 255 where ignored.

        Args:
            mask_raw: (H, W) or (H, W, 3) as `read_mask` gives it.
            name: the file, for messages.

        Raises:
            DataError: pixels have a value that no class claims.
        """
        raw = gray_if_gray(mask_raw)
        if self.threshold is not None:
            return self._encode_soft(raw)
        claims = self._claims(raw.ndim == 3)
        out = coded(raw, claims)
        if (out == UNCLAIMED).any():
            raise self._unclaimed(raw, out == UNCLAIMED, name)
        return out

    def read(self, case: Case, size: tuple[int, ...] | None = None) -> Array:
        """Read and merge the masks of a case, see `read_labels`."""
        return read_labels(case.masks, self, case.image, size)

    def as_dict(self) -> dict[str, Any]:
        """Return plain Python values for a checkpoint; `from_dict` is the way back."""
        classes = {name: list(values) for name, values in self.classes.items()}
        return {"classes": classes, "ignore": list(self.ignore), "threshold": self.threshold}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "LabelTable":
        """Return the table of what `as_dict` gave, or of a data config."""
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
        found = sorted(value_counts(raw[where], colour=raw.ndim == 3).items(), key=lambda item: -item[1])
        value, count = found[0]
        others = [f"{other} ({pixel_text(n)})" for other, n in found[1:]]
        claimed = listed([f"{v} ({n})" for n, values in self.classes.items() for v in values], 12)
        ignored = f", ignored are {listed(self.ignore)}" if self.ignore else ""
        return DataError(
            f"{name} has {pixel_text(count)} of the value {value}, which no class claims"
            + (f"; also {listed(others, 4)}" if others else ""),
            f"Claimed are {claimed}{ignored}",
            self._advice(raw, found),
        )

    def _advice(self, raw: Array, found: list[tuple[Value, int]]) -> str:
        value, last = found[0][0], self.names[-1]
        grays = sorted(g for values in self.classes.values() for v in values if (g := gray(v)) is not None)
        if raw.ndim == 2 and len(self.classes) == 2 and len(grays) == 2 and len(found) > 3:
            low, high = grays
            margin = max(1, (high - low) // 8)
            near = float(((np.abs(raw - float(low)) <= margin) | (np.abs(raw - float(high)) <= margin)).mean())
            if near > 0.5 and high - low > 1:
                middle = (low + high) // 2
                return f"The mask looks JPEG-compressed or anti-aliased: type data.threshold={middle}"
        ignore, wider = _listing((*self.ignore, value)), _listing((*self.classes[last], value))
        return f"Type 'data.ignore={ignore}' to leave such pixels out, or give it to a class: 'data.classes.{last}={wider}'"


def _listing(values: Sequence[Value]) -> str:
    """Write values as a list on a command line."""
    return f"[{', '.join(chr(34) + v + chr(34) if isinstance(v, str) else str(v) for v in values)}]"


def pixel_text(count: int) -> str:
    """Return a number of pixels in words."""
    return f"{count} pixel{'s' * (count != 1)}"


def read_labels(
    sources: Sequence[Source], table: LabelTable, image: Source | None = None, size: tuple[int, ...] | None = None
) -> Array:
    """Read and merge the masks of one image, (H, W) uint8 class index.

    Args:
        sources: one or several masks.
        table: their values to classes.
        image: whose masks they are, for messages.
        size: its (H, W), which the masks must have; None takes any, the same for all.

    Raises:
        DataError: a file is broken, has an unclaimed value, or another size than the image or the other masks.
    """
    encoded = []
    for source in sources:
        raw = read_mask(source, table.by_value)
        if size is not None and raw.shape[:2] != size:
            raise DataError(
                f"{source} is {raw.shape[0]}x{raw.shape[1]} (height x width) and its image {image} is {size[0]}x{size[1]}",
                "A mask has the size of its image",
                "Make the mask again at the image's size, or take the pair out of the folder",
            )
        encoded.append(table.encode(raw, str(source)))
    return merge(encoded, str(sources[0]))


def merge(encoded: Sequence[Array], name: str = "the masks") -> Array:
    """Lay the masks of one image over each other; where two say something, the later one (in natural order) counts.

    Args:
        encoded: (H, W) uint8 class indices; 0, the background, is transparent.
        name: for messages.

    Raises:
        DataError: their sizes differ.
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
