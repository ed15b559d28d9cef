"""Read finished runs from their directories, without any training code."""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from segexp.config.migration import upgrade
from segexp.config.overrides import shell_words
from segexp.config.saved_runs import load_yaml, study_command
from segexp.data.splits import read_split_csv, split_hash
from segexp.errors import DataError, listed, nearest

DEEP = 3
"""Maximum folder depth at which runs are searched."""

MARKS = ("metrics.json", ".hydra", "checkpoints")
"""A folder that contains one of these is a run directory."""


def find_runs(path: Path) -> list[Path]:
    """Return the run directories at or below a path, in alphabetical order.

    Raises:
        DataError: the path does not exist, is a file, or contains no run.
    """
    if not path.is_dir():
        found = "is a file" if path.is_file() else "does not exist"
        beside = [p.name for p in path.parent.iterdir() if p.is_dir()] if path.parent.is_dir() and not path.exists() else []
        hint = f" {nearest(path.name, beside)}" if beside else ""
        raise DataError(
            f"{path} {found}",
            f"The directory of a run or of a study was expected.{hint}",
            "Type the directory that training printed, as in python -m segexp.compare runs/liver/unet/DATE_TIME",
        )
    found_runs = list(_below(path, DEEP))
    if not found_runs:
        inside = listed(sorted(p.name for p in path.iterdir() if not p.name.startswith("."))) or "nothing"
        raise DataError(
            f"{path} holds no run: there is {inside}",
            "A run directory (with metrics.json and cases.csv), or a folder of them, was expected",
            "Type the directory that training printed, as in python -m segexp.compare runs/liver/unet/DATE_TIME",
        )
    return found_runs


def _below(folder: Path, deep: int) -> Iterator[Path]:
    if any((folder / name).exists() for name in MARKS):
        yield folder
    elif deep:
        for inner in sorted(folder.iterdir()):
            if inner.is_dir() and not inner.name.startswith("."):
                yield from _below(inner, deep - 1)


def unfinished_reason(directory: Path) -> str:
    """Return a short reason why a run is unfinished, "" if it is finished."""
    if (directory / "metrics.json").is_file():
        return ""
    failed = directory / "failed.txt"
    if failed.is_file():
        reason = failed.read_text(encoding="utf-8").partition("\n\n")[0].strip().removeprefix("segexp: ")
        return f"failed: {reason[:160].rstrip('.')}{' …' * (len(reason) > 160)}"
    if (directory / "checkpoints" / "last.ckpt").is_file():
        return "stopped, or still running"
    return "stopped before the first epoch ended"


BACKGROUND = "background"
"""The entry of metrics.json that says whether the means leave out the first class; missing in older runs, which did."""


def background_fact(background: bool) -> dict[str, Any]:
    """Return the entry of metrics.json that says whether the means leave out the first class."""
    return {BACKGROUND: background}


NAMING = ("split", "id", "group", "class")
"""The identifying columns of cases.csv; all others are numeric."""

NEEDED = (*NAMING, "tp", "fp", "fn")
"""The required columns of cases.csv."""


@dataclass(frozen=True)
class Record:
    """One finished run.

    Attributes:
        directory: of the run.
        scores: of metrics.json, by "<split>/<score>"; NaN if undefined.
        facts: the other entries of metrics.json: seconds, parameters, images_per_second, peak_memory_bytes …
        cases: the rows of cases.csv, one per case and class.
        split: the rows of split.csv; empty if the directory holds scores only.
        config: the composed configuration with current key names; references (`${data.channels}`) are not resolved.
        choices: the option of each group, as in {"model": "unet"}.
        overrides: the command-line overrides, "key=value".
    """

    directory: Path
    scores: dict[str, float]
    facts: dict[str, Any]
    cases: list[dict[str, str]]
    split: list[dict[str, str]] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    choices: dict[str, str] = field(default_factory=dict)
    overrides: list[str] = field(default_factory=list)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The class names; the background, if any, is the first one."""
        return tuple(dict.fromkeys(row["class"] for row in self.cases))

    @property
    def foreground(self) -> tuple[str, ...]:
        """The names of the classes that count in means."""
        return self.classes[int(self.facts.get(BACKGROUND, True)) :]

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The names of the scores and counts per case and class."""
        return tuple(name for name in self.cases[0] if name not in NAMING)

    @cached_property
    def splits(self) -> tuple[str, ...]:
        """The splits that were scored."""
        return tuple(dict.fromkeys(row["split"] for row in self.cases))

    @cached_property
    def split_hash(self) -> str | None:
        """Hash of the split; None without split.csv."""
        return split_hash(self.split) if self.split else None

    @property
    def seed(self) -> int | None:
        """The seed of the run."""
        return _whole(self.config.get("seed"))

    @property
    def fold(self) -> int | None:
        """The validation fold, None without folds."""
        return _whole((self.config.get("data") or {}).get("fold"))

    @property
    def folds(self) -> int | None:
        """The number of folds, None without folds."""
        return _whole((self.config.get("data") or {}).get("folds"))

    @property
    def study(self) -> Path | None:
        """The folder of the study that the run belongs to."""
        return self.directory.parent if (self.directory.parent / "multirun.yaml").is_file() else None


def record_of_rows(rows: Iterable[Mapping[str, object]], background: bool) -> Record:
    """Return a record of rows of `cases.csv` alone; `background`: the means leave out the first class."""
    return Record(Path(), {}, background_fact(background), [{name: str(value) for name, value in row.items()} for row in rows])


