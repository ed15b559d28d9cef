"""report.html of a run.

To add a chart: build it here from the record with a function of `charts.py`, and place it in `templates/run.html.j2`.
"""

import csv
import json
import math
import shlex
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from segexp.config.overrides import shell_words
from segexp.config.saved_runs import SavedRun, as_yaml, config_of_choices, read_saved_run
from segexp.errors import DataError
from segexp.evaluation.records import Record, read_record, unfinished_reason
from segexp.evaluation.run_info import RunInfo, read_run_info, training_directory
from segexp.reporting.case_images import case_gallery, explained_section, read_case_images
from segexp.reporting.charts import Chart, Series, bar_chart, line_chart
from segexp.reporting.diagnostics import (
    CALIBRATION_FILE,
    CONFUSION_FILE,
    MatrixTable,
    calibration_plots,
    confusion_from_cases,
    matrix_tables,
    read_calibration,
    read_confusion,
)
from segexp.reporting.images import Picture, embed_file
from segexp.reporting.rendering import REPORT_FILE, render, write_page
from segexp.reporting.scores import (
    OPEN_CLASSES,
    SplitScores,
    case_grid,
    describe_means,
    score_histograms,
    score_notice,
    score_tables,
    scores_by_split,
)
from segexp.reporting.tables import Table

History = dict[str, dict[int, float]]
"""Values by epoch (from 0 on), by name."""

MAX_CLASS_LINES = 7
"""Maximum number of classes with a line in addition to the mean."""
LOCATION_KEYS = ("resume", "study", "run_dir")
"""Keys that only describe the location of a run."""
MAX_VALUE_LENGTH = 300
"""Maximum length of a value in the table of differences."""
SPLITS = ("train", "val", "test")
NO_DEFAULT = object()
"""Marks a missing setting."""


@dataclass(frozen=True)
class Confusion:
    """The confusion of one split: matrices, or the image of an older run, or neither."""

    split: str
    matrices: Sequence[MatrixTable]
    picture: Picture | None


@dataclass(frozen=True)
class Settings:
    """Differences between the settings of a run and the defaults.

    Attributes:
        options: of the configuration groups; "" if unknown.
        differences: setting, value and default; None if the defaults are unknown.
        text: all settings as YAML.
    """

    options: str
    differences: Table | None
    text: str


def write_run_report(directory: Path) -> Path:
    """Write `report.html` into the directory of a finished run; the data set is not needed.

    Returns:
        The page.

    Raises:
        DataError: the run is unfinished, or its scores are missing or broken.
    """
    if problem := unfinished_reason(directory):
        raise DataError(
            f"{directory} is not a finished run ({problem})",
            "A report is made of the metrics.json and cases.csv that training writes last",
            f"Go on with it: python -m segexp.train {shell_words({'resume': directory})}",
        )
    path = directory / REPORT_FILE
    write_page(path, run_page(read_record(directory)))
    return path


def run_page(record: Record) -> str:
    """Return the page of a run."""
    about, parts, kept = read_run_info(record), scores_by_split(record), read_saved_run(training_directory(record))
    data, foreground = about.config.get("data") or {}, list(record.foreground)
    overlapping = data.get("labels") == "overlapping"
    matrices = read_confusion(record.directory / CONFUSION_FILE, record.classes)
    images, keys = read_case_images(record.directory), (about.classes, about.palette, about.background)
    gallery = case_gallery(record.directory, images, record.splits, *keys)
    name = record.choices.get("model", "run")
    return render(
        "run.html.j2",
        interactive=True,
        title=f"{name} on {data['name']}" if data.get("name") else str(name),
        subtitle=str(record.directory.resolve()),
        summary=score_notice(parts, classes_never_found(parts), _remarks(record)),
        score_note=describe_means(parts),
        score_tables=[score_tables(part, record.scores) for part in parts],
        open_classes=OPEN_CLASSES,
        trained=training_directory(record) == record.directory,  # evaluations have no training curves
        training_charts=training_charts(read_history(record.directory), foreground, _best_epoch(record)),
        class_lines=(MAX_CLASS_LINES, len(foreground)),
        gallery=gallery,
        evidence=explained_section(record.directory),
        histograms=score_histograms(parts),
        cases=case_grid(parts, gallery.anchors),
        overlapping=overlapping,
        confusions=[_confusion(record, part.split, matrices.get(part.split), overlapping) for part in parts],
        calibration=calibration_plots(read_calibration(record.directory / CALIBRATION_FILE)),
        data_facts=data_facts(record, about),
        class_shares=class_share_chart(about),
        settings=compare_settings(about, kept),
        machine_facts=machine_facts(record, about),
        command=training_command(kept) if kept else "",
        cwd=kept.cwd if kept else "",
    )


