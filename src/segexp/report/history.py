"""The curves of a run as its CSV log has them, those from before a resume included."""

import csv
import math
from collections.abc import Mapping
from pathlib import Path

from segexp.report.curves import Line, curves
from segexp.report.page import Html, element, paragraph, section

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
