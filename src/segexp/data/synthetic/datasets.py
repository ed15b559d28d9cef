"""Synthetic data sets, written to disk in the layouts of the real ones they resemble."""

import csv
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import tifffile

from segexp.atomic import atomic_folder
from segexp.data.synthetic.lesion import lesion
from segexp.data.synthetic.membranes import membranes
from segexp.data.synthetic.organ import organ
from segexp.data.synthetic.shapes import Array, Rng
from segexp.errors import ConfigError, DataError, nearest

VERSION = 1
"""Part of the folder name; raise it when a change to the scenes changes a pixel."""
FAMILIES = ("membranes", "organ", "lesion")
SLICES = 8
"""Approximate number of slices per patient in the organ family."""
RATIOS = (0.664, 0.664, 0.746, 0.67, 0.75)
"""Height over width of successive lesion images."""


def make_demo(root: Path | str, family: str, *, count: int | None = None, size: int = 256, seed: int = 0) -> Path:
    """Write a family below `root` unless it exists; return its folder.

    Atomic, so concurrent calls are safe; the same arguments give the same pixels.

    Args:
        root: parent folder; created if missing.
        family: "membranes" (as ISBI 2012), "organ" (as liver slices, patients in `mapping.csv`) or "lesion" (as ISIC).
        count: number of images, at least 4; default 48.
        size: longer side in pixels, at least 64.
        seed: of the images.

    Raises:
        ConfigError: the family is unknown, or count or size is too small.
        DataError: the folder cannot be written.
    """
    count = 48 if count is None else count
    if family not in FAMILIES:
        raise ConfigError(f"unknown demo family {family!r}", f"one of {', '.join(FAMILIES)}", nearest(family, FAMILIES))
    for name, value, least in (("count", count, 4), ("size", size, 64)):
        if value < least:
            raise ConfigError(f"demo {name}={value}", f"{name} of at least {least}", f"Set {name}={least} or more")
    folder = Path(root) / f"{family}_{count}x{size}_seed{seed}_v{VERSION}"
    if folder.is_dir():
        return folder
    try:
        with atomic_folder(folder) as draft:
            for write in WRITERS[family](count, size, seed):
                write(draft)
    except OSError as error:
        raise DataError(
            f"cannot write the demo data to {folder} ({error.strerror or error})",
            "a folder that may be written, with about 20 MB of room",
            "Name another one with data.root=DIR",
        ) from error
    return folder


Write = Callable[[Path], None]
"""Writes one image and its mask into a folder."""


def _membranes(count: int, size: int, seed: int) -> Iterator[Write]:
    pairs: list[tuple[Array, Array]] = []

    def page(folder: Path) -> None:
        image, label = membranes(_rng(seed, 0, len(pairs)), size)
        _write(folder / "train" / "image" / f"{len(pairs)}.png", image)
        _write(folder / "train" / "label" / f"{len(pairs)}.png", label)
        pairs.append((image, label))

    def stacks(folder: Path) -> None:
        for name, pages in zip(("train-volume.tif", "train-labels.tif"), zip(*pairs, strict=True), strict=True):
            tifffile.imwrite(folder / name, np.stack(pages), photometric="minisblack")

    yield from [page] * count
    yield stacks


def _organ(count: int, size: int, seed: int) -> Iterator[Write]:
    patients = np.array_split(np.arange(count), max(2, round(count / SLICES)))
    held = max(1, round(len(patients) / 6))
    rows: list[tuple[str, str, str, str]] = []

    def slice_(patient: int, position: int) -> Write:
        split = "val" if patient >= len(patients) - held else "train"

        def write(folder: Path) -> None:
            steps = len(patients[patient])
            depth = 2 * (position + 0.5) / steps - 1
            image, label = organ(_rng(seed, 1, patient), _rng(seed, 2, patient, position), size, depth)
            name = f"{sum(row[0] == split for row in rows):03d}"
            _write(folder / split / f"{name}.png", image)
            _write(folder / split / f"{name}_mask.png", label)
            rows.append((split, name, f"patient{patient}/{position}", scan_name(patient)))

        return write

    def mapping(folder: Path) -> None:
        with (folder / "mapping.csv").open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([("split", "name", "original_name", "scan"), *rows])

    yield from (slice_(patient, place) for patient, slices in enumerate(patients) for place in range(len(slices)))
    yield mapping


def _lesion(count: int, size: int, seed: int) -> Iterator[Write]:
    def picture(number: int) -> Write:
        def write(folder: Path) -> None:
            shape = (round(size * RATIOS[number % len(RATIOS)]), size)
            image, label = lesion(_rng(seed, 3, number), shape)
            name = f"ISIC_{number + 1:07d}"
            _write(folder / "ISIC-2017_Training_Data" / f"{name}.jpg", image)
            _write(folder / "ISIC-2017_Training_Part1_GroundTruth" / f"{name}_segmentation.png", label)

        return write

    return map(picture, range(count))


WRITERS: dict[str, Callable[[int, int, int], Iterator[Write]]] = {"membranes": _membranes, "organ": _organ, "lesion": _lesion}


def scan_name(number: int) -> str:
    """Return A to Z, then AA, AB, …, as spreadsheet columns."""
    head, last = divmod(number, 26)
    return (scan_name(head - 1) if head else "") + chr(ord("A") + last)


def _rng(*key: int) -> Rng:
    return np.random.default_rng(np.random.SeedSequence(key))


def _write(path: Path, picture: Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    bgr = picture[..., ::-1] if picture.ndim == 3 else picture
    if not cv2.imwrite(str(path), bgr, [cv2.IMWRITE_JPEG_QUALITY, 92] if path.suffix == ".jpg" else []):
        raise OSError(f"cannot write {path}")
