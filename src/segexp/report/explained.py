"""What speaks for a class in some cases of a run, on its page: written to `pictures/explained/` and read from there."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from segexp.pictures import Explained, Palette, heat, heat_view
from segexp.report.gallery import QUALITY, VIEWS, views
from segexp.report.page import Html, element, figure, paragraph, picture, section
from segexp.report.showcase import embedded
from segexp.whole import whole_file

FOLDER = Path("pictures") / "explained"
INDEX = "index.json"


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
    folder = directory / FOLDER
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
        content: dict[str, Any] = json.loads((directory / FOLDER / INDEX).read_text(encoding="utf-8"))
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
        drawn = [(embedded(directory / FOLDER / name, f"{title}: {view}"), view) for name, view in pairs]
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
