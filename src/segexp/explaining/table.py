"""explanations.csv: what was explained, and how much of each map lies where it should."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from segexp.explaining.pointing import Pointing
from segexp.prediction.earlier import Row, read_rows, write_rows

Key = tuple[str, str, str]

NAME = "explanations.csv"
ASKED = ("target", "method", "layer", "region", "checkpoint")
FOUND = ("region_pixels", "region_share", "inside", "peak_row", "peak_column", "peak_inside", "highest", "note", "picture")
COLUMNS = ("file", *ASKED, *FOUND)


@dataclass(frozen=True)
class Asked:
    """What is asked about every image of a command.

    Attributes:
        target: name of the class.
        method: one of `METHODS`.
        layer: its name; with what else the map depends on where there is no layer ("steps=32", "window=16").
        region: "predicted", "truth", or the box as "top,left,bottom,right".
        checkpoint: the file.
    """

    target: str
    method: str
    layer: str
    region: str
    checkpoint: str


@dataclass
class Table:
    """The rows of one output folder, those of before and those of now.

    Attributes:
        folder: the output folder.
        asked: what this command asks.
        rows: by file, class and method.
    """

    folder: Path
    asked: Asked
    rows: dict[Key, Row] = field(default_factory=dict)

    def add(self, file: str, pixels: int, found: Pointing | None, note: str, picture: str) -> None:
        """Add what was found about one picture.

        Args:
            file: its name.
            pixels: of the region.
            found: how the map lies to the region; None where there is no map.
            note: what is to be known.
            picture: the file with the map, relative to the folder; "" where there is none.
        """
        row = {"file": file, **asdict(self.asked), "region_pixels": str(pixels), "note": note, "picture": picture}
        if found is not None:
            row |= {"region_share": f"{found.share:.4f}", "highest": f"{found.highest:.4g}"}
            row["inside"] = "" if math.isnan(found.inside) else f"{found.inside:.4f}"
            row["peak_inside"] = "" if found.hit is None else "yes" if found.hit else "no"
            row |= dict(zip(("peak_row", "peak_column"), map(str, found.peak), strict=True)) if found.peak else {}
        self.rows[self._key(file)] = row

    def done(self, file: str) -> Row | None:
        """Return the row of a picture that was explained before, asked just so, if only to find nothing; None of any other."""
        row = self.rows.get(self._key(file))
        return row if row is not None and all(row.get(name) == text for name, text in asdict(self.asked).items()) else None

    def write(self) -> Path | None:
        """Write the rows, those of before first; return the file, or None where there is no row.

        Raises:
            DataError: it cannot be written.
        """
        if not self.rows:
            return None
        return write_rows(self.folder / NAME, COLUMNS, self.rows.values())

    def _key(self, file: str) -> Key:
        return file, self.asked.target, self.asked.method


def read_earlier(folder: Path) -> dict[Key, Row]:
    """Return the rows of an earlier table whose pictures are still there; none where it is broken."""
    rows = read_rows(folder / NAME)
    return {_key_of(row): row for row in rows if row.get("file") and "picture" in row and (folder / row["picture"]).exists()}


def _key_of(row: Mapping[str, str]) -> Key:
    return row["file"], row.get("target", ""), row.get("method", "")
