"""Infer classes and channels from image and mask files."""

import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np

from segexp.config.schema import FIRST
from segexp.data.annotations.files import is_annotation, read_annotations, read_image_annotations
from segexp.data.io.images import mask_nodata, read_image, read_mask, read_stored
from segexp.data.labels.class_table import gray_if_gray, pack_colours, value_counts
from segexp.data.labels.regions import (
    MOST_CLASSES,
    SOFT_BORDER,
    VOID,
    Numbering,
    Region,
    find_numbering,
    find_regions,
    slope_share,
)
from segexp.data.labels.spec import ANY, Value, rgb
from segexp.data.layout.patterns import natural_key
from segexp.errors import DataError, listed
from segexp.types import Source

T = TypeVar("T")

MASKS = 200
"""Maximum number of masks read, evenly spread."""
IMAGES = 20
"""Maximum number of images read."""
SHAPES = 40
"""Maximum number of cases whose masks are searched for objects and soft borders."""
FAR = 32
"""Minimum range of the gray values of a soft mask; class indices have a smaller one."""
SPECK = 1e-4
"""Pixel share below which a colour in less than a tenth of the masks is an artefact."""


@dataclass(frozen=True)
class Classes:
    """The keys classes, ignore and threshold of a data section, and the reason."""

    classes: dict[str, Value]
    ignore: list[Value] = field(default_factory=list)
    threshold: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class Shapes:
    """What the shapes in some masks tell about their values.

    Attributes:
        slope: median of `slope_share` over the masks of more than two gray values; 0 if there are none.
        numbering: how the values number objects, None if they do not.
    """

    slope: float
    numbering: Numbering | None


def infer_classes(masks: Sequence[Sequence[Source]], strict: bool = True) -> Classes:
    """Infer the classes from the mask files of each case; unreadable files raise if `strict`, else they are skipped.

    Raises:
        DataError: only one value, or values that cannot be classes.
    """
    if any(is_annotation(source.path) for case in masks for source in case):
        return _by_label([source for case in masks for source in case], strict)
    files = [source for case in evenly_spread(masks, MASKS) for source in case]
    pixels: Counter[Value] = Counter()
    seen: Counter[Value] = Counter()
    nodata: set[Value] = set()
    for source, picture in _readable(files, read_mask, strict):
        nodata |= {tag} if (tag := mask_nodata(source)) else set()  # not 0, the background of many rasterized polygons
        raw = gray_if_gray(picture)
        counts = value_counts(raw, colour=raw.ndim == 3)
        pixels.update(counts)
        seen.update(counts.keys())
    if not pixels:
        raise DataError(f"None of the {len(files)} masks can be read", "Masks were expected", "Copy the files again")
    if len(pixels.keys() - nodata) > 1:
        pixels, seen = (Counter({value: n for value, n in of.items() if value not in nodata}) for of in (pixels, seen))
    shapes = _shapes(masks, strict, nodata - pixels.keys()) if len(pixels) > 2 else Shapes(0.0, None)
    colours = any(isinstance(value, str) for value in pixels)
    if shapes.numbering and shapes.numbering.sure and (colours or not is_soft(pixels, shapes.slope)):
        found = _by_number(shapes.numbering)
    elif colours:
        pixels, seen = _as_colours(pixels), _as_colours(seen)
        found = _by_colour(pixels, seen, len(files))
    else:
        found = classes_by_value(pixels, shapes.slope)
    if shapes.numbering and not shapes.numbering.sure:
        found = replace(found, reason=f"{found.reason}, which may as well number objects")
    if len(found.classes) < 2:
        raise DataError(
            f"All {len(files)} masks looked at, such as {files[0]}, hold the value {next(iter(pixels))} alone",
            "Masks of at least two values were expected",
            "Check that these are the masks, or name image and mask files by data.image and data.mask",
        )
    return Classes(found.classes, found.ignore, found.threshold, f"{found.reason} (from {len(files)} mask files)")


def _by_label(sources: Sequence[Source], strict: bool) -> Classes:
    """Infer a class for each label of annotated shapes, in the order of the files, else in natural order.

    Raises:
        DataError: there is no shape.
    """
    listed_labels: dict[str, None] = {}
    used: set[str] = set()
    for source in sources:
        try:
            used |= {shape.label for shape in read_image_annotations(source).shapes}
            listed_labels |= dict.fromkeys(read_annotations(source.path).labels)
        except DataError:
            if strict:
                raise
    if not used:
        raise DataError(
            f"None of the {len(sources)} images with annotations, such as {sources[0]}, has a shape with an area",
            "Outlines of objects were expected",
            "Check that these are the annotations, or name others by data.mask",
        )
    order = [label for label in listed_labels if label in used] + sorted(used - set(listed_labels), key=natural_key)
    background = next((label for label in order if label.strip("_").lower() == "background"), None)
    ignore: list[Value] = [label for label in order if label.strip("_").lower() == "ignore"]
    classes: dict[str, Any] = {"background": 0 if background is None else [0, background]}
    for label in order:
        if label != background and label not in ignore:
            classes[_class_name(label, classes)] = label
    return Classes(
        classes,
        ignore,
        reason=f"The shapes have the labels {listed(order, 12)} (of {len(sources)} images)"
        + ("; where they overlap, the later class is on top" if len(order) > 1 else ""),
    )


