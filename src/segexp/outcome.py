"""What a run leaves behind: `cases.csv`, pictures, `metrics.json`."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segexp.callbacks.panels import draw, watched
from segexp.data.dataset import ScoringSet
from segexp.data.files.images import write_png
from segexp.metrics.cases import case_rows
from segexp.metrics.scores import summary
from segexp.pictures import confusion_figure
from segexp.scoring import score
from segexp.segmenter import Segmenter
from segexp.types import Case
from segexp.whole import whole_file

Rows = list[dict[str, object]]


def score_split(
    segmenter: Segmenter,
    split: str,
    cases: Sequence[Case],
    prepared: ScoringSet,
    pictures: int,
    directory: Path | None,
    done: Callable[[int], None] = lambda _: None,
) -> tuple[dict[str, float], Rows]:
    """Score one split and draw it.

    Args:
        segmenter: what predicts.
        split: its name, for the rows and the file names.
        cases: N cases.
        prepared: the same cases as samples.
        pictures: how many cases the panel shows.
        directory: `<split>_cases.png` and `<split>_confusion.png` are written into `pictures/` below it; None draws nothing.
        done: told each position when it is scored.

    Returns:
        Scores by "<split>/<score>" and the rows of `cases.csv`.
    """
    names = segmenter.spec.classes
    matrices, kept = score(segmenter, prepared, watched(len(cases), pictures), done)
    if directory is not None:
        folder = directory / "pictures"
        folder.mkdir(parents=True, exist_ok=True)
        if kept:
            write_png(folder / f"{split}_cases.png", draw(prepared, list(cases), kept, segmenter.spec))
        write_png(folder / f"{split}_confusion.png", confusion_figure(matrices.sum(axis=0), names))
    scores = {f"{split}/{name}": value for name, value in summary(matrices, names).items()}
    return scores, case_rows(split, cases, matrices, names)


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
