"""Images of selected cases of a run (worst, median, best, false alarms), and of explained cases.

They are written into `pictures/` together with an index, from which the report reads them.

Shapes: N cases, C channels, H W pixels, K classes.
"""

import json
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from segexp.atomic import atomic_write, write_json
from segexp.data.dataset import ScoringCases
from segexp.evaluation.case_scores import mean_over_classes
from segexp.evaluation.scoring import Scorable
from segexp.evaluation.summary_text import format_score
from segexp.metrics.scores import class_scores
from segexp.reporting.images import ColourKey, Figure, Picture, colour_keys, embed_array, embed_file, encode
from segexp.types import Case
from segexp.visualization import (
    Array,
    ExplainedCase,
    Palette,
    colour_heat,
    error_kinds,
    error_map,
    layer_mask,
    overlay_explanation,
    to_display,
)

CASES_FOLDER = Path("pictures") / "cases"
EXPLAINED_FOLDER = Path("pictures") / "explained"
INDEX = "index.json"
VIEWS = ("image", "truth", "prediction", "error")
KINDS = {"worst": 4, "best": 3, "median": 3, "false alarm": 2}
"""Number of cases of each kind; few cases are shared out in turns."""
SIDE = 320
"""Longest side of an image in pixels."""
PANEL_WIDTH = 1100
"""Width of the panel of an older run in pixels."""
PICTURE_BUDGET = 10_000_000
"""Maximum characters of the page for case images; a page stays below 15 MB."""


@dataclass(frozen=True)
class CaseImages:
    """A selected case with its images.

    Attributes:
        position: of the case in its split.
        kind: "worst", "median", "best" or "false alarm".
        split: its name.
        case: its id.
        score: Dice, mean over the classes in the mask; None if undefined.
        files: of the four `VIEWS`, in the folder of the index.
    """

    position: int
    kind: str
    split: str = ""
    case: str = ""
    score: float | None = None
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class ExplainedCases:
    """Cases with a heat map for a class.

    Attributes:
        target: name of the class.
        layer: used by Grad-CAM.
        titles: of the cases.
        files: of each case: image, mask, prediction and heat map, in the folder of the index.
    """

    target: str
    layer: str
    titles: tuple[str, ...]
    files: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class CaseRow:
    """The views of a case side by side; `anchor` is its HTML anchor, "" if nothing links to it."""

    kind: str
    title: str
    views: Sequence[Figure]
    anchor: str = ""


@dataclass(frozen=True)
class CaseGallery:
    """The case images of a run on the page.

    Attributes:
        legend: colours of masks and errors.
        rows: by split.
        missing: number of images of the index that no longer exist.
        panels: of an older run without case images.
        command: draws the images again; "" if there are some.
        anchors: `#name` of the images of a case, by split and id.
    """

    legend: Sequence[tuple[str, Sequence[ColourKey]]]
    rows: Mapping[str, Sequence[CaseRow]]
    missing: int
    panels: Sequence[Figure]
    command: str
    anchors: Mapping[tuple[str, str], str]


@dataclass(frozen=True)
class Evidence:
    """The explained cases on the page, with the scale of their heat maps."""

    target: str
    layer: str
    scale: Picture
    rows: Sequence[CaseRow]