def _class_name(label: str, taken: Collection[str]) -> str:
    """Return a label as the name of a class, without characters that mean something on a command line."""
    name = re.sub(r"[^\w-]+", "_", label).strip("_")
    if not re.match(r"[^\W\d]", name) or name.lower() in ("true", "false", "null", "nan", "inf"):
        name = f"class_{name}"
    return name if name not in taken else f"{name}_{len(taken)}"


def without_background(classes: Mapping[str, Value], background: str | None) -> dict[str, Value]:
    """Return inferred classes, without the name "background" for the first one if `data.background` says that it is none."""
    if background in (FIRST, "background"):
        return dict(classes)
    own = {"background", "foreground"}
    return {
        (f"class_{k if isinstance(value, str) else value}" if name in own else name): value
        for k, (name, value) in enumerate(classes.items())
    }


def infer_channels(images: Sequence[Source], strict: bool = True) -> int:
    """Infer the number of channels; 1 for gray images stored as RGB. Unreadable files raise if `strict`.

    Raises:
        DataError: the number of channels differs, other than gray and colour.
    """
    found: dict[int, Source] = {}
    counted = [replace(source, nodata="nan") for source in evenly_spread(images, IMAGES)]  # whatever their values
    for source, image in _readable(counted, read_image, strict):
        gray = image.shape[2] == 3 and not np.ptp(image, axis=2).any()
        found.setdefault(1 if gray else image.shape[2], source)
    if len(found) > 1 and set(found) != {1, 3}:
        kinds = ", ".join(f"{source} has {count}" for count, source in sorted(found.items()))
        raise DataError(f"The images have different channels: {kinds}", "All have the same", "Sort out the images that differ")
    if not found:
        raise DataError("No image can be read", "Readable pictures were expected", "Copy the files again")
    return max(found)


def describe_transparency(images: Sequence[Source]) -> str:
    """Return a sentence on a channel of the first readable image that is declared as transparency and left out, or ""."""
    for _, image in _readable(images[:1], read_stored, strict=False):
        if image.alpha is not None and np.ptp(image.alpha):
            count = image.values.shape[2] + image.alpha.shape[2]
            return f"A channel declared as transparency is left out; data.channels={count} reads it"
    return ""


def _readable(sources: Sequence[Source], read: Callable[[Source], T], strict: bool) -> Iterator[tuple[Source, T]]:
    """Yield the images, skipping unreadable ones unless `strict`."""
    for source in sources:
        try:
            yield source, read(source)
        except DataError:
            if strict:
                raise


def evenly_spread(items: Sequence[Any], most: int) -> list[Any]:
    """Return at most `most` items, evenly spread, including the first and the last."""
    if len(items) <= most:
        return list(items)
    return [items[k] for k in np.linspace(0, len(items) - 1, most).round().astype(int)]


def _shapes(masks: Sequence[Sequence[Source]], strict: bool, nodata: Collection[Value]) -> Shapes:
    cases: list[list[Region]] = []
    slopes: list[float] = []
    coloured = False
    for case in evenly_spread(masks, SHAPES):
        cases.append([])
        for _, picture in _readable(case, lambda source: read_mask(source, indices=True), strict):
            raw = gray_if_gray(picture)
            if raw.ndim == 2 and (gone := np.isin(raw, [float(value) for value in nodata])).any() and not gone.all():
                raw = np.where(gone, raw[~gone].min(), raw)
            coloured |= raw.ndim == 3
            slopes.append(slope_share(raw) if raw.ndim == 2 else 0.0)
            cases[-1] += find_regions(pack_colours(raw) if raw.ndim == 3 else raw)
    return Shapes(
        float(np.median([slope for slope in slopes if slope] or 0.0)), find_numbering(cases, None if coloured else VOID)
    )


def _by_number(numbering: Numbering) -> Classes:
    void = " and ".join(map(str, numbering.ignore))
    return Classes(
        {"background": numbering.background, "object": ANY},
        list(numbering.ignore),
        reason=f"The masks number objects: each value but {numbering.background} is one piece, and all are taken as one class"
        + (f", and {void} as void" if void else ""),
    )


