"""review.csv: masks sorted by how urgently they need a manual review.

Shapes: H W pixels.
"""

import csv
import io
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from segexp.atomic import atomic_write
from segexp.data.labels.modes import label_mode
from segexp.errors import ConfigError, pluralise
from segexp.inference.inputs import Job
from segexp.inference.outputs import unwritable
from segexp.types import Array, DataSpec

Row = dict[str, str]
LONGEST = 1 << 16
"""Bytes at the end of a table in which a row that was cut off is looked for."""


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


def append_rows(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, str]]) -> None:
    """Append rows to a table, with a header if it is new; what a killed process left of a row is removed.

    On a full disk nothing is appended.

    Raises:
        OSError: the file cannot be written.
    """
    text = io.StringIO()
    table = csv.DictWriter(text, columns, restval="", extrasaction="ignore", lineterminator="\n")
    with path.open("ab+", buffering=0) as file:
        size = file.tell()
        file.seek(max(0, size - LONGEST))
        end = file.read()
        file.truncate(size - len(end) + end.rfind(b"\n") + 1)
        start = file.seek(0, io.SEEK_END)
        if not start:
            table.writeheader()
        table.writerows(rows)
        left = text.getvalue().encode()
        try:
            while left:
                left = left[file.write(left) :]
        except OSError:
            file.truncate(start)
            if not start:
                path.unlink()
            raise


def read_rows(path: Path, *, ended: bool = False) -> list[Row]:
    """Return the rows of an earlier table; empty if the file is missing or broken.

    Args:
        path: of the table.
        ended: leave out a last row without line feed, which a killed process left.
    """
    try:
        text = path.read_bytes().decode()
        lines = io.StringIO(text[: text.rfind("\n") + 1] if ended else text, newline="")
        return [{str(key): str(value or "") for key, value in row.items()} for row in csv.DictReader(lines)]
    except (OSError, UnicodeDecodeError, csv.Error):
        return []


NAME = "review.csv"
SCORES = ("disagreement", "mutual_information", "entropy")
SEVERAL = ";"
"""Separator of several masks of one image (overlapping classes)."""
UNRECORDED = "not recorded"
"""Settings of the masks in a table without this column."""


@dataclass
class Review:
    """The rows of one folder's review.csv, including those of earlier runs.

    Attributes:
        folder: the output folder.
        spec: class names.
        rows: by image name.
        settings: what determines the masks, a column of the table; "" for a table without this column.
    """

    folder: Path
    spec: DataSpec
    rows: dict[str, Row] = field(default_factory=dict)
    settings: str = ""

    def row(
        self,
        image: str,
        mask: str,
        flagged: Sequence[str],
        scores: Mapping[str, float] | None = None,
        classes: Array | None = None,
    ) -> Row:
        """Return the row of one image.

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
            row |= {f"share_{name}": f"{shares[k]:.4f}" for k, name in enumerate(self.spec.foreground, start=self.spec.first)}
            row["size"] = f"{classes.shape[0]}x{classes.shape[1]}"
        return row | ({"settings": self.settings} if self.settings else {})

    @property
    def columns(self) -> list[str]:
        """The columns of the table."""
        shares = [f"share_{name}" for name in self.spec.foreground]
        return ["image", "mask", "flags", *SCORES, *shares, "size", *(["settings"] if self.settings else [])]

    def append(self, rows: Iterable[Row]) -> None:
        """Append rows to the file.

        Raises:
            OSError: it cannot be written.
        """
        append_rows(self.folder / NAME, self.columns, rows)

    def load(self) -> None:
        """Replace the rows by those of the file, without those whose masks do not exist."""
        rows = {row["image"]: row for row in read_table(self.folder)}
        self.rows = {image: row for image, row in rows.items() if not row["mask"] or _masks_exist(self.folder, row)}

    def drop(self, again: Container[str], kept: Container[str]) -> None:
        """Remove the rows of images that are predicted again, and those of failed images that are not in `kept`, from the file.

        Raises:
            DataError: it cannot be written.
        """
        self.rows = {image: row for image, row in self.rows.items() if image not in again and (row["mask"] or image in kept)}
        if not self.write():
            (self.folder / NAME).unlink(missing_ok=True)

    def check_settings(self) -> None:
        """Check that the masks of the rows have the settings of this table.

        Raises:
            ConfigError: some have other ones.
        """
        others = [
            row["settings"] for row in self.rows.values() if row["mask"] and row["settings"] not in (self.settings, UNRECORDED)
        ]
        if others:
            raise ConfigError(
                f"{self.folder / NAME} lists {pluralise(len(others), 'mask')} of another network or other settings "
                f"({others[0]}) than those of this command ({self.settings})",
                "One network and one set of settings for all masks of a folder were expected",
                "Type output=DIR with another folder, or overwrite=true to predict all images again",
            )

    def lists(self, job: Job, masks: Sequence[str]) -> bool:
        """Return whether each image of a job has a row with these masks."""
        names = SEVERAL.join(masks)
        return all((row := self.rows.get(job.label(source))) and row["mask"] == names for source in job.sources)

    def write(self) -> Path | None:
        """Write the rows: flagged ones first, then by decreasing disagreement and entropy; return the path, None without rows.

        Raises:
            DataError: the file cannot be written.
        """
        if not self.rows:
            return None
        return write_rows(self.folder / NAME, self.columns, sorted(self.rows.values(), key=_urgency))


def read_earlier(folder: Path) -> dict[str, Row]:
    """Return the rows of an earlier review whose masks still exist, by image name; empty if it is broken."""
    named = {row["image"]: row for row in read_table(folder) if row["mask"]}
    return {image: row for image, row in named.items() if _masks_exist(folder, row)}


def read_table(folder: Path) -> list[Row]:
    """Return the complete rows of a review."""
    rows = ({"settings": UNRECORDED, **row} for row in read_rows(folder / NAME, ended=True))
    return [row for row in rows if row.get("image") and "mask" in row]


def _masks_exist(folder: Path, row: Row) -> bool:
    return all((folder / mask).is_file() for mask in masks_in([row]))


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
