"""What a run leaves behind: `cases.csv`, what the report is made of, pictures, `metrics.json`."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segexp.callbacks.panels import draw, watched
from segexp.data.dataset import ScoringSet
from segexp.data.files.images import write_png
from segexp.metrics.calibration import Reliability
from segexp.metrics.cases import case_rows, write_cases
from segexp.metrics.measures import Measure, check_spacings
from segexp.metrics.scores import means, summary
from segexp.pictures import confusion_figure
from segexp.report.diagram import FILE as CALIBRATION
from segexp.report.diagram import write_calibration
from segexp.report.keep import keep_cases
from segexp.report.matrix import FILE as CONFUSION
from segexp.report.matrix import write_confusion
from segexp.scoring import score
from segexp.segmenter import Segmenter
from segexp.types import Case
from segexp.whole import whole_file


@dataclass(frozen=True)
class Outcome:
    """What was found on one split.

    Attributes:
        scores: by "<split>/<score>".
        rows: of `cases.csv`.
        confusion: (K, K) int64, all cases together; rows truth, columns prediction.
        reliability: all cases together; None where calibration was not measured.
    """

    scores: dict[str, float]
    rows: list[dict[str, object]]
    confusion: np.ndarray
    reliability: Reliability | None


def score_split(
    segmenter: Segmenter,
    split: str,
    cases: Sequence[Case],
    prepared: ScoringSet,
    pictures: int,
    directory: Path | None,
    measures: Sequence[Measure] = (),
    done: Callable[[int], None] = lambda _: None,
) -> Outcome:
    """Score one split and draw it.

    Args:
        segmenter: what predicts.
        split: its name, for the rows and the file names.
        cases: N cases.
        prepared: the same cases as samples.
        pictures: how many cases the panel shows; 0 draws no case.
        directory: `<split>_cases.png`, `<split>_confusion.png` and the cases of the report are written into `pictures/` below
            it; None draws nothing.
        measures: of each case, beside the counts.
        done: told each position when it is scored.
    """
    names = segmenter.spec.classes
    check_spacings(measures, dict(zip([case.id for case in cases], prepared.spacings, strict=True)), len(names))
    found = score(segmenter, prepared, watched(len(cases), pictures), done, measures)
    together = found.confusions.sum(axis=0)
    if directory is not None:
        folder = directory / "pictures"
        folder.mkdir(parents=True, exist_ok=True)
        if pictures:
            write_png(folder / f"{split}_cases.png", draw(prepared, list(cases), found.kept, segmenter.spec))
            keep_cases(directory, split, segmenter, cases, prepared, found.confusions)
        write_png(folder / f"{split}_confusion.png", confusion_figure(together, names))
    scores = summary(found.confusions, names)
    for column, values in found.columns.items():
        scores |= means(column, values, names)
    rows = case_rows(split, cases, found.confusions, names, found.columns)
    return Outcome({f"{split}/{name}": value for name, value in scores.items()}, rows, together, found.reliability)


def write_outcomes(directory: Path, outcomes: Mapping[str, Outcome], classes: Sequence[str]) -> dict[str, float]:
    """Write `cases.csv`, `confusion.csv` and, where it was measured, `calibration.json`; return the scores of all splits."""
    write_cases(directory / "cases.csv", [row for outcome in outcomes.values() for row in outcome.rows])
    write_confusion(directory / CONFUSION, {split: outcome.confusion for split, outcome in outcomes.items()}, classes)
    counts = {split: outcome.reliability for split, outcome in outcomes.items() if outcome.reliability is not None}
    if counts:
        write_calibration(directory / CALIBRATION, counts, classes[1:])
    else:
        (directory / CALIBRATION).unlink(missing_ok=True)  # of an earlier scoring
    return all_scores(outcomes)


def all_scores(outcomes: Mapping[str, Outcome]) -> dict[str, float]:
    """Return the scores of all splits by "<split>/<score>"."""
    return {name: value for outcome in outcomes.values() for name, value in outcome.scores.items()}


def write_metrics(path: Path, scores: dict[str, float], facts: dict[str, Any]) -> None:
    """Write scores and facts as JSON, whole or not at all; a score that is not defined is null."""
    finite = {name: value if np.isfinite(value) else None for name, value in scores.items()}
    with whole_file(path) as part:
        part.write_text(json.dumps({"scores": finite, **facts}, indent=2) + "\n", encoding="utf-8")


def sentences(scores: dict[str, float]) -> list[str]:
    """Return one line per split: Dice, IoU and accuracy, and over how many cases."""
    splits = list(dict.fromkeys(name.split("/")[0] for name in scores))
    return [
        f"{split}: Dice {scores[f'{split}/dice']:.4f}, IoU {scores[f'{split}/iou']:.4f}, "
        f"pixel accuracy {scores[f'{split}/accuracy']:.4f} over {count:.0f} case{'s' if count != 1 else ''}"
        for split in splits
        for count in [scores[f"{split}/cases"]]
    ]
