"""review.csv: which masks a person should look at first, and why.

Shapes: H W pixels.
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from segexp.atomic import atomic_write
from segexp.data.labels.modes import label_mode
from segexp.inference.outputs import unwritable
from segexp.types import DataSpec

Row = dict[str, str]


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, str]]) -> Path:
    """Write rows as CSV, whole or not at all; what a row lacks is empty, and what has no column is left out.

    Raises:
        DataError: the file cannot be written.
    """
    try:
        with atomic_write(path) as part, part.open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, columns, restval="", extrasaction="ignore", lineterminator="\n")
            table.writeheader()
            table.writerows(rows)
    except OSError as error:
        raise unwritable(path, error) from error
    return path


def read_rows(path: Path) -> list[Row]:
    """Return the rows of an earlier table; none where there is no file, or a broken one."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [{str(key): str(value or "") for key, value in row.items()} for row in csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, csv.Error):
        return []


Array = np.ndarray[Any, np.dtype[Any]]

NAME = "review.csv"
SCORES = ("disagreement", "mutual_information", "entropy")
SEVERAL = ";"
"""Between the masks of one image, where classes that may overlap have one each."""


@dataclass
class Review:
    """The rows of one output folder's review.csv, those of before and those of now.

    Attributes:
        folder: the output folder.
        spec: class names.
        rows: by the name of the image.
    """

    folder: Path
    spec: DataSpec
    rows: dict[str, Row] = field(default_factory=dict)

    def add(
        self,
        image: str,
        mask: str,
        flagged: Sequence[str],
        scores: Mapping[str, float] | None = None,
        classes: Array | None = None,
    ) -> None:
        """Add what was found about one image.

        Args:
            image: its name.
            mask: its mask relative to the output folder, several joined by ";"; "" when there is none.
            flagged: what is odd about it.
            scores: by the names of `SCORES`, 0 to 1; None when nothing was predicted.
            classes: (H, W) uint8, the prediction.
        """
        row = {"image": image, "mask": mask, "flags": "; ".join(flagged)}
        row |= {name: f"{value:.4f}" for name, value in (scores or {}).items() if name in SCORES}
        if classes is not None:
            shares = label_mode(self.spec).pixels(classes, self.spec.num_classes) / max(1, classes.size)
            row |= {f"share_{name}": f"{shares[k]:.4f}" for k, name in enumerate(self.spec.classes) if k}
            row["size"] = f"{classes.shape[0]}x{classes.shape[1]}"
        self.rows[image] = row

    def write(self) -> Path | None:
        """Write the rows, those to look at first at the top; return the file, or None if there is no row.

        Order: flagged before others, then by disagreement, then by entropy, the highest first.

        Raises:
            DataError: the file cannot be written.
        """
        if not self.rows:
            return None
        columns = ["image", "mask", "flags", *SCORES, *(f"share_{name}" for name in self.spec.classes[1:]), "size"]
        return write_rows(self.folder / NAME, columns, sorted(self.rows.values(), key=_urgency))


def read_earlier(folder: Path) -> dict[str, Row]:
    """Return the rows of an earlier review whose masks are still there, by the name of the image; none where it is broken."""
    named = {row["image"]: row for row in read_rows(folder / NAME) if row.get("image") and row.get("mask")}
    return {image: row for image, row in named.items() if all((folder / mask).is_file() for mask in masks_in([row]))}


def masks_in(rows: Iterable[Row]) -> list[str]:
    """Return the masks that rows name, relative to the output folder."""
    return [mask for row in rows for mask in row["mask"].split(SEVERAL)]


def _urgency(row: Mapping[str, str]) -> tuple[bool, float, float, str]:
    return (not row.get("flags"), -_number(row, "disagreement"), -_number(row, "entropy"), row["image"])


def _number(row: Mapping[str, str], name: str) -> float:
    try:
        return float(row.get(name) or 0)
    except ValueError:
        return 0.0