def choose_cases(
    scores: Sequence[float] | np.ndarray, false_alarms: Sequence[int] | np.ndarray | None = None
) -> list[CaseImages]:
    """Select distinct cases to show; all if there are few.

    Args:
        scores: N, higher is better; NaN if the mask is empty.
        false_alarms: N, false positive pixels; cases with an empty mask and the most of them are shown as well.

    Returns:
        Positions with their kind, from the worst to the best, false alarms last.
    """
    values = np.asarray(scores, np.float64)
    known = [int(n) for n in np.argsort(values, kind="stable") if not np.isnan(values[n])]
    alarms = np.zeros(len(values), np.int64) if false_alarms is None else np.asarray(false_alarms)
    empty = sorted((n for n in range(len(values)) if np.isnan(values[n]) and alarms[n] > 0), key=lambda n: -int(alarms[n]))
    turns = [kind for turn in range(max(KINDS.values())) for kind in ("worst", "best", "median") if turn < KINDS[kind]]
    counts = Counter(turns[: len(known)])
    ends = counts["worst"], len(known) - counts["best"]  # both ends of the ranking first, then the middle of the rest
    middle = sorted(range(*ends), key=lambda rank: (abs(rank - (len(known) - 1) // 2), rank))[: counts["median"]]
    kinds = dict.fromkeys(known[: ends[0]], "worst") | dict.fromkeys(known[ends[1] :], "best")
    kinds |= dict.fromkeys((known[rank] for rank in middle), "median")
    kinds |= dict.fromkeys(empty[: KINDS["false alarm"]], "false alarm")
    order = {"worst": 0, "median": 1, "best": 2, "false alarm": 3}
    place = {n: i for i, n in enumerate(known + empty)}
    return [CaseImages(n, kind) for n, kind in sorted(kinds.items(), key=lambda item: (order[item[1]], place[item[0]]))]


def draw_views(
    image: Array,
    truth: Array,
    prediction: Array,
    palette: Palette,
    side: int = SIDE,
    overlapping: bool = False,
    background: bool = True,
) -> tuple[Array, ...]:
    """Return the four `VIEWS` of a case, each (h, w, 3) uint8 with longest side `side`; small images are not enlarged.

    Args:
        image: (H, W, C) as read.
        truth: (H, W) class index, 255 = ignore.
        prediction: (H, W) class index.
        palette: a colour per class.
        side: in pixels.
        overlapping: the masks hold bit sets.
        background: the first class is the background.
    """
    lay = layer_mask(overlapping, background)
    height, width = truth.shape
    scale = min(1.0, side / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    shown = cv2.resize(to_display(image), size, interpolation=cv2.INTER_AREA)
    real, guess = (cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) for mask in (truth, prediction))
    wrong = error_map(real, guess, shown, overlapping, background)
    return shown, lay(shown, real, palette), lay(shown, guess, palette), wrong


def save_case_images(
    directory: Path, split: str, segmenter: Scorable, cases: Sequence[Case], prepared: ScoringCases, matrices: np.ndarray
) -> None:
    """Select cases of a split by their scores and write their images into `pictures/cases/` of a run directory.

    The selected cases are predicted again, so that predictions need not be kept during scoring.

    Args:
        directory: of the run.
        split: its name.
        segmenter: the scored model.
        cases: N.
        prepared: the same cases as samples.
        matrices: their confusion matrices (N, K, K).
    """
    found, spec = class_scores(matrices), segmenter.spec
    scores, alarms = mean_over_classes(found.dice[:, spec.first :]), found.fp[:, spec.first :].sum(axis=1)
    segmenter.network.eval()

    def predicted() -> Iterator[tuple[CaseImages, Array, Array, Array]]:
        for chosen in choose_cases(scores, alarms):
            sample, picture = prepared[chosen.position], prepared.store[prepared.members[chosen.position]]
            prediction = segmenter.decide(segmenter.logits(sample.image, (sample.mask.shape[0], sample.mask.shape[1])))
            case = replace(chosen, case=cases[chosen.position].id, score=float(scores[chosen.position]))
            yield case, picture.image, picture.mask, prediction

    write_case_images(directory, split, predicted(), spec.palette, spec.overlapping, spec.background)


def write_case_images(
    directory: Path,
    split: str,
    cases: Iterator[tuple[CaseImages, Array, Array, Array]],
    palette: Palette,
    overlapping: bool = False,
    background: bool = True,
) -> None:
    """Write images of the selected cases of one split and update the index.

    Args:
        directory: of the run.
        split: its name.
        cases: the case (with id and score), image (H, W, C), mask and prediction (H, W).
        palette: a colour per class.
        overlapping: the masks hold bit sets.
        background: the first class is the background.
    """
    folder = directory / CASES_FOLDER
    written = []
    for rank, (case, image, truth, prediction) in enumerate(cases):
        names = tuple(f"{split}_{rank:02d}_{case.kind.replace(' ', '_')}_{view}.jpg" for view in VIEWS)
        _write_pictures(folder, names, draw_views(image, truth, prediction, palette, SIDE, overlapping, background))
        score = None if case.score is None or np.isnan(case.score) else float(case.score)
        written.append(replace(case, split=split, score=score, files=names))
    others = [case for case in read_case_images(directory) if case.split != split]
    _write_index(folder, [asdict(case) for case in (*others, *written)])


def read_case_images(directory: Path) -> list[CaseImages]:
    """Return the cases of the index; empty if it is missing or broken."""
    try:
        content: list[Mapping[str, Any]] = json.loads((directory / CASES_FOLDER / INDEX).read_text(encoding="utf-8"))
        return [CaseImages(**{**entry, "files": _file_names(entry["files"])}) for entry in content]
    except (OSError, ValueError, TypeError, KeyError):
        return []


def write_explained_cases(
    directory: Path,
    cases: Sequence[ExplainedCase],
    target: str,
    layer: str,
    palette: Palette,
    overlapping: bool = False,
    background: bool = True,
) -> None:
    """Write the images of explained cases and their index.

    Args:
        directory: of the run.
        cases: validation cases with known masks.
        target: name of the class.
        layer: used by Grad-CAM.
        palette: a colour per class.
        overlapping: the masks hold bit sets.
        background: the first class is the background.
    """
    folder = directory / EXPLAINED_FOLDER
    files = []
    for n, case in enumerate(cases):
        truth = case.prediction if case.truth is None else case.truth
        shown, real, guess, _ = draw_views(case.image, truth, case.prediction, palette, SIDE, overlapping, background)
        size = (shown.shape[1], shown.shape[0])
        values = cv2.resize(case.values, size, interpolation=cv2.INTER_AREA)
        region = cv2.resize(case.region.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
        names = tuple(f"{n:02d}_{view}.jpg" for view in (*VIEWS[:3], "heat"))
        _write_pictures(folder, names, (shown, real, guess, overlay_explanation(shown, values, region, signed=False)))
        files.append(names)
    _write_index(folder, asdict(ExplainedCases(target, layer, tuple(case.title for case in cases), tuple(files))))


def read_explained_cases(directory: Path) -> ExplainedCases | None:
    """Return the explained cases of the index; None if it is missing or broken."""
    try:
        content: dict[str, Any] = json.loads((directory / EXPLAINED_FOLDER / INDEX).read_text(encoding="utf-8"))
        files = tuple(_file_names(names) for names in content["files"])
        return ExplainedCases(str(content["target"]), str(content["layer"]), tuple(map(str, content["titles"])), files)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _write_pictures(folder: Path, names: Sequence[str], pictures: Sequence[Array]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in zip(names, pictures, strict=True):
        with atomic_write(folder / name, durable=False) as part:
            part.write_bytes(encode(picture))


def _write_index(folder: Path, content: dict[str, Any] | list[Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / INDEX, content)


def _file_names(names: Sequence[object]) -> tuple[str, ...]:
    """Return names without folders, so that an index cannot refer to files elsewhere."""
    return tuple(Path(str(name)).name for name in names)


def case_gallery(
    directory: Path,
    cases: Sequence[CaseImages],
    splits: Sequence[str],
    classes: Sequence[str],
    palette: Palette,
    background: bool = True,
) -> CaseGallery:
    """Return the case images of a run for the page, within its size budget.

    Args:
        directory: of the run.
        cases: result of `read_case_images`.
        splits: scored splits.
        classes: names.
        palette: a colour per class; empty if unknown.
        background: the first class is the background.
    """
    rows: dict[str, list[CaseRow]] = {}
    anchors: dict[tuple[str, str], str] = {}
    missing, room = 0, PICTURE_BUDGET
    for split in splits:
        for n, case in enumerate(case for case in cases if case.split == split):
            views = _embed_views(directory / CASES_FOLDER, case.files, VIEWS, case.case)
            missing += len(VIEWS) - len(views)
            room -= sum(len(view.picture.source) for view in views if view.picture)
            if views and room > 0:
                score = "no foreground in the ground truth" if case.score is None else f"Dice {format_score(case.score)}"
                anchor = f"case-{split}-{n}"
                anchors[split, case.case] = f"#{anchor}"
                rows.setdefault(split, []).append(CaseRow(case.kind, f"{case.case} \u00b7 {score}", views, anchor))
    panels = [] if rows else _old_panels(directory, splits)
    command = "" if rows or panels else f"python -m segexp.evaluate checkpoint={shlex.quote(str(directory))} output=DIR"
    return CaseGallery(error_legend(classes, palette, background), rows, missing, panels, command, anchors)


def error_legend(classes: Sequence[str], palette: Palette, background: bool = True) -> list[tuple[str, list[ColourKey]]]:
    """Return the legend of masks and errors."""
    kinds = [ColourKey(name, colour) for name, colour in error_kinds(len(classes), background).items()]
    masks = colour_keys(classes, palette, background)
    return [(title, keys) for title, keys in (("Masks: ", masks), ("Errors: ", kinds)) if keys]


def _old_panels(directory: Path, splits: Sequence[str]) -> list[Figure]:
    """Return the panels of an older run."""
    found = []
    for split in splits:
        try:
            panel = np.asarray(Image.open(directory / "pictures" / f"{split}_cases.png").convert("RGB"))
        except OSError:
            continue
        scale = min(1.0, PANEL_WIDTH / panel.shape[1])
        small = cv2.resize(panel, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        found.append(Figure(embed_array(small, f"Cases of {split}"), f"Some cases of {split}"))
    return found


def explained_section(directory: Path) -> Evidence | None:
    """Return the explained cases of a run for the page; None if there are no images."""
    found = read_explained_cases(directory)
    if found is None:
        return None
    names = (*VIEWS[:3], f"evidence for {found.target}")
    rows = [
        CaseRow("", title.replace("   ", " \u00b7 "), views)
        for title, files in zip(found.titles, found.files, strict=False)
        if (views := _embed_views(directory / EXPLAINED_FOLDER, files, names, title))
    ]
    bar = colour_heat(np.linspace(0, 1, 160)[None].repeat(12, axis=0), 0, 1)
    scale = embed_array(bar, "Colours from black over red to yellow", None)
    return Evidence(found.target, found.layer, scale, rows) if rows else None


def _embed_views(folder: Path, files: Sequence[str], names: Sequence[str], case: str) -> list[Figure]:
    """Return the existing images of a case with their captions."""
    found = ((embed_file(folder / file, f"{case}: {name}"), name) for file, name in zip(files, names, strict=False))
    return [Figure(picture, name) for picture, name in found if picture is not None]
