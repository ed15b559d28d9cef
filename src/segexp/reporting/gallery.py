"""Pictures of the worst, the median and the best cases of a run: chosen, written to `pictures/cases/`, read for the page.

Legend: N cases, C channels, H W pixels, K classes.
"""

import base64
import html
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from segexp.atomic import whole_file
from segexp.data.dataset import Prepared
from segexp.evaluation.case_scores import of_cases
from segexp.evaluation.scoring import Scorable
from segexp.evaluation.summary_text import number
from segexp.metrics.scores import class_scores
from segexp.reporting.html import Html, code, element, figure, inline, paragraph, picture, section
from segexp.types import Case
from segexp.visualization import (
    CORRECT,
    FALSE_ALARM,
    MISSED,
    WRONG_CLASS,
    Array,
    Colour,
    Explained,
    Palette,
    errors,
    heat,
    heat_view,
    layered,
    overlay,
    to_display,
)

CASES_FOLDER = Path("pictures") / "cases"
INDEX = "index.json"
VIEWS = ("image", "truth", "prediction", "error")
KINDS = {"worst": 4, "best": 3, "median": 3, "false alarm": 2}
"""How many of each are shown, in the order in which they are chosen, turn by turn."""
SIDE = 320
"""Longest side of a picture in pixels."""
QUALITY = 85
COLOURS = {"correct": CORRECT, "missed": MISSED, "false alarm": FALSE_ALARM, "wrong class": WRONG_CLASS}


@dataclass(frozen=True)
class Shown:
    """One case with pictures.

    Attributes:
        position: of the case in its split.
        kind: "worst", "median", "best" or "false alarm".
        split: its name.
        case: its id.
        score: Dice, mean over the classes in the truth; None where there is none.
        files: of the four `VIEWS`, in the folder of the index.
    """

    position: int
    kind: str
    split: str = ""
    case: str = ""
    score: float | None = None
    files: tuple[str, ...] = ()


def choose(scores: Sequence[float] | np.ndarray, false_alarms: Sequence[int] | np.ndarray | None = None) -> list[Shown]:
    """Choose cases to be shown; no case twice, all of them where there are few.

    Args:
        scores: N, the higher the better; NaN where the truth is empty.
        false_alarms: N, pixels falsely found; the cases with an empty truth and the most of them are shown as well.

    Returns:
        Positions with their kind, from the worst to the best, false alarms last.
    """
    values = np.asarray(scores, np.float64)
    known = [int(n) for n in np.argsort(values, kind="stable") if not np.isnan(values[n])]
    alarms = np.zeros(len(values), np.int64) if false_alarms is None else np.asarray(false_alarms)
    empty = sorted((n for n in range(len(values)) if np.isnan(values[n]) and alarms[n] > 0), key=lambda n: -int(alarms[n]))
    half = (len(known) - 1) // 2
    outward = [known[i] for i in sorted(range(len(known)), key=lambda i: (abs(i - half), i))]
    queues = {"worst": known, "best": known[::-1], "median": outward, "false alarm": empty}
    kinds: dict[int, str] = {}
    for turn in range(max(KINDS.values())):
        for kind, queue in queues.items():
            free = next((n for n in queue if n not in kinds), None)
            if turn < KINDS[kind] and free is not None:
                kinds[free] = kind
    order = {"worst": 0, "median": 1, "best": 2, "false alarm": 3}
    place = {n: i for i, n in enumerate(known + empty)}
    return [Shown(n, kind) for n, kind in sorted(kinds.items(), key=lambda item: (order[item[1]], place[item[0]]))]


def views(
    image: Array, truth: Array, prediction: Array, palette: Palette, side: int = SIDE, overlapping: bool = False
) -> tuple[Array, ...]:
    """Return the four `VIEWS` of a case, each (h, w, 3) uint8 with its longest side `side`; small images are not enlarged.

    Args:
        image: (H, W, C) as it was read.
        truth: (H, W) class index, 255 = ignore.
        prediction: (H, W) class index.
        palette: a colour per class.
        side: in pixels.
        overlapping: the masks hold bit sets.
    """
    lay = layered if overlapping else overlay
    height, width = truth.shape
    scale = min(1.0, side / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    shown = cv2.resize(to_display(image), size, interpolation=cv2.INTER_AREA)
    real, guess = (cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) for mask in (truth, prediction))
    return shown, lay(shown, real, palette), lay(shown, guess, palette), errors(real, guess, shown, overlapping)