def classes_by_value(pixels: "Counter[Value]", slope: float) -> Classes:
    """Infer the classes from the pixels of each gray value and the share of slopes in the masks, see `slope_share`.

    Raises:
        DataError: values that cannot be classes.
    """
    if is_soft(pixels, slope):
        return _soft(pixels)
    if len(pixels) > MOST_CLASSES or any(not float(value).is_integer() or float(value) < 0 for value in pixels):
        low, high = min(map(float, pixels)), max(map(float, pixels))
        raise DataError(
            f"The masks hold {len(pixels)} different values, from {low:g} to {high:g}",
            f"At most {MOST_CLASSES} values, one per class, two with a soft border, or 0 and numbers of objects were expected",
            "Type the values of your classes, or for two that are parted in the middle "
            f"'data.classes={{background: {math.floor(low)}, foreground: {math.ceil(high)}}}' "
            f"data.threshold={(low + high) / 2:g}",
        )
    values = sorted(int(value) for value in pixels)
    if len(values) == 2:
        low, high = values
        return Classes({"background": low, "foreground": high}, reason=f"The masks hold {low} and {high}")
    ignore: list[Value] = []
    if _indices(pixels):
        ignore, values = [VOID], values[:-1]
    background = 0 if 0 in values else max(values, key=lambda value: pixels[value])
    named: dict[str, Value] = {"background": background}
    named |= {f"class_{value}": value for value in values if value != background}
    return Classes(
        named, ignore, reason=f"The masks hold {listed(values, 12)}" + (", and 255, taken as void" if ignore else "")
    )


def _indices(pixels: "Counter[Value]") -> bool:
    """Return whether the values are class indices, of which half may be missing, and `VOID`."""
    *classes, last = sorted(float(value) for value in pixels)
    return last == VOID and len(classes) > 1 and classes[0] >= 0 and classes[-1] < min(MOST_CLASSES, 2 * len(classes) - 1)


def is_soft(pixels: "Counter[Value]", slope: float) -> bool:
    """Return whether most pixels are near the lowest and the highest gray value, and the others on slopes in between.

    A single value in between is a class unless nearly all of its pixels are.
    """
    if len(pixels) < 3 or _indices(pixels):
        return False
    low, high = min(map(float, pixels)), max(map(float, pixels))
    viewable = high - low >= FAR or any(float(value) % 1 for value in pixels)
    several = len(pixels) > 3
    return viewable and _near_ends(pixels) > (0.5 if several else 0.8) and slope >= (SOFT_BORDER if several else 0.9)


def _soft(pixels: "Counter[Value]") -> Classes:
    """Return two classes with a threshold."""
    low, high = min(map(float, pixels)), max(map(float, pixels))
    middle = int(low + high) // 2 if high - low >= FAR else (low + high) / 2
    return Classes(
        {"background": math.floor(low), "foreground": math.ceil(high)},
        threshold=middle,
        reason=f"The masks hold {len(pixels)} values near {low:g} and {high:g} (JPEG or a soft border), parted at {middle:g}",
    )


def _near_ends(pixels: "Counter[Value]") -> float:
    low, high = min(map(float, pixels)), max(map(float, pixels))
    margin = (high - low) / 8
    near = sum(count for value, count in pixels.items() if min(float(value) - low, high - float(value)) <= margin)
    return near / pixels.total()


def _by_colour(pixels: "Counter[Value]", seen: "Counter[Value]", files: int) -> Classes:
    total = pixels.total()
    specks = sorted(str(c) for c in pixels if pixels[c] < SPECK * total and (seen[c] < files / 10) and len(pixels) > 2)
    colours = sorted(str(c) for c in pixels if c not in specks)
    if len(colours) > MOST_CLASSES or len(specks) > MOST_CLASSES:
        raise DataError(
            f"The masks hold {len(pixels)} different colours",
            f"At most {MOST_CLASSES} colours, one per class, were expected; JPEG masks and overlays have more",
            'Save the masks again without loss, or give the colours: \'data.classes={land: "#8429F6", water: "#E2A929"}\'',
        )
    background = "#000000" if "#000000" in colours else max(colours, key=lambda colour: (pixels[colour], colour))
    named: dict[str, Value] = {"background": background}
    named |= {f"class_{k}": colour for k, colour in enumerate((c for c in colours if c != background), start=1)}
    why = f"; {listed(specks)} ignored, {sum(pixels[c] for c in specks)} of {total} pixels" if specks else ""
    return Classes(named, list(specks), reason=f"The masks hold {len(colours)} colours{why}")


def _as_colours(counts: "Counter[Value]") -> "Counter[Value]":
    """Convert gray values to colours."""
    out: Counter[Value] = Counter()
    for value, count in counts.items():
        out["#{:02X}{:02X}{:02X}".format(*rgb(value))] += count
    return out
