"""The curves of a run as its CSV log has them, those from before a resume included."""

import csv
import json
import math
import shlex
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from segexp.config.saved_runs import Saved, as_yaml, defaults
from segexp.evaluation.records import Record
from segexp.evaluation.run_info import About
from segexp.reporting import charts
from segexp.reporting.html import Html, code, details, element, facts, paragraph, section, table
from segexp.reporting.line_charts import Line, curves

Series = dict[str, dict[int, float]]
"""Values by epoch (from 0 on), by name."""

SHOWN_CLASSES = 7
"""Classes with a line of their own beside the mean."""


def read_history(directory: Path) -> Series:
    """Read `csv/metrics_1.csv` … and `csv/metrics.csv`; what the later files say of an epoch counts.

    Lines that cannot be understood, such as the last one of a run that was killed, are passed over.
    """
    folder = directory / "csv"
    found: Series = {}
    earlier = sorted(folder.glob("metrics_*.csv"), key=lambda file: (len(file.name), file.name))
    for file in [*earlier, folder / "metrics.csv"]:
        if file.is_file():
            with file.open(newline="", encoding="utf-8", errors="replace") as lines:
                for row in csv.DictReader(lines):
                    _take(row, found)
    return {name: dict(sorted(values.items())) for name, values in found.items()}


def _take(row: Mapping[str | None, str | None], found: Series) -> None:
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


def history_section(found: Series, classes: list[str], best: int | None) -> Html:
    """Return losses, Dice and learning rate over the epochs.

    Args:
        found: what `read_history` returned.
        classes: foreground class names.
        best: epoch whose weights were kept.
    """
    if not found:
        return section("Training", paragraph("The curves are not here: csv/metrics.csv is missing or empty."))
    mark = (float(best), f"best: epoch {best}") if best is not None else None
    loss = [_line(found, "loss/train", "training"), _line(found, "loss/val", "validation")]
    dice = [_line(found, "val/dice", "mean over classes" if len(classes) > 1 else "Dice")]
    if len(classes) > 1:
        dice += [_line(found, f"val/dice/{name}", name) for name in classes[:SHOWN_CLASSES]]
    drawn = [
        curves(loss, "Loss", "epoch", guide=mark),
        curves(dice, "Dice on the validation cases", "epoch", guide=mark),
        curves([_line(found, "lr", "learning rate")], "Learning rate", "epoch"),
    ]
    left_out = len(classes) - SHOWN_CLASSES
    note = paragraph(f"The chart of Dice shows the first {SHOWN_CLASSES} of {len(classes)} classes.") if left_out > 0 else ""
    return section("Training", element("div", *[chart for chart in drawn if chart], class_="charts"), note)


def _line(found: Series, key: str, name: str) -> Line:
    values = found.get(key, {})
    return Line(name, list(values), list(values.values()))


LEFT_OUT = ("resume", "study", "run_dir")
"""Keys that say where a run lies, not what it does."""

LONGEST = 300
"""Characters of a value in the table of differences."""

SPLITS = ("train", "val", "test")


def data_section(record: Record, about: About) -> Html:
    """Return sizes, class shares and the split."""
    data, found = about.config.get("data") or {}, about.fingerprint
    pairs = [("name", str(data.get("name", ""))), ("folder", str(data.get("root", ""))), ("split", _split(record.split))]
    pairs.append(("groups", _groups(record.split)))
    pairs.append(("channels", str(data.get("channels", ""))))
    if sizes := found.get("sizes"):
        pairs.append(("training images (height x width)", _sizes(sizes)))
    for key, name in (("mean", "mean intensity"), ("std", "standard deviation")):
        if found.get(key):
            pairs.append((name, ", ".join(f"{value:.3f}" for value in found[key])))
    content = [facts([(name, text) for name, text in pairs if text])]
    shares = found.get("class_share") or []
    if len(shares) == len(about.classes) > 0:
        palette = about.palette or ((128, 128, 128),) * len(shares)
        drawn = charts.shares(about.classes, shares, palette, "Share of each class in the training pixels")
        content.append(element("figure", drawn, element("figcaption", "share of the training pixels"), class_="narrow"))
    return section("What the data are", *content)


def _split(rows: Sequence[Mapping[str, str]]) -> str:
    counts = Counter(row["split"] for row in rows)
    return ", ".join(f"{counts[split]} {split}" for split in SPLITS if counts[split])


def _groups(rows: Sequence[Mapping[str, str]]) -> str:
    names: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row.get("group"):
            names[row["split"]].add(row["group"])
    texts = [f"{len(names[split])} in {split}" + _few(sorted(names[split])) for split in SPLITS if names[split]]
    return "; ".join(texts)


def _few(names: Sequence[str]) -> str:
    return f" ({', '.join(names)})" if len(names) <= 8 else ""


