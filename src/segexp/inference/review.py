"""review.csv: masks sorted by how urgently they need a manual review.

Shapes: H W pixels.
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from segexp.atomic import atomic_write
from segexp.data.labels.modes import label_mode
from segexp.inference.outputs import unwritable
from segexp.types import Array, DataSpec

Row = dict[str, str]


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, str]]) -> Path:
    """Write rows as CSV, atomically; missing columns are empty, extra keys are ignored.

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
    """Return the rows of an earlier table; empty if the file is missing or broken."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [{str(key): str(value or "") for key, value in row.items()} for row in csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, csv.Error):
        return []


NAME = "review.csv"
SCORES = ("disagreement", "mutual_information", "entropy")
SEVERAL = ";"
"""Separator of several masks of one image (overlapping classes)."""


@dataclass
class Review:
    """The rows of one folder's review.csv, including those of earlier runs.

    Attributes:
        folder: the output folder.
        spec: class names.
        rows: by image name.
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
        """Add the results of one image.

        Args:
            image: its name.
            mask: its mask relative to the output folder, several joined by ";"; "" if there is none.
            flagged: its flags.
            scores: by the names of `SCORES`, 0 to 1; None if nothing was predicted.
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
        """Write the rows: flagged ones first, then by decreasing disagreement and entropy; return the path, None without rows.

        Raises:
            DataError: the file cannot be written.
        """
        if not self.rows:
            return None
        columns = ["image", "mask", "flags", *SCORES, *(f"share_{name}" for name in self.spec.classes[1:]), "size"]
        return write_rows(self.folder / NAME, columns, sorted(self.rows.values(), key=_urgency))


def read_earlier(folder: Path) -> dict[str, Row]:
    """Return the rows of an earlier review whose masks still exist, by image name; empty if it is broken."""
    named = {row["image"]: row for row in read_rows(folder / NAME) if row.get("image") and row.get("mask")}
    return {image: row for image, row in named.items() if all((folder / mask).is_file() for mask in masks_in([row]))}


def masks_in(rows: Iterable[Row]) -> list[str]:
    """Return the masks in rows, relative to the output folder."""
    return [mask for row in rows for mask in row["mask"].split(SEVERAL)]


def _urgency(row: Mapping[str, str]) -> tuple[bool, float, float, str]:
    return (not row.get("flags"), -_number(row, "disagreement"), -_number(row, "entropy"), row["image"])


def _number(row: Mapping[str, str], name: str) -> float:
    try:
        return float(row.get(name) or 0)
    except ValueError:
        return 0.0
