"""Embedded images, and thumbnails of cases, including defective ones.

Shapes: C channels, H W pixels.
"""

import base64
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from segexp.data.annotations.files import is_annotation
from segexp.data.io.images import mask_nodata, read_image, read_image_and_valid, read_mask
from segexp.data.labels.class_table import LabelTable, draw_labels
from segexp.data.labels.multilabel import Labels, OverlappingTable, merge_case_masks, table_of
from segexp.data.layout.infer_classes import evenly_spread
from segexp.data.preprocessing import resize_image, resize_mask
from segexp.errors import DataError
from segexp.types import IGNORE, Case, Source
from segexp.visualization import Array, Colour, Palette, layer_mask, to_display

QUALITY, THUMBNAIL_QUALITY = 85, 80
"""JPEG quality, 1 to 100."""
THREADS = 4
BATCH = 32
"""Number of thumbnails drawn together."""
SAMPLED_IMAGES, SAMPLED_PIXELS = 24, 20_000
"""Number of images sampled for intensities, and pixels of each."""


@dataclass(frozen=True)
class Picture:
    """An embedded image.

    Attributes:
        source: `data:` URL.
        width: in pixels.
        height: in pixels.
        alt: alternative text.
    """

    source: str
    width: int
    height: int
    alt: str


@dataclass(frozen=True)
class Figure:
    """An image with its caption; None if it cannot be shown."""

    picture: Picture | None
    caption: str


@dataclass(frozen=True)
class ColourKey:
    """A name and its colour (red, green, blue)."""

    name: str
    colour: Colour


def embed_array(array: Array, alt: str, quality: int | None = QUALITY) -> Picture:
    """Embed an array.

    Args:
        array: (H, W, 3) uint8 RGB.
        alt: alternative text.
        quality: of the JPEG, 1 to 100; None for PNG, for drawings.
    """
    height, width = array.shape[:2]
    return Picture(_data_address(encode(array, quality), "jpeg" if quality else "png"), width, height, alt)


def embed_file(path: Path, alt: str) -> Picture | None:
    """Embed an image file unchanged; None if it is missing or neither JPEG nor PNG."""
    try:
        data = path.read_bytes()
        with Image.open(path) as opened:
            (width, height), kind = opened.size, opened.format
    except OSError:
        return None
    return Picture(_data_address(data, kind.lower()), width, height, alt) if kind in ("JPEG", "PNG") else None


