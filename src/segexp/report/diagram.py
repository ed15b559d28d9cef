"""Calibration: the reliability diagram of a run from the counts in `calibration.json`.

Legend: F foreground classes, M bins.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from segexp.comparison.words import number
from segexp.metrics.calibration import Reliability
from segexp.report.curves import Line, curves
from segexp.report.page import Html, element, paragraph, section, table
from segexp.whole import whole_file

FILE = "calibration.json"
PARTS = ("pixels", "confidence", "hits", "squares")


def write_calibration(path: Path, splits: Mapping[str, Reliability], classes: Sequence[str]) -> None:
    """Write the counts of each split, summed over its cases.

    Args:
        path: of the file.
        splits: counts (F, M) by split.
        classes: F names.
    """
    content = {
        split: {name: {key: np.asarray(getattr(counts, key)[k]).tolist() for key in PARTS} for k, name in enumerate(classes)}
        for split, counts in splits.items()
    }
    with whole_file(path) as part:
        part.write_text(json.dumps(content) + "\n", encoding="utf-8")


def read_calibration(path: Path) -> dict[str, tuple[list[str], Reliability]]:
    """Return class names and counts of each split; nothing where the file is missing or broken."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {
            str(split): (
                list(classes),
                Reliability(
                    *(
                        np.array([counts[key] for counts in classes.values()])
                        for key in ("pixels", "confidence", "hits", "squares")
                    )
                ),
            )
            for split, classes in content.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def calibration_section(found: Mapping[str, tuple[list[str], Reliability]]) -> Html:
    """Return a diagram for each split, and the errors of each class."""
    if not found:
        text = "Not recorded with this run: calibration.json is missing or broken. Train or evaluate with metrics=default."
        return section("Calibration", paragraph(text))
    charts, rows = [], []
    for split, (names, counts) in found.items():
        confidence, hits = counts.curve()
        lines = [Line(name, *_known(confidence[k], hits[k])) for k, name in enumerate(names)]
        title = f"Share of hits, {split}" if len(found) > 1 else "Share of hits"
        charts.append(curves(lines, title, "probability", span=(0.0, 1.0), diagonal=True))
        pixels = counts.pixels.sum(axis=1)
        for k, name in enumerate(names):
            sure = float(counts.pixels[k, [0, -1]].sum() / max(pixels[k], 1))
            rows.append([split, name, number(float(counts.ece()[k])), number(float(counts.brier()[k])), f"{sure:.1%}"])
    heads = ("split", "class", "ECE", "Brier", "pixels in the outermost bins")
    note = (
        "Of the pixels that were given a probability of 0.8, 80 in 100 should be of the class: on the dashed line. "
        "Below it the network is too sure, above it not sure enough. All pixels of all cases, each class against the rest."
    )
    shown = [chart for chart in charts if chart]
    return section(
        "Calibration", paragraph(note), element("div", *shown, class_="charts"), table(heads, rows, numbers=(2, 3, 4))
    )


def _known(x: np.ndarray, y: np.ndarray) -> tuple[list[float], list[float]]:
    there = ~(np.isnan(x) | np.isnan(y))
    return x[there].tolist(), y[there].tolist()
