"""What `segexp check data=auto` makes of masks of many kinds: numbered objects, class indices, soft borders, photographs.

Each set is generated with its right answer: the classes, and the share of foreground pixels. Prints a line per set and the
number of misses; exits with 1 if there are any.

    python benchmarks/mask_kinds.py [NAME ...]
"""

import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile

from segexp.checks.issues import Examination, class_shares
from segexp.checks.run import run_checks
from segexp.config.schema import DataConfig

Array = np.ndarray[Any, np.dtype[Any]]
Draw = Callable[[int], Array | list[Array]]

OBJECTS = {"background": 0, "object": "any"}
SOFT = {"background": 0, "foreground": 255}


@dataclass(frozen=True)
class MaskSet:
    """Masks and what they are.

    Attributes:
        draw: number of an image to its mask (H, W) or (H, W, 3) RGB, or a list of masks of one object each.
        classes: the right classes; their number alone; or None where no classes can be named.
        threshold: the right one.
        ignore: the right one.
        count: number of images.
        ending: of the files.
        doubt: a note says that the values may number objects.
    """

    draw: Draw
    classes: dict[str, Any] | int | None
    threshold: float | None = None
    ignore: Sequence[int] = ()
    count: int = 12
    ending: str = "png"
    doubt: bool = False


def numbered(seed: int, count: int, side: int = 96, radius: tuple[int, int] = (4, 9), apart: bool = True) -> Array:
    """Return the running numbers (side, side) uint16 of up to `count` discs; `apart`: they do not touch."""
    rng = np.random.default_rng(seed)
    out, number = np.zeros((side, side), np.uint16), 0
    for _ in range(6 * count):
        y, x, r = *rng.integers(0, side, 2).tolist(), int(rng.integers(*radius))
        disc = cv2.circle(np.zeros((side, side), np.uint8), (x, y), r, 1, -1) > 0
        around = cv2.dilate(disc.view(np.uint8), np.ones((3, 3), np.uint8)) > 0
        if number < count and not (out[around if apart else disc] > 0).any():
            number += 1
            out[disc] = number
    return out


def renumbered(labels: Array, seed: int, highest: int, dtype: Any = np.uint16) -> Array:
    """Return objects with random numbers from 1 to `highest`."""
    numbers = np.random.default_rng(seed).choice(np.arange(1, highest + 1), int(labels.max()), replace=False)
    return np.concatenate([[0], numbers]).astype(dtype)[labels]


def by_row(labels: Array) -> Array:
    """Return objects numbered from top to bottom, as connected components are."""
    _, first = np.unique(labels, return_index=True)
    return (np.argsort(np.argsort([-1, *first[1:]]))).astype(np.uint16)[labels]