def classes_never_found(parts: Sequence[SplitScores]) -> list[str]:
    """Return a sentence for each class that was never found in a split."""
    found = []
    for part in parts:
        for k, name in enumerate(part.classes):
            there = ~part.missing[:, k]
            if there.any() and not part.values["tp"][there, k].any():
                found.append(f"{name} was not found in any of the {int(there.sum())} {part.split} cases that have it.")
    return found


def _remarks(record: Record) -> list[str]:
    best, epochs = _best_epoch(record), record.facts.get("epochs")
    if best is not None and isinstance(epochs, int) and epochs > 1 and best >= epochs - 1:
        return ["The last epoch was the best one: longer training may raise the score."]
    return []


def _best_epoch(record: Record) -> int | None:
    best = record.facts.get("best_epoch")
    return best if isinstance(best, int) else None


def read_history(directory: Path) -> History:
    """Read `csv/metrics_1.csv` … and `csv/metrics.csv`; later files take precedence, invalid lines are skipped."""
    folder = directory / "csv"
    found: History = {}
    earlier = sorted(folder.glob("metrics_*.csv"), key=lambda file: (len(file.name), file.name))
    for file in [*earlier, folder / "metrics.csv"]:
        if file.is_file():
            with file.open(newline="", encoding="utf-8", errors="replace") as lines:
                for row in csv.DictReader(lines):
                    _add_row(row, found)
    return {name: dict(sorted(values.items())) for name, values in found.items()}


def _add_row(row: Mapping[str | None, str | None], found: History) -> None:
    try:
        epoch = int(float(row.get("epoch") or "nan"))
    except ValueError:
        return
    for name, text in row.items():
        if name in (None, "epoch", "step") or not text:
            continue
        try:
            value = float(text)
        except (TypeError, ValueError):
            continue
        if math.isfinite(value):
            found.setdefault(str(name), {})[epoch] = value


def training_charts(history: History, classes: Sequence[str], best: int | None) -> list[Chart]:
    """Return charts of losses, Dice and learning rate over the epochs, as far as logged.

    Args:
        history: result of `read_history`.
        classes: foreground class names.
        best: epoch of the best weights.
    """
    marker = (float(best), f"best: epoch {best}") if best is not None else None
    losses = [history_line(history, "loss/train", "training"), history_line(history, "loss/val", "validation")]
    dice = [history_line(history, "val/dice", "mean over classes" if len(classes) > 1 else "Dice")]
    if len(classes) > 1:
        dice += [history_line(history, f"val/dice/{name}", name) for name in classes[:MAX_CLASS_LINES]]
    charts = [
        line_chart(losses, "Loss", "epoch", marker=marker),
        line_chart(dice, "Dice on the validation cases", "epoch", marker=marker),
        line_chart([history_line(history, "lr", "learning rate")], "Learning rate", "epoch"),
    ]
    return [chart for chart in charts if chart is not None]


def history_line(history: History, key: str, name: str) -> Series:
    """Return the logged values of a key as a line of a chart."""
    values = history.get(key, {})
    return Series(name, list(values), list(values.values()))


def _confusion(record: Record, split: str, counts: np.ndarray | None, overlapping: bool) -> Confusion:
    counts = confusion_from_cases(record.cases, split) if counts is None else counts
    if counts is not None and counts.sum():
        return Confusion(split, matrix_tables(counts, record.classes, overlapping), None)
    return Confusion(split, [], embed_file(record.directory / "pictures" / f"{split}_confusion.png", "Confusion matrix"))


def data_facts(record: Record, about: RunInfo) -> list[tuple[str, str]]:
    """Return name, folder, split, groups, channels, sizes and intensities of the data, as far as known."""
    data, found = about.config.get("data") or {}, about.fingerprint
    pairs = [("name", str(data.get("name", ""))), ("folder", str(data.get("root", ""))), ("split", _split_text(record.split))]
    pairs.append(("groups", _groups_text(record.split)))
    pairs.append(("channels", str(data.get("channels", ""))))
    if sizes := found.get("sizes"):
        pairs.append(("training images (height x width)", _sizes_text(sizes)))
    for key, name in (("mean", "mean intensity"), ("std", "standard deviation")):
        if found.get(key):
            pairs.append((name, ", ".join(f"{value:.3f}" for value in found[key])))
    return [(name, text) for name, text in pairs if text]