def read_records(paths: Iterable[Path], skip_unfinished: bool = False) -> tuple[list[Record], list[str]]:
    """Read all runs at the given paths (run directories, studies, folders of runs), each once.

    Args:
        paths: as typed.
        skip_unfinished: leave out unfinished runs.

    Returns:
        The finished runs in the given order, and a message per run left out.

    Raises:
        DataError: a path does not exist or contains no run, a run is unfinished, or its files are broken.
    """
    directories = list({run.resolve(): run for path in paths for run in find_runs(Path(path))}.values())
    problems = {run: problem for run in directories if (problem := unfinished_reason(run))}
    if problems and (not skip_unfinished or len(problems) == len(directories)):
        all_of_them = len(problems) == len(directories)
        raise DataError(
            f"{len(problems)} of {len(directories)} run{'s' * (len(directories) > 1)} never finished: "
            f"{listed(f'{run} ({problem})' for run, problem in problems.items())}",
            "Finished runs were expected, each with the metrics.json that training writes last",
            _go_on(problems) + ("" if all_of_them else ". Or compare the others alone: skip_unfinished=true"),
        )
    skipped = [f"{run} never finished ({problem}) and is left out." for run, problem in problems.items()]
    return [read_record(run) for run in directories if run not in problems], skipped


def _go_on(runs: Iterable[Path]) -> str:
    """Return advice on how to finish runs, with the command of their study if known."""
    studies = {run.parent for run in runs}
    command, cwd = study_command(studies.pop()) if len(studies) == 1 else ("", "")
    if command:
        return f"Type{f' in {cwd}' * bool(cwd)}: {command}, which does only what is missing"
    return "Go on with each: python -m segexp.train resume=RUN; a study by its own command"


def read_record(directory: Path) -> Record:
    """Read a run directory or the output directory of an evaluation.

    Raises:
        DataError: a file is missing or broken.
    """
    content = _metrics(directory / "metrics.json")
    scores = {str(name): float("nan") if value is None else float(value) for name, value in content.pop("scores").items()}
    cases = _cases(directory / "cases.csv")
    split = read_split_csv(directory / "split.csv") if (directory / "split.csv").is_file() else []
    origin = directory
    if "checkpoint" in content:  # an evaluation: take the settings of the run that was scored
        origin = Path(str(content["checkpoint"])).parent.parent
        with_origin = origin / "metrics.json"
        content = (_metrics(with_origin) if with_origin.is_file() else {}) | content
        content.pop("scores", None)
    config, hydra, overrides = (_yaml(origin / ".hydra" / f"{name}.yaml") for name in ("config", "hydra", "overrides"))
    return Record(
        directory,
        scores,
        content,
        cases,
        split,
        upgrade(config) if isinstance(config, dict) else {},
        _choices(hydra, overrides),
        [str(text) for text in overrides] if isinstance(overrides, list) else [],
    )


def _metrics(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        content = None
    if not isinstance(content, dict) or not isinstance(content.get("scores"), dict):
        raise DataError(
            f"{path} is not the metrics.json of a run",
            "JSON with the entry scores was expected",
            "Copy it again from where the run was made, or leave the run out",
        )
    return content


def _cases(path: Path) -> list[dict[str, str]]:
    """Return the rows of cases.csv with all score columns."""
    rows: list[dict[str, str]] = []
    columns: list[str] = []
    if path.is_file():
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            rows, columns = list(reader), list(reader.fieldnames or ())
    if not rows or not set(NEEDED) <= set(columns):
        found = "does not exist" if not path.is_file() else f"has {len(rows)} rows with the columns {', '.join(columns)}"
        raise DataError(
            f"{path} {found}",
            f"A row per scored case and class was expected, with the columns {', '.join(NEEDED)}",
            f"Write it again: python -m segexp.evaluate {shell_words({'checkpoint': path.parent})} output=DIR, and compare DIR",
        )
    broken = next((n for n, row in enumerate(rows, 2) if None in row or None in row.values() or _broken(row)), None)
    if broken is not None:
        raise DataError(
            f"Line {broken} of {path} is {', '.join(map(str, rows[broken - 2].values()))}",
            f"A number, or nothing, was expected in each of the columns {', '.join(c for c in columns if c not in NAMING)}",
            "Copy the file again from where the run was made",
        )
    return rows


def _broken(row: Mapping[str, str]) -> bool:
    """Return whether a numeric column of a row contains text."""
    try:
        for name, value in row.items():
            if name not in NAMING and value:
                float(value)
    except ValueError:
        return True
    return False


def _yaml(path: Path) -> Any:
    """Return the content of a saved YAML file; None if it does not exist."""
    try:
        return load_yaml(path)
    except OSError:
        return None
    except ValueError as error:
        raise DataError(
            f"{path} is not YAML ({error})",
            "The settings that were saved with the run were expected",
            "Copy the file again from where the run was made",
        ) from error


def _choices(hydra: Any, words: Any) -> dict[str, str]:
    """Return the option of each group, or the class name where a class was typed (`model._target_=my_nets.Net`: Net)."""
    try:
        chosen = hydra["hydra"]["runtime"]["choices"]
        found = {str(group): str(option) for group, option in chosen.items() if option and not group.startswith("hydra/")}
    except (TypeError, KeyError, AttributeError):
        return {}
    typed = [str(word).lstrip("+").partition("=") for word in words] if isinstance(words, list) else []
    own = {key.removesuffix("._target_"): path.rpartition(".")[2] for key, _, path in typed if key.endswith("._target_")}
    return found | {group: name for group, name in own.items() if group in found}


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