def tissue(seed: int, cells: int = 60, side: int = 128, kept: float = 0.6) -> Array:
    """Return numbered cells (side, side) uint16 that touch each other and the border; some are removed."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, side, (cells, 2))
    rows, columns = np.mgrid[:side, :side]
    nearest = ((rows[..., None] - points[:, 0]) ** 2 + (columns[..., None] - points[:, 1]) ** 2).argmin(-1)
    return np.where(rng.random(cells)[nearest] < kept, nearest + 1, 0).astype(np.uint16)


def ringed(labels: Array, value: int = 255, width: int = 5) -> Array:
    """Return a mask with a ring of a value around what is labelled."""
    grown = cv2.dilate((labels > 0).astype(np.uint8), np.ones((width, width), np.uint8))
    return np.where((grown > 0) & (labels == 0), value, labels).astype(labels.dtype)


def binary(seed: int, count: int = 12) -> Array:
    """Return discs (96, 96) uint8 of 255."""
    return (numbered(seed, count) > 0).astype(np.uint8) * np.uint8(255)


def jpeg(mask: Array, quality: int) -> Array:
    """Return a mask after JPEG compression."""
    return cv2.imdecode(cv2.imencode(".jpg", mask, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_UNCHANGED)


def organs(seed: int, kinds: int = 6, present: float = 1.0) -> Array:
    """Return class indices (128, 128) uint8 of which each is one piece with a size and place of its own."""
    places = [(40, 40, 18), (40, 90, 12), (80, 30, 8), (85, 95, 8), (64, 64, 5), (100, 64, 6), (20, 64, 4), (110, 20, 5)]
    rng, out = np.random.default_rng(seed), np.zeros((128, 128), np.uint8)
    for index, (y, x, r) in enumerate(places[:kinds], start=1):
        down, right = rng.normal(0, 4, 2)
        if rng.random() < present:
            cv2.circle(out, (int(x + right), int(y + down)), max(2, int(r * np.exp(rng.normal(0, 0.25)))), index, -1)
    return out


def any_class(seed: int, kinds: int, most: int) -> Array:
    """Return class indices (96, 96) uint8 of up to `most` objects, each of a random class."""
    rng = np.random.default_rng(seed)
    return np.concatenate([[0], rng.integers(1, kinds + 1, most)]).astype(np.uint8)[
        numbered(seed, 1 + seed % most, radius=(8, 20))
    ]


def trimap(seed: int) -> Array:
    """Return a pet (1), its surroundings (2) and its outline (3)."""
    pet = numbered(seed, 1, radius=(15, 30))
    return np.where(pet > 0, 1, np.where(ringed(pet, 3, 7) == 3, 3, 2)).astype(np.uint8)


def coloured(seed: int) -> Array:
    """Return discs in random colours (96, 96, 3) on black."""
    colours = np.random.default_rng(seed).integers(40, 256, (13, 3), dtype=np.uint8)
    colours[0] = 0
    return colours[numbered(seed, 12)]


def photograph(seed: int) -> Array:
    """Return a gray photograph (96, 96)."""
    noise = np.random.default_rng(seed).normal(128, 60, (96, 96)).clip(0, 255).astype(np.uint8)
    return cv2.GaussianBlur(noise, (9, 9), 0)


def per_object(seed: int) -> list[Array]:
    """Return a mask for each object, with its number."""
    labels = numbered(seed, 8)
    return [np.where(labels == k, k, 0).astype(np.uint8) for k in range(1, int(labels.max()) + 1)]


@cache
def picture() -> Array:
    """Return up to 500 numbered discs (768, 768) uint16."""
    return numbered(3, 500, 768, (5, 12))


def tile(n: int) -> Array:
    """Return a tile (128, 128) of the picture; some objects are cut by the border."""
    return picture()[n // 6 * 128 :, n % 6 * 128 :][:128, :128]


def levels(n: int, count: int) -> Array:
    """Return a mask whose soft border has `count` values."""
    soft = cv2.GaussianBlur(binary(n), (5, 5), 0).astype(float)
    return (np.rint(soft / 255 * (count + 1)) * 255 / (count + 1)).astype(np.uint8)


SETS: dict[str, MaskSet] = {
    "numbered, 8 bits": MaskSet(lambda n: numbered(n, 60, 160).astype(np.uint8), OBJECTS),
    "numbered, 16 bits": MaskSet(lambda n: numbered(n, 60, 160), OBJECTS, ending="tif"),
    "numbered, float32": MaskSet(lambda n: numbered(n, 60, 160).astype(np.float32), OBJECTS, ending="tif"),
    "numbered, int32 above 65535": MaskSet(lambda n: renumbered(numbered(n, 12), n, 10**6, np.int32), OBJECTS, ending="tif"),
    "numbered up to 255": MaskSet(lambda n: numbered(n, 255, 400).astype(np.uint8), OBJECTS, count=2),
    "twelve each": MaskSet(lambda n: numbered(n, 12).astype(np.uint8), OBJECTS),
    "five each": MaskSet(lambda n: numbered(n, 5).astype(np.uint8), OBJECTS),
    "one to six": MaskSet(lambda n: numbered(n, 1 + n % 6).astype(np.uint8), OBJECTS),
    "touching": MaskSet(lambda n: numbered(n, 40, apart=False).astype(np.uint8), OBJECTS),
    "tissue with gaps in the numbers": MaskSet(tissue, OBJECTS),
    "dense tissue": MaskSet(lambda n: tissue(n, kept=0.97), OBJECTS),
    "numbered by row": MaskSet(lambda n: by_row(numbered(n, 12)), OBJECTS),
    "random numbers, 8 bits": MaskSet(lambda n: renumbered(numbered(n, 12), n, 255, np.uint8), OBJECTS),
    "random numbers, 16 bits": MaskSet(lambda n: renumbered(numbered(n, 12), n, 65535), OBJECTS),
    "random numbers, two each": MaskSet(lambda n: renumbered(numbered(n, 2), n, 65535), OBJECTS),
    "random numbers, many images": MaskSet(lambda n: renumbered(numbered(n, 12), n, 255, np.uint8), OBJECTS, count=80),
    "tiles of one picture": MaskSet(tile, OBJECTS, count=36),
    "one image of twelve": MaskSet(lambda n: numbered(1, 12), OBJECTS, count=1),
    "one object, 1": MaskSet(lambda n: numbered(n, 1), {"background": 0, "foreground": 1}, count=3),
    "one object, 7": MaskSet(lambda n: numbered(n, 1) * np.uint16(7), {"background": 0, "foreground": 7}, count=3),
    "void around numbered": MaskSet(lambda n: ringed(numbered(n, 12)).astype(np.uint8), OBJECTS, ignore=[255]),
    "background -1": MaskSet(
        lambda n: numbered(n, 12).astype(np.float32) - 1, {"background": -1, "object": "any"}, ending="tif"
    ),
    "a file per object, numbered": MaskSet(per_object, OBJECTS),
    "coloured": MaskSet(coloured, OBJECTS),
    "tracks": MaskSet(lambda n: np.roll(numbered(5, 80, 200), n, 0), OBJECTS),
    "one to three": MaskSet(lambda n: numbered(n, 1 + n % 3).astype(np.uint8), 4, doubt=True),
    "tracks of twenty": MaskSet(lambda n: np.roll(numbered(5, 20), n, 0).astype(np.uint8), 21, doubt=True),
    "indices 0 to 4": MaskSet(lambda n: (numbered(n, 20) % 5).astype(np.uint8), 5),
    "indices 0 to 11 and void": MaskSet(lambda n: ringed(numbered(n, 40, 160) % 12).astype(np.uint8), 12, ignore=[255]),
    "indices, one missing, and void": MaskSet(
        lambda n: ringed(np.where((index := numbered(n, 40, 160) % 12) == 7, 0, index)).astype(np.uint8), 11, ignore=[255]
    ),
    "organs": MaskSet(organs, 7),
    "organs, some absent": MaskSet(lambda n: organs(n, present=0.7), 7, count=40),
    "three organs": MaskSet(lambda n: organs(n, 3), 4),
    "disc and cup": MaskSet(lambda n: ringed(numbered(n, 1, radius=(9, 20)), 2, 9).astype(np.uint8), 3),
    "trimaps": MaskSet(trimap, 3),
    "one of 20 classes": MaskSet(lambda n: any_class(n, 20, 3), 21, count=60),
    "six of 103 classes": MaskSet(lambda n: renumbered(numbered(n, 6), n, 103, np.uint8), None, count=60),
    "blurred": MaskSet(lambda n: cv2.GaussianBlur(binary(n), (5, 5), 0), SOFT, 127),
    "blurred widely": MaskSet(lambda n: cv2.GaussianBlur(binary(n, 4), (0, 0), 3.0), 2, 126),
    "enlarged": MaskSet(lambda n: cv2.resize(binary(n), None, fx=4, fy=4, interpolation=cv2.INTER_LINEAR), SOFT, 127),
    "one level": MaskSet(lambda n: levels(n, 1), SOFT, 127),
    "three levels": MaskSet(lambda n: levels(n, 3), SOFT, 127),
    "thick grey band": MaskSet(lambda n: ringed(binary(n, 6), 128, 13), 3),
    **{f"JPEG {quality}": MaskSet(lambda n, q=quality: jpeg(binary(n), q), SOFT, 127) for quality in (30, 75, 95, 100)},
    "probabilities": MaskSet(
        lambda n: cv2.GaussianBlur(binary(n), (5, 5), 0).astype(np.float32) / 255,
        {"background": 0, "foreground": 1},
        0.5,
        ending="tif",
    ),
    "photographs": MaskSet(photograph, None),
}


def examine(name: str, root: Path, **given: Any) -> Examination:
    """Write a set and check it, with some keys of the data section."""
    made = SETS[name]
    for n in range(made.count):
        drawn = made.draw(n)
        masks = drawn if isinstance(drawn, list) else [drawn]
        picture = np.random.default_rng(n).integers(0, 200, masks[0].shape[:2], np.uint8)
        _write(root / f"c{n:02}/images/c{n:02}.png" if len(masks) > 1 else root / f"images/{n:02}.png", picture)
        for k, mask in enumerate(masks):
            _write(root / f"c{n:02}/masks/{k}.png" if len(masks) > 1 else root / f"masks/{n:02}.{made.ending}", mask)
    return run_checks(DataConfig(name="auto", root=str(root), **given), alignment=False, threads=1)


def miss(name: str, found: Examination) -> str:
    """Return what is wrong with the answer for a set, "" if it is right."""
    made, data = SETS[name], found.data
    classes = dict(data.classes or {})
    if made.classes is None:
        return f"classes {list(classes)[:3]}" if classes else ""
    right = len(classes) == made.classes if isinstance(made.classes, int) else classes == made.classes
    if not right or (data.threshold, list(data.ignore or [])) != (made.threshold, list(made.ignore)):
        return f"classes {str(classes)[:60]}, threshold {data.threshold}, ignore {data.ignore}"
    errors = [
        finding.kind for finding in found.findings if finding.level == "error" and finding.kind not in ("empty_split", "split")
    ]
    if errors:
        return f"errors {errors}"
    if made.doubt != any(finding.kind == "objects" and "may number" in finding.found for finding in found.findings):
        return "a note on objects was expected" if made.doubt else "a note on objects"
    if not isinstance(made.classes, dict):
        return ""
    share, truth = 1 - class_shares(found.facts.values())[0], np.mean([_foreground(made, n) for n in range(made.count)])
    return "" if abs(share - truth) <= 0.001 else f"{share:.1%} foreground for {truth:.1%}"


def _foreground(made: MaskSet, n: int) -> float:
    drawn = made.draw(n)
    union = np.maximum.reduce(drawn) if isinstance(drawn, list) else drawn
    union = union.max(axis=2) if union.ndim == 3 else union
    if made.threshold:
        return float((union > made.threshold).mean())
    assert isinstance(made.classes, dict)
    return float((union[~np.isin(union, made.ignore)] != made.classes["background"]).mean())


def _write(path: Path, array: Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".tif":
        tifffile.imwrite(path, array)
    else:
        cv2.imwrite(str(path), array[..., ::-1] if array.ndim == 3 else array)


def main(names: Sequence[str]) -> int:
    """Check the sets, all by default, and return the number of misses."""
    misses = 0
    for name in names or SETS:
        with tempfile.TemporaryDirectory() as folder:
            wrong = miss(name, examine(name, Path(folder)))
        misses += bool(wrong)
        print(f"{name:34} {wrong or 'right'}")
    print(f"{misses} of {len(names or SETS)} sets are answered wrongly")
    return misses


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]) > 0)