def class_share_chart(about: RunInfo) -> Chart | None:
    """Return a chart of the class shares of the training pixels; None if unknown."""
    shares = about.fingerprint.get("class_share") or []
    if not len(shares) == len(about.classes) > 0:
        return None
    palette = about.palette or ((128, 128, 128),) * len(shares)
    return bar_chart(about.classes, shares, palette, "Share of each class in the training pixels")


def _split_text(rows: Sequence[Mapping[str, str]]) -> str:
    counts = Counter(row["split"] for row in rows)
    return ", ".join(f"{counts[split]} {split}" for split in SPLITS if counts[split])


def _groups_text(rows: Sequence[Mapping[str, str]]) -> str:
    names: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row.get("group"):
            names[row["split"]].add(row["group"])
    listed = {split: f" ({', '.join(sorted(own))})" if len(own) <= 8 else "" for split, own in names.items()}
    return "; ".join(f"{len(names[split])} in {split}{listed[split]}" for split in SPLITS if names.get(split))


def _sizes_text(sizes: Mapping[str, int]) -> str:
    if len(sizes) <= 6:
        return ", ".join(f"{size} ({count})" for size, count in sizes.items())
    ordered = sorted(sizes, key=lambda size: [int(side) for side in size.split("x")])
    return f"{len(sizes)} sizes from {ordered[0]} to {ordered[-1]}"


def machine_facts(record: Record, about: RunInfo) -> list[tuple[str, str]]:
    """Return time, throughput, memory and versions, as far as known."""
    known = record.facts | about.more
    pairs = [
        ("finished", _modified(record.directory / "metrics.json")),
        ("duration", format_duration(known.get("seconds"))),
        ("epochs", _filled(known, "epochs", "{}") + _filled(known, "best_epoch", " (best: epoch {}, counted from 0)")),
        ("optimizer steps", _filled(known, "steps", "{}")),
        ("throughput", _filled(known, "images_per_second", "{:.1f} training images per second")),
        ("peak memory", format_memory(known.get("peak_memory_bytes"))),
        ("parameters", _filled(known, "parameters", "{:,}")),
        ("precision", _filled(known, "precision", "{}")),
        ("device", _filled(known, "device", "{}")),
        ("versions", ", ".join(f"{name} {text}" for name, text in about.versions.items())),
    ]
    return [(name, text) for name, text in pairs if text]


def format_duration(seconds: object) -> str:
    """Return "6.1 minutes"; "" if it is not a number."""
    if not isinstance(seconds, int | float):
        return ""
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.1f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def format_memory(size: object) -> str:
    """Return "1.24 GB"; "" if it is not a number."""
    return f"{size / 1e9:.2f} GB" if isinstance(size, int | float) else ""


def _modified(path: Path) -> str:
    try:
        return f"{datetime.fromtimestamp(path.stat().st_mtime).astimezone():%Y-%m-%d %H:%M %Z}"
    except OSError:
        return ""


def _filled(known: Mapping[str, Any], key: str, form: str) -> str:
    value = known.get(key)
    return "" if value is None else form.format(value)


def compare_settings(about: RunInfo, kept: SavedRun | None) -> Settings:
    """Return the settings and their differences from the defaults of the chosen options."""
    text = as_yaml(about.config) if about.config else ""
    if kept is None or not kept.choices:
        return Settings("", None, text)
    options = ", ".join(f"{group}={option}" for group, option in sorted(kept.choices.items()))
    usual = config_of_choices(kept.choices, kept.folders)
    if usual is None:
        return Settings(options, None, text)
    rows = [[key, format_value(own), format_value(default)] for key, own, default in differences(about.config, usual)]
    return Settings(options, Table(("setting", "this run", "default"), rows), text)


def differences(own: Mapping[str, Any], usual: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield dotted key, own value and default (or `NO_DEFAULT`) of each differing setting of the run."""
    for key, one in own.items():
        name, other = f"{prefix}{key}", usual.get(key, NO_DEFAULT)
        if one == other or name in LOCATION_KEYS:
            continue
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            yield from differences(one, other, f"{name}.")
        else:
            yield name, one, other


def format_value(value: Any) -> str:
    """Return a setting as one line."""
    if value is NO_DEFAULT:
        return "(none)"
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= MAX_VALUE_LENGTH else f"{text[:MAX_VALUE_LENGTH]} …"


def training_command(kept: SavedRun) -> str:
    """Return the command that repeats a run (or a single job of a study), without its location."""
    words = [word for word in kept.overrides if word.partition("=")[0].lstrip("+~") not in LOCATION_KEYS]
    folders = [f"--config-dir={folder}" for folder in kept.folders]
    return shlex.join(["python", "-m", "segexp.train", *folders, *words])