def encode(array: Array, quality: int | None = QUALITY) -> bytes:
    """Return an RGB array (H, W, 3) uint8 as JPEG of the given quality, or as PNG for None."""
    kind, options = (".png", []) if quality is None else (".jpg", [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imencode(kind, np.ascontiguousarray(array[..., ::-1]), options)[1].tobytes()


def _data_address(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def colour_keys(names: Sequence[str], palette: Palette, background: bool = True) -> list[ColourKey]:
    """Return the colours of all classes but the background."""
    return [ColourKey(name, colour) for name, colour in list(zip(names, palette, strict=False))[int(background) :]]


def draw_overlays(cases: Sequence[Case], table: Labels | None, side: int) -> list[Array | None]:
    """Return an image (h, w, 3) uint8 with longest side `side` per case; None if the image cannot be read."""
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(partial(draw_overlay, table=table, side=side), cases))


def draw_overlay(case: Case, table: Labels | None, side: int) -> Array | None:
    """Return an image of a case with its mask.

    A valid mask is drawn over the image. One of another size, or with unknown values, is shown next to it in gray; an
    unreadable one is left out.
    """
    try:
        image = read_image(case.image)
    except DataError:
        return None
    small = resize_to_side(to_display(image), side)
    try:
        own = [
            table_of(table, case, number).ignoring(mask_nodata(source)) if table else None
            for number, source in enumerate(case.masks)
        ]
        raws = [_raw_mask(source, by, case.image, image) for source, by in zip(case.masks, own, strict=True)]
    except DataError:
        return small
    if not raws:
        return small
    if table is not None and all(raw.shape[:2] == image.shape[:2] for raw in raws):
        try:
            resized = [resize_mask(raw, small.shape[:2]) for raw in raws]
            drawn = [is_annotation(source.path) for source in case.masks]
            encoded = [raw if done else by.encode(raw) for raw, by, done in zip(resized, own, drawn, strict=True) if by]
            mask, lay = (
                merge_case_masks(table, case, encoded),
                layer_mask(isinstance(table, OverlappingTable), table.background),
            )
            return lay(small, mask, table.palette) if (mask != IGNORE).any() else small
        except DataError:
            pass
    return place_beside(small, raws[0], side)


def _raw_mask(source: Source, table: LabelTable | None, image: Source, shown: Array) -> Array:
    """Return the values of a mask, or the class indices of shapes."""
    if table is not None and is_annotation(source.path):
        return draw_labels(source, table, image, shown.shape[:2]).codes
    return read_mask(source, table is None or table.by_value)


def place_beside(image: Array, raw: Array, side: int) -> Array:
    """Return the image with the raw mask to its right, scaled from its minimum to its maximum."""
    low, high = float(raw.min()), float(raw.max())
    gray = np.rint((raw.astype(np.float32) - low) / max(high - low, 1e-6) * 255).astype(np.uint8)
    mask = resize_to_side(to_display(raw if raw.ndim == 3 and raw.dtype == np.uint8 else gray), side)
    height = max(image.shape[0], mask.shape[0])
    parts = [np.pad(each, ((0, height - each.shape[0]), (0, 0), (0, 0)), constant_values=128) for each in (image, mask)]
    return np.concatenate([parts[0], np.full((height, 4, 3), 128, np.uint8), parts[1]], axis=1)


def draw_file(path: Path, side: int) -> Array | None:
    """Return the image of a single file; None if it cannot be read."""
    try:
        return resize_to_side(to_display(read_image(Source(path))), side)
    except DataError:
        return None


def resize_to_side(picture: Array, side: int) -> Array:
    """Return an image (H, W, 3) resized to longest side `side`."""
    height, width = picture.shape[:2]
    scale = side / max(height, width)
    return resize_image(picture, (max(1, round(height * scale)), max(1, round(width * scale))))


def sample_intensities(cases: Sequence[Case]) -> tuple[Array, int]:
    """Return intensities (N,) as stored from some of the images, and the number of images."""
    found = []
    for case in evenly_spread(cases, SAMPLED_IMAGES):
        try:
            image, valid = read_image_and_valid(case.image)
        except DataError:
            continue
        values = (image if valid is None else image[valid]).ravel()
        found.append(values[:: max(1, len(values) // SAMPLED_PIXELS)].astype(np.float32))
    return (np.concatenate(found) if found else np.zeros(0, np.float32)), len(found)


@dataclass
class ThumbnailBudget:
    """Draws thumbnails of cases within a size budget.

    Attributes:
        cases: by id.
        classes: class table; None if unknown.
        root: folder that file names are relative to.
        room: remaining characters of the page for images.
    """

    cases: Mapping[str, Case]
    classes: Labels | None
    root: Path
    room: int

    def figures(self, names: Sequence[str], side: int, captions: Mapping[str, str]) -> Iterator[Figure]:
        """Yield a figure for each case id or file name, without an image if it is unreadable or the budget is used up.

        Args:
            names: ids, or file names relative to the root.
            side: longest side of an image in pixels.
            captions: additional captions of some names.
        """
        for start in range(0, len(names), BATCH):
            some = names[start : start + BATCH]
            images = self._draw(some, side) if self.room > 0 else {}
            for name in some:
                caption = f"{name}: {captions[name]}" if name in captions else name
                image = images.get(name)
                shown = embed_array(image, caption, THUMBNAIL_QUALITY) if image is not None and self.room > 0 else None
                self.room -= len(shown.source) if shown else 0
                yield Figure(shown, caption)

    def _draw(self, names: Sequence[str], side: int) -> dict[str, Array | None]:
        known = [name for name in names if name in self.cases]
        drawn = dict(zip(known, draw_overlays([self.cases[name] for name in known], self.classes, side), strict=True))
        others = {name: draw_file(self.root / name, side) for name in names if name not in self.cases}
        return {**drawn, **others}