def _sizes(sizes: Mapping[str, int]) -> str:
    if len(sizes) <= 6:
        return ", ".join(f"{size} ({count})" for size, count in sizes.items())
    ordered = sorted(sizes, key=lambda size: [int(side) for side in size.split("x")])
    return f"{len(sizes)} sizes from {ordered[0]} to {ordered[-1]}"


def machine_section(record: Record, about: About) -> Html:
    """Return time, throughput, memory and versions."""
    known = record.facts | about.more
    pairs = [
        ("finished", _time(record.directory / "metrics.json")),
        ("duration", duration(known.get("seconds"))),
        ("epochs", _text(known, "epochs", "{}") + _text(known, "best_epoch", " (best: epoch {}, counted from 0)")),
        ("optimizer steps", _text(known, "steps", "{}")),
        ("throughput", _text(known, "images_per_second", "{:.1f} training images per second")),
        ("peak memory", memory(known.get("peak_memory_bytes"))),
        ("parameters", _text(known, "parameters", "{:,}")),
        ("precision", _text(known, "precision", "{}")),
        ("device", _text(known, "device", "{}")),
        ("versions", ", ".join(f"{name} {text}" for name, text in about.versions.items())),
    ]
    return section("Time, memory and versions", facts([(name, text) for name, text in pairs if text]))


def duration(seconds: object) -> str:
    """Return "6.1 minutes"; nothing for what is no number."""
    if not isinstance(seconds, int | float):
        return ""
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.1f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def memory(size: object) -> str:
    """Return "1.24 GB"; nothing for what is no number."""
    return f"{size / 1e9:.2f} GB" if isinstance(size, int | float) else ""


def _time(path: Path) -> str:
    try:
        return f"{datetime.fromtimestamp(path.stat().st_mtime).astimezone():%Y-%m-%d %H:%M %Z}"
    except OSError:
        return ""


def _text(known: Mapping[str, Any], key: str, form: str) -> str:
    value = known.get(key)
    return "" if value is None else form.format(value)


def settings_section(about: About, kept: Saved | None) -> Html:
    """Return how the settings differ from the defaults of the chosen options, and all of them."""
    content = [paragraph("How they differ from the defaults is not known: .hydra/hydra.yaml is missing or broken.")]
    if kept is not None and kept.choices:
        chosen = ", ".join(f"{group}={option}" for group, option in sorted(kept.choices.items()))
        usual = defaults(kept.choices, kept.folders)
        gone = [paragraph("The defaults of these options are no longer there.")]
        content = [paragraph("Options: ", element("code", chosen)), *(gone if usual is None else _differing(about, usual))]
    if about.config:
        content.append(details("All settings", code(as_yaml(about.config))))
    return section("Settings", *content)


def _differing(about: About, usual: Mapping[str, Any]) -> list[Html]:
    rows = [[key, value_text(own), value_text(default)] for key, own, default in differences(about.config, usual)]
    if not rows:
        return [paragraph("Nothing differs from the defaults of these options.")]
    return [
        paragraph("These settings differ from the defaults of the options:"),
        table(("setting", "this run", "default"), rows),
    ]


ABSENT = object()
"""Stands for a setting that is not there."""


def differences(own: Mapping[str, Any], usual: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield dotted key, own value and default of each setting that differs; `ABSENT` where there is no default.

    A setting that the run does not have is one that came with a later version.
    """
    for key, one in own.items():
        name, other = f"{prefix}{key}", usual.get(key, ABSENT)
        if one == other or name in LEFT_OUT:
            continue
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            yield from differences(one, other, f"{name}.")
        else:
            yield name, one, other


def value_text(value: Any) -> str:
    """Return a setting as one line."""
    if value is ABSENT:
        return "(none)"
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} …"


def command_section(kept: Saved | None) -> Html:
    """Return the command that makes the run again."""
    if kept is None:
        return section("The same run again", paragraph("The command is not known: .hydra/overrides.yaml is missing or broken."))
    where = f"Typed in {kept.cwd}; paths that do not begin with / mean that folder. " if kept.cwd else ""
    return section("The same run again", code(command(kept)), paragraph(f"{where}The new run gets a directory of its own."))


def command(kept: Saved) -> str:
    """Return the command line of a run; of a job of a study, that of a single run."""
    return command_line(kept, kept.overrides)


def command_line(kept: Saved, overrides: Sequence[str]) -> str:
    """Return the command of training with overrides; those that say where the run lies are left out."""
    words = [word for word in overrides if word.partition("=")[0].lstrip("+~") not in LEFT_OUT]
    folders = [f"--config-dir={folder}" for folder in kept.folders]
    return shlex.join(["python", "-m", "segexp.train", *folders, *words])
