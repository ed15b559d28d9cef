"""The chosen cases of a run on its page: picture, truth, prediction and error, with the colours' meaning."""

import base64
import html
import shlex
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from segexp.comparison.words import number
from segexp.pictures import Colour, Palette
from segexp.report.gallery import COLOURS, FOLDER, VIEWS, Shown
from segexp.report.page import Html, code, element, figure, inline, paragraph, picture, section

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
            files = [embedded(directory / FOLDER / name, f"{each.case}: {view}") for name, view in _views(each)]
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
