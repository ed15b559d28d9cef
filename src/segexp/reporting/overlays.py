"""Small pictures of cases as they lie on disk, whatever is wrong with them: overlay where the mask can be read, else beside.

Legend: C channels, H W pixels.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from segexp.data.io.images import read_image, read_mask
from segexp.data.labels.multilabel import Labels, OverlappingTable, merged, table_of
from segexp.data.layout.infer_classes import spread
from segexp.data.preprocessing import resize_image, resize_mask
from segexp.errors import DataError
from segexp.reporting.html import Html, figure, picture
from segexp.types import IGNORE, Case, Source
from segexp.visualization import layered, overlay, to_display

Array = np.ndarray[Any, np.dtype[Any]]

THREADS = 4
SAMPLED, PIXELS = 24, 20_000
"""Images whose intensities are looked at, and pixels of each."""


def overlays(cases: Sequence[Case], table: Labels | None, side: int) -> list[Array | None]:
    """Return a picture (h, w, 3) uint8 per case, its longest side `side` pixels; None where the image cannot be read."""
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(partial(case_overlay, table=table, side=side), cases))


def case_overlay(case: Case, table: Labels | None, side: int) -> Array | None:
    """Return image and mask of one case in one picture.

    A mask that fits is laid over the image. One of another size, or with values that no class claims, stands beside it in
    gray; one that cannot be read is left out.
    """
    try:
        image = read_image(case.image)
    except DataError:
        return None
    small = shrunk(to_display(image), side)
    try:
        own = [table_of(table, case, number) if table else None for number in range(len(case.masks))]
        raws = [read_mask(source, by.by_value if by else True) for source, by in zip(case.masks, own, strict=True)]
    except DataError:
        return small
    if not raws:
        return small
    if table is not None and all(raw.shape[:2] == image.shape[:2] for raw in raws):
        try:
            encoded = [by.encode(resize_mask(raw, small.shape[:2])) for raw, by in zip(raws, own, strict=True) if by]
            mask, lay = merged(table, case, encoded), layered if isinstance(table, OverlappingTable) else overlay
            return lay(small, mask, table.palette) if (mask != IGNORE).any() else small
        except DataError:
            pass
    return beside(small, raws[0], side)


def intensities(cases: Sequence[Case]) -> tuple[Array, int]:
    """Return intensities (N,), as stored, of pixels spread over some of the images, and over how many."""
    found = []
    for case in spread(cases, SAMPLED):
        try:
            values = read_image(case.image).ravel()
        except DataError:
            continue
        found.append(values[:: max(1, len(values) // PIXELS)].astype(np.float32))
    return (np.concatenate(found) if found else np.zeros(0, np.float32)), len(found)


def file_picture(path: Path, side: int) -> Array | None:
    """Return the picture of a single file, None where it is no picture or cannot be read."""
    try:
        return shrunk(to_display(read_image(Source(path))), side)
    except DataError:
        return None


def beside(image: Array, raw: Array, side: int) -> Array:
    """Return the image and, in gray or colour from its lowest to its highest value, the raw mask to its right."""
    low, high = float(raw.min()), float(raw.max())
    gray = np.rint((raw.astype(np.float32) - low) / max(high - low, 1e-6) * 255).astype(np.uint8)
    mask = shrunk(to_display(raw if raw.ndim == 3 and raw.dtype == np.uint8 else gray), side)
    height = max(image.shape[0], mask.shape[0])
    parts = [np.pad(each, ((0, height - each.shape[0]), (0, 0), (0, 0)), constant_values=128) for each in (image, mask)]
    return np.concatenate([parts[0], np.full((height, 4, 3), 128, np.uint8), parts[1]], axis=1)


def shrunk(picture: Array, side: int) -> Array:
    """Return a picture (H, W, 3) whose longest side is `side` pixels; a smaller one is enlarged by whole steps."""
    height, width = picture.shape[:2]
    scale = side / max(height, width)
    return resize_image(picture, (max(1, round(height * scale)), max(1, round(width * scale))))


QUALITY = 80
"""Of the JPEG pictures."""


@dataclass
class Album:
    """Draws cases until the page holds enough.

    Attributes:
        cases: by id.
        classes: tells mask values; None while they are unknown.
        root: folder that file names are relative to.
        room: characters of markup that pictures may still take.
    """

    cases: Mapping[str, Case]
    classes: Labels | None
    root: Path
    room: int

    def figures(self, names: Sequence[str], side: int, captions: Mapping[str, str]) -> Iterator[Html]:
        """Yield a figure for each case id or file name; its caption alone where nothing can be shown or no room is left.

        Args:
            names: ids, or names of files relative to the root.
            side: longest side of a picture in pixels.
            captions: what stands below the name, for some of them.
        """
        for some in chunks(names, 32):
            images = self._drawn(some, side) if self.room > 0 else {}
            for name in some:
                caption = f"{name}: {captions[name]}" if name in captions else name
                image = images.get(name)
                shown = picture(image, caption, QUALITY) if image is not None and self.room > 0 else Html("")
                self.room -= len(shown)
                yield figure(shown, caption)

    def _drawn(self, names: Sequence[str], side: int) -> dict[str, Array | None]:
        known = [name for name in names if name in self.cases]
        drawn = dict(zip(known, overlays([self.cases[name] for name in known], self.classes, side), strict=True))
        others = {name: file_picture(self.root / name, side) for name in names if name not in self.cases}
        return {**drawn, **others}


def chunks(names: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """Yield the names in portions."""
    for start in range(0, len(names), size):
        yield names[start : start + size]
