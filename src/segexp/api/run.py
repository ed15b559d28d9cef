"""A run directory: scores, cases, paths, and resuming."""

import csv
import html
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segexp.errors import DataError

if TYPE_CHECKING:
    from segexp.config.schema import TrainConfig

SPLITS = ("test", "val", "all", "train")
"""Order in which the split of a score without a split is chosen."""

TEXT = ("split", "id", "group", "class", "file")
"""Columns that stay text: case 007 is not case 7."""


class Scores(Mapping[str, Any]):
    """Values by "<split>/<score>"; without the split, that of test, or of val if there is no test split.

    Example:
        >>> run.scores["val/dice"], run.scores["dice"]
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values_by_name = dict(values)

    def __getitem__(self, name: str) -> Any:
        """Return a score; a KeyError lists the available ones."""
        for full in (name, *(f"{split}/{name}" for split in SPLITS)):
            if full in self.values_by_name:
                return self.values_by_name[full]
        raise KeyError(f"{name!r}; there are {', '.join(self.values_by_name)}")

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_by_name)

    def __len__(self) -> int:
        return len(self.values_by_name)

    def __repr__(self) -> str:
        return repr(self.values_by_name)


class Table(Sequence[dict[str, Any]]):
    """Rows of a CSV file with numbers parsed and empty cells None; `pandas.DataFrame(table)` works."""

    def __init__(self, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
        self.rows, self.columns = [dict(row) for row in rows], list(columns)

    @classmethod
    def read(cls, path: Path) -> "Table":
        """Read a CSV file.

        Raises:
            DataError: it does not exist or cannot be read.
        """
        try:
            with path.open(newline="", encoding="utf-8") as file:
                reader = csv.DictReader(file)
                rows = [{key: _cell(key, text) for key, text in row.items() if key is not None} for row in reader]
                return cls(rows, reader.fieldnames or ())
        except OSError as problem:
            raise DataError(
                f"{path} cannot be read ({problem.strerror})",
                "A finished run has it",
                f"Resume the run, or score it again: segexp.evaluate({str(path.parent)!r}, output=DIR)",
            ) from problem

    def __getitem__(self, position: Any) -> Any:
        return self.rows[position]

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"Table of {len(self.rows)} rows: {', '.join(self.columns)}"

    def column(self, name: str) -> list[Any]:
        """Return the cells of a column."""
        return [row[name] for row in self.rows]

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{html.escape(name)}</th>" for name in self.columns)
        rows = (
            "".join(f"<td>{'' if row.get(name) is None else html.escape(_shown(row[name]))}</td>" for name in self.columns)
            for row in self.rows
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(f'<tr>{row}</tr>' for row in rows)}</tbody></table>"


class Run:
    """A run directory.

    Files are read on access, so unfinished runs work. A `Run` is accepted wherever a path is.

    Example:
        >>> run = segexp.train("data/liver", model="unetpp", trainer={"minutes": 10})
        >>> run.scores["dice"], run.intervals["dice"]
        >>> model = segexp.load(run)
    """

    def __init__(self, directory: "str | os.PathLike[str]") -> None:
        """Open a run directory.

        Raises:
            DataError: it does not exist, or is no run directory.
        """
        self.directory = Path(os.fspath(directory)).resolve()
        if not (self.directory / ".hydra").is_dir() and not (self.directory / "checkpoints").is_dir():
            found = "is not a run directory" if self.directory.exists() else "does not exist"
            raise DataError(f"{self.directory} {found}", "The directory that training printed was expected", "Name that one")

    def __fspath__(self) -> str:
        return str(self.directory)

    def __repr__(self) -> str:
        state = "finished" if self.finished else "not finished"
        score = self.scores.get("dice") if self.finished else None
        return f"Run({str(self.directory)!r}, {state}{f', Dice {score:.4f}' if isinstance(score, float) else ''})"

    @property
    def finished(self) -> bool:
        """Whether the run is trained and scored."""
        return (self.directory / "metrics.json").is_file()

    @property
    def metrics(self) -> dict[str, Any]:
        """Content of `metrics.json`: scores, intervals, seconds, epochs, parameters and more.

        Raises:
            DataError: the run is not finished, or the file is damaged.
        """
        path = self.directory / "metrics.json"
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as problem:
            raise DataError(
                f"{path} {'is damaged' if path.is_file() else 'does not exist'}",
                "A finished run has it: training writes it last",
                f"Type segexp.Run({str(self.directory)!r}).resume()",
            ) from problem
        return content if isinstance(content, dict) else {}

    @property
    def scores(self) -> Scores:
        """Mean scores over cases by "<split>/<score>"."""
        found = self.metrics.get("scores") or {}
        return Scores({name: float("nan") if value is None else value for name, value in found.items()})

    @property
    def intervals(self) -> Scores:
        """95 % interval (low, high) of each mean."""
        return Scores({name: tuple(ends) for name, ends in (self.metrics.get("intervals") or {}).items()})

    @cached_property
    def cases(self) -> Table:
        """A row per scored case and class."""
        return Table.read(self.directory / "cases.csv")

    @property
    def best(self) -> Path:
        """The checkpoint with the best validation score."""
        return self.directory / "checkpoints" / "best.ckpt"

    @property
    def last(self) -> Path:
        """The checkpoint of the last complete epoch, from which training resumes."""
        return self.directory / "checkpoints" / "last.ckpt"

    @property
    def report(self) -> Path:
        """The HTML report."""
        return self.directory / "report.html"

    @property
    def pictures(self) -> Path:
        """The folder of images: cases, confusion matrices."""
        return self.directory / "pictures"

    @property
    def config(self) -> "TrainConfig":
        """The training configuration, including inferred values.

        Raises:
            CheckpointError: there is no checkpoint, or it is damaged.
        """
        from segexp.checkpoint import find_checkpoint, read_checkpoint
        from segexp.checkpoint.content import parse_config

        file = find_checkpoint(self.directory)
        return parse_config(read_checkpoint(file)["segexp"]["config"], file)

    def resume(self, **keys: Any) -> "Run":
        """Resume the run, or train a finished one further; `keys` change, such as `trainer={"max_epochs": 200}`."""
        import segexp

        return segexp.train(resume=self.directory, **keys)


def _cell(column: str, text: str | None) -> Any:
    if text in (None, ""):
        return None
    if column in TEXT:
        return text
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