def write_gallery(
    directory: Path,
    split: str,
    cases: Iterator[tuple[Shown, Array, Array, Array]],
    palette: Palette,
    overlapping: bool = False,
) -> None:
    """Write pictures of the chosen cases of one split, and the index that says what they are; other splits' stay.

    Args:
        directory: of the run.
        split: its name.
        cases: what is shown (with id and score), image (H, W, C), truth and prediction (H, W).
        palette: a colour per class.
        overlapping: the masks hold bit sets.
    """
    folder = directory / CASES_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for rank, (shown, image, truth, prediction) in enumerate(cases):
        names = tuple(f"{split}_{rank:02d}_{shown.kind.replace(' ', '_')}_{view}.jpg" for view in VIEWS)
        for name, drawn in zip(names, views(image, truth, prediction, palette, overlapping=overlapping), strict=True):
            _, data = cv2.imencode(".jpg", np.ascontiguousarray(drawn[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
            with whole_file(folder / name) as part:
                part.write_bytes(data.tobytes())
        score = None if shown.score is None or np.isnan(shown.score) else float(shown.score)
        written.append(replace(shown, split=split, score=score, files=names))
    others = [shown for shown in read_gallery(directory) if shown.split != split]
    with whole_file(folder / INDEX) as part:
        part.write_text(json.dumps([asdict(shown) for shown in (*others, *written)], indent=1) + "\n", encoding="utf-8")


def read_gallery(directory: Path) -> list[Shown]:
    """Return the cases that have pictures, as the index says; nothing where it is missing or broken."""
    try:
        content: list[Mapping[str, Any]] = json.loads((directory / CASES_FOLDER / INDEX).read_text(encoding="utf-8"))
        return [Shown(**{**entry, "files": tuple(Path(str(name)).name for name in entry["files"])}) for entry in content]
    except (OSError, ValueError, TypeError, KeyError):
        return []


WIDEST = 1100
"""Pixels of an old panel on the page."""
ROOM = 10_000_000
"""Characters of markup that pictures may take: a page stays below 15 MB."""

STYLE = """
.shots{display:grid;grid-template-columns:repeat(4,minmax(0,1fr));gap:.5rem;margin:.3rem 0 1.3rem}
.shots img{width:100%}.shots figcaption{margin-top:.1rem}
.shot-head{margin:.9rem 0 .2rem;scroll-margin-top:1rem}
.shot-head .kind{display:inline-block;min-width:5.2em;font-weight:600}
.keys{font-size:.85rem;color:var(--soft)}.keys span{margin-right:.9em;white-space:nowrap}
.keys .key{margin-right:.35em}
@media (max-width:44rem){.shots{grid-template-columns:repeat(2,minmax(0,1fr))}}
""".replace("\n", "")


def showcase(
    directory: Path, shown: Sequence[Shown], splits: Sequence[str], classes: Sequence[str], palette: Palette
) -> tuple[Html, dict[tuple[str, str], str]]:
    """Return the section, and where in it a case of a split is, as `#name`.

    Args:
        directory: of the run.
        shown: what `read_gallery` returned.
        splits: those that were scored.
        classes: names, the background first.
        palette: a colour per class; empty when it is not known.
    """
    content: list[str] = []
    places: dict[tuple[str, str], str] = {}
    missing, room = 0, ROOM
    for split in splits:
        own = [each for each in shown if each.split == split]
        content.append(element("h3", split) if len(splits) > 1 and own else "")
        for n, each in enumerate(own):
            files = [embedded(directory / CASES_FOLDER / name, f"{each.case}: {view}") for name, view in _views(each)]
            drawn = [_captioned(file, view) for file, (_, view) in zip(files, _views(each), strict=True) if file is not None]
            missing += len(VIEWS) - len(drawn)
            room -= sum(map(len, drawn))
            if drawn and room > 0:
                places[split, each.case] = f"#case-{split}-{n}"
                content += [_heading(each, f"case-{split}-{n}"), element("div", *drawn, class_="shots")]
    heading = "Worst, median and best cases"
    if not places:
        return section(heading, *_instead(directory, splits)), {}
    note = paragraph(f"{missing} of the pictures are no longer there.") if missing else ""
    return section(heading, keys(classes, palette), note, *content), places


def _views(each: Shown) -> list[tuple[str, str]]:
    """Return the file and the name of each picture of a case."""
    return list(zip(each.files, VIEWS, strict=False))


def _heading(each: Shown, anchor: str) -> Html:
    score = "no foreground in the truth" if each.score is None else f"Dice {number(each.score)}"
    kind = element("span", each.kind, class_="kind")
    return element("p", kind, f" {each.case} \u00b7 {score}", class_="shot-head", id=anchor)


def keys(classes: Sequence[str], palette: Palette) -> Html:
    """Return what the colours of masks and errors mean."""
    masks = list(zip(classes, palette, strict=False))[1:]
    kinds = [(name, colour) for name, colour in COLOURS.items() if len(classes) > 2 or name != "wrong class"]
    lines = [("Masks: ", masks), ("Errors: ", kinds)]
    shown = [paragraph(text, *(_key(*each) for each in entries)) for text, entries in lines if entries]
    return element("div", *shown, class_="keys")


def _key(name: str, colour: Colour) -> Html:
    red, green, blue = colour
    box = Html(f'<span class="key" style="background:rgb({red},{green},{blue})"></span>')
    return element("span", inline(box, name))


def _instead(directory: Path, splits: Sequence[str]) -> list[str]:
    """Return the panels that older runs have, or a sentence."""
    found = []
    for split in splits:
        try:
            panel = np.asarray(Image.open(directory / "pictures" / f"{split}_cases.png").convert("RGB"))
        except OSError:
            continue
        scale = min(1.0, WIDEST / panel.shape[1])
        small = cv2.resize(panel, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        found.append(figure(picture(small, f"Cases of {split}"), f"Some cases of {split}"))
    if found:
        return [paragraph("This run kept no pictures of its worst and best cases; these were chosen evenly."), *found]
    return [
        paragraph("The pictures of this run are not there: they were deleted, or never written. This draws them again:"),
        code(f"python -m segexp.evaluate checkpoint={shlex.quote(str(directory))} output=DIR"),
    ]


def embedded(path: Path, alt: str) -> Html | None:
    """Return a picture file as it is, as part of the page; None where it is missing or no picture."""
    try:
        data = path.read_bytes()
        with Image.open(path) as opened:
            (width, height), kind = opened.size, opened.format
    except OSError:
        return None
    if kind not in ("JPEG", "PNG"):
        return None
    source = f"data:image/{kind.lower()};base64,{base64.b64encode(data).decode('ascii')}"
    return Html(f'<img src="{source}" width="{width}" height="{height}" alt="{html.escape(alt)}">')


def _captioned(drawn: Html, view: str) -> Html:
    return figure(drawn, view)


EXPLAINED_FOLDER = Path("pictures") / "explained"


@dataclass(frozen=True)
class Told:
    """What there is to show.

    Attributes:
        target: name of the class.
        layer: that was looked at.
        titles: of the cases.
        files: of each case image, truth, prediction and heat, in the folder of the index.
    """

    target: str
    layer: str
    titles: tuple[str, ...]
    files: tuple[tuple[str, ...], ...]


def write_explained(
    directory: Path, cases: Sequence[Explained], target: str, layer: str, palette: Palette, overlapping: bool = False
) -> None:
    """Write the pictures of cases, and the index that says what they are.

    Args:
        directory: of the run.
        cases: validation cases whose truth is known.
        target: name of the class.
        layer: that was looked at.
        palette: a colour per class.
        overlapping: the masks hold bit sets.
    """
    folder = directory / EXPLAINED_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for n, case in enumerate(cases):
        truth = case.prediction if case.truth is None else case.truth
        shown, real, guess, _ = views(case.image, truth, case.prediction, palette, overlapping=overlapping)
        size = (shown.shape[1], shown.shape[0])
        values = cv2.resize(case.values, size, interpolation=cv2.INTER_AREA)
        region = cv2.resize(case.region.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
        names = tuple(f"{n:02d}_{view}.jpg" for view in (*VIEWS[:3], "heat"))
        for name, drawn in zip(names, (shown, real, guess, heat_view(shown, values, region, signed=False)), strict=True):
            _, data = cv2.imencode(".jpg", np.ascontiguousarray(drawn[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
            with whole_file(folder / name) as part:
                part.write_bytes(data.tobytes())
        files.append(names)
    told = Told(target, layer, tuple(case.title for case in cases), tuple(files))
    with whole_file(folder / INDEX) as part:
        part.write_text(json.dumps(asdict(told), indent=1) + "\n", encoding="utf-8")


def read_explained(directory: Path) -> Told | None:
    """Return what there is to show, as the index says; None where it is missing or broken."""
    try:
        content: dict[str, Any] = json.loads((directory / EXPLAINED_FOLDER / INDEX).read_text(encoding="utf-8"))
        files = tuple(tuple(Path(str(name)).name for name in names) for names in content["files"])
        return Told(str(content["target"]), str(content["layer"]), tuple(map(str, content["titles"])), files)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def explained_section(directory: Path) -> Html:
    """Return the cases with what speaks for the class in each; nothing where no case was explained."""
    told = read_explained(directory)
    if told is None:
        return Html("")
    content: list[str] = []
    for title, files in zip(told.titles, told.files, strict=False):
        pairs = zip(files, ("image", "truth", "prediction", f"for {told.target}"), strict=False)
        drawn = [(embedded(directory / EXPLAINED_FOLDER / name, f"{title}: {view}"), view) for name, view in pairs]
        known = [figure(shown, view) for shown, view in drawn if shown is not None]
        content += (
            [element("p", title.replace("   ", " \u00b7 "), class_="shot-head"), element("div", *known, class_="shots")]
            if known
            else []
        )
    if not content:
        return Html("")
    bar = heat(np.linspace(0, 1, 160)[None].repeat(12, axis=0), 0, 1)
    note = paragraph(
        f"Seg-Grad-CAM of the best weights at the layer {told.layer}: where its maps raise the logit of {told.target} in the "
        "outlined pixels. It tells what the network goes by, not whether that is right; a place outside of the object can "
        "rightly speak for it."
    )
    scale = element("div", picture(bar, "from black over red to yellow", None), "from nothing to the most", class_="keys")
    return section(f"What speaks for {told.target}", note, scale, *content)


def keep_cases(
    directory: Path, split: str, segmenter: Scorable, cases: Sequence[Case], prepared: Prepared, matrices: np.ndarray
) -> None:
    """Write the pictures of the chosen cases of a split into `pictures/cases/` of a run directory.

    The chosen cases are predicted again, so that the predictions of all need not be kept until the scores are known.

    Args:
        directory: of the run.
        split: its name.
        segmenter: what was scored.
        cases: N.
        prepared: the same cases as samples.
        matrices: their confusion matrices (N, K, K).
    """
    found = class_scores(matrices)
    scores, alarms = of_cases(found.dice[:, 1:]), found.fp[:, 1:].sum(axis=1)
    segmenter.network.eval()

    def drawn() -> Iterator[tuple[Shown, Array, Array, Array]]:
        for shown in choose(scores, alarms):
            sample, picture = prepared[shown.position], prepared.store[prepared.members[shown.position]]
            prediction = segmenter.decide(segmenter.logits(sample.image, (sample.mask.shape[0], sample.mask.shape[1])))
            named = replace(shown, case=cases[shown.position].id, score=float(scores[shown.position]))
            yield named, picture.image, picture.mask, prediction

    write_gallery(directory, split, drawn(), segmenter.spec.palette, segmenter.spec.overlapping)
