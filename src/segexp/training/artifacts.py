"""Files written by a run: `cases.csv`, `confusion.csv`, `calibration.json`, images and `metrics.json`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from segexp.atomic import write_json
from segexp.data.dataset import ScoringCases
from segexp.data.io.images import write_png
from segexp.evaluation.case_scores import ACCURACY
from segexp.evaluation.records import record_of_rows
from segexp.evaluation.scoring import Scorable, score_cases
from segexp.explainability.cases import explain_cases
from segexp.explainability.explainer import Explainer
from segexp.metrics.calibration import Reliability
from segexp.metrics.cases import case_rows, write_cases
from segexp.metrics.measures import Measure, check_spacings
from segexp.metrics.scores import mean_scores, summarise_scores
from segexp.metrics.significance import Interval
from segexp.reporting.case_images import save_case_images, write_explained_cases
from segexp.reporting.diagnostics import CALIBRATION_FILE, CONFUSION_FILE, write_calibration, write_confusion
from segexp.reporting.scores import split_scores
from segexp.training.callbacks.image_logging import draw_panel, watched_positions
from segexp.types import Case
from segexp.visualization import confusion_figure


@dataclass(frozen=True)
class SplitResult:
    """Results on one split.

    Attributes:
        scores: by "<split>/<score>".
        rows: of `cases.csv`.
        confusion: (K, K) int64 over all cases; rows truth, columns prediction, see `segexp.metrics.confusion`.
        reliability: over all cases; None if calibration was not measured.
        background: whether the means leave out the first class.
    """

    scores: dict[str, float]
    rows: list[dict[str, object]]
    confusion: np.ndarray
    reliability: Reliability | None
    background: bool = True


def score_split(
    segmenter: Scorable,
    split: str,
    cases: Sequence[Case],
    prepared: ScoringCases,
    pictures: int,
    directory: Path | None,
    measures: Sequence[Measure] = (),
    done: Callable[[int], None] = lambda _: None,
) -> SplitResult:
    """Score one split and draw its images.

    Args:
        segmenter: the model.
        split: its name, for rows and file names.
        cases: N cases.
        prepared: the same cases as samples.
        pictures: number of cases in the panel; 0 draws no case.
        directory: where images are written (into `pictures/`); None draws nothing.
        measures: additional measures per case.
        done: called with the position of each scored case.
    """
    spec = segmenter.spec
    names = spec.classes
    check_spacings(measures, dict(zip([case.id for case in cases], prepared.spacings, strict=True)), 1 + len(spec.foreground))
    found = score_cases(segmenter, prepared, watched_positions(len(cases), pictures), done, measures, [c.image for c in cases])
    together = found.confusions.sum(axis=0)
    if directory is not None:
        folder = directory / "pictures"
        folder.mkdir(parents=True, exist_ok=True)
        if pictures:
            write_png(folder / f"{split}_cases.png", draw_panel(prepared, list(cases), found.kept, spec))
            save_case_images(directory, split, segmenter, cases, prepared, found.confusions)
        write_png(folder / f"{split}_confusion.png", confusion_figure(together, names, spec.overlapping))
    scores = summarise_scores(found.confusions, names, spec.first)
    for column, values in found.columns.items():
        scores |= mean_scores(column, values, names)
    rows = case_rows(split, cases, found.confusions, names, found.columns)
    by_split = {f"{split}/{name}": value for name, value in scores.items()}
    return SplitResult(by_split, rows, together, found.reliability, spec.background)


def explain_split(explainer: Explainer, cases: Sequence[Case], prepared: ScoringCases, count: int, directory: Path) -> None:
    """Write the heat maps of `count` cases, evenly spread over a split, for the report."""
    segmenter, predicted = explainer.segmenter, {}
    segmenter.network.eval()
    for position in watched_positions(len(cases), count):
        sample = prepared[position]
        logits = segmenter.logits(sample.image, (sample.mask.shape[0], sample.mask.shape[1]))
        predicted[position] = segmenter.decide(logits)
    found = list(explain_cases(explainer, prepared, cases, predicted))
    spec, layer = segmenter.spec, explainer.layer.name if explainer.layer else ""
    target = spec.classes[explainer.target]
    write_explained_cases(directory, found, target, layer, spec.palette, spec.overlapping, spec.background)


def write_outcomes(directory: Path, outcomes: Mapping[str, SplitResult], classes: Sequence[str]) -> dict[str, float]:
    """Write `cases.csv`, `confusion.csv` and, if measured, `calibration.json`; return the scores of all splits."""
    write_cases(directory / "cases.csv", [row for outcome in outcomes.values() for row in outcome.rows])
    write_confusion(directory / CONFUSION_FILE, {split: outcome.confusion for split, outcome in outcomes.items()}, classes)
    counts = {split: outcome.reliability for split, outcome in outcomes.items() if outcome.reliability is not None}
    if counts:
        first = min(int(outcome.background) for outcome in outcomes.values())
        write_calibration(directory / CALIBRATION_FILE, counts, classes[first:])
    else:
        (directory / CALIBRATION_FILE).unlink(missing_ok=True)  # of an earlier scoring
    return all_scores(outcomes)


def all_scores(outcomes: Mapping[str, SplitResult]) -> dict[str, float]:
    """Return the scores of all splits by "<split>/<score>"."""
    return {name: value for outcome in outcomes.values() for name, value in outcome.scores.items()}


def all_intervals(outcomes: Mapping[str, SplitResult]) -> dict[str, Interval]:
    """Return the confidence intervals of the report by "<split>/<score>" and "<split>/<score>/<class>"."""
    found: dict[str, Interval] = {}
    for split, outcome in outcomes.items():
        record = record_of_rows(outcome.rows, outcome.background)
        part = split_scores(record, split)
        found |= {f"{split}/{measure}": part.interval(measure) for measure in (*part.measures, ACCURACY)}
        if len(part.classes) > 1:
            each = [(measure, k, name) for measure in part.measures for k, name in enumerate(part.classes)]
            found |= {f"{split}/{measure}/{name}": part.interval(measure, k) for measure, k, name in each}
    return found


def write_metrics(
    path: Path, scores: dict[str, float], facts: dict[str, Any], intervals: Mapping[str, Interval] = MappingProxyType({})
) -> None:
    """Write scores, intervals and facts as JSON, atomically.

    Args:
        path: the file to write.
        scores: by name; undefined scores become null.
        facts: further entries.
        intervals: of the scores, written as [low, high]; undefined intervals are left out.
    """
    finite = {name: value if np.isfinite(value) else None for name, value in scores.items()}
    known = {name: [found.low, found.high] for name, found in intervals.items() if np.isfinite(found.low)}
    content = {"scores": finite, **({"intervals": known} if known else {}), **facts}
    write_json(path, content)


def format_scores(scores: Mapping[str, float], intervals: Mapping[str, Interval] = MappingProxyType({})) -> list[str]:
    """Return one line per split with Dice, IoU and accuracy, their 95 % intervals and the number of cases."""
    lines = []
    for split in dict.fromkeys(name.split("/")[0] for name in scores):
        found = []
        for key, name in (("dice", "Dice"), ("iou", "IoU"), (ACCURACY, "pixel accuracy")):
            interval = intervals.get(f"{split}/{key}")
            known = interval is not None and np.isfinite(interval.low)
            ends = f" [{interval.low:.4f}, {interval.high:.4f}]" if interval is not None and known else ""
            found.append(f"{name} {scores[f'{split}/{key}']:.4f}{ends}")
        told = ", 95 % intervals in brackets" if any("[" in text for text in found) else ""
        count = scores[f"{split}/cases"]
        lines.append(f"{split}: {', '.join(found)} over {count:.0f} case{'s' if count != 1 else ''}{told}")
    return lines
