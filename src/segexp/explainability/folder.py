"""The loop of an explanation: one image after the other, while threads decode those to come.

Shapes: H W pixels.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from segexp.atomic import atomic_write
from segexp.data.io.images import write_png
from segexp.errors import DataError
from segexp.explainability.attribution import SIGNED
from segexp.explainability.explainer import Explainer
from segexp.explainability.regions import Pointing, box_pixels, pixels_of, point
from segexp.inference.folder_runner import LoadedImage, Truth, load_image, pixels, read_ahead, reason
from segexp.inference.inputs import Job, file_words
from segexp.inference.out_of_distribution import TrainingStats
from segexp.inference.outputs import unwritable
from segexp.inference.review import Row, read_rows, write_rows
from segexp.types import DataSpec, Source
from segexp.visualization import ExplainedCase, explanation_sheet

Key = tuple[str, str, str]

NAME = "explanations.csv"
ASKED = ("target", "method", "layer", "region", "checkpoint")
FOUND = ("region_pixels", "region_share", "inside", "peak_row", "peak_column", "peak_inside", "highest", "note", "picture")
COLUMNS = ("file", *ASKED, *FOUND)


@dataclass(frozen=True)
class Question:
    """What is asked about every image of a command.

    Attributes:
        target: name of the class.
        method: one of `METHODS`.
        layer: its name; with what else the map depends on where there is no layer ("steps=32", "window=16").
        region: "predicted", "truth", or the box as "top,left,bottom,right".
        checkpoint: the file.
    """

    target: str
    method: str
    layer: str
    region: str
    checkpoint: str


@dataclass
class Table:
    """The rows of one output folder, those of before and those of now.

    Attributes:
        folder: the output folder.
        asked: what this command asks.
        rows: by file, class and method.
    """

    folder: Path
    asked: Question
    rows: dict[Key, Row] = field(default_factory=dict)

    def add(self, file: str, pixels: int, found: Pointing | None, note: str, picture: str) -> None:
        """Add what was found about one image.

        Args:
            file: its name.
            pixels: of the region.
            found: how the map lies to the region; None if there is no map.
            note: what is to be known.
            picture: the file with the map, relative to the folder; "" where there is none.
        """
        row = {"file": file, **asdict(self.asked), "region_pixels": str(pixels), "note": note, "picture": picture}
        if found is not None:
            row |= {"region_share": f"{found.share:.4f}", "highest": f"{found.highest:.4g}"}
            row["inside"] = "" if math.isnan(found.inside) else f"{found.inside:.4f}"
            row["peak_inside"] = "" if found.hit is None else "yes" if found.hit else "no"
            row |= dict(zip(("peak_row", "peak_column"), map(str, found.peak), strict=True)) if found.peak else {}
        self.rows[self._key(file)] = row

    def done(self, file: str) -> Row | None:
        """Return the row of an image that was explained before, asked just so, if only to find nothing; None of any other."""
        row = self.rows.get(self._key(file))
        return row if row is not None and all(row.get(name) == text for name, text in asdict(self.asked).items()) else None

    def write(self) -> Path | None:
        """Write the rows, those of before first; return the file, or None if there is no row.

        Raises:
            DataError: it cannot be written.
        """
        if not self.rows:
            return None
        return write_rows(self.folder / NAME, COLUMNS, self.rows.values())

    def _key(self, file: str) -> Key:
        return file, self.asked.target, self.asked.method


def read_earlier(folder: Path) -> dict[Key, Row]:
    """Return the rows of an earlier table whose images are still there; none where it is broken."""
    rows = read_rows(folder / NAME)
    return {_key_of(row): row for row in rows if row.get("file") and "picture" in row and (folder / row["picture"]).exists()}


def _key_of(row: Mapping[str, str]) -> Key:
    return row["file"], row.get("target", ""), row.get("method", "")


@dataclass(frozen=True)
class Writer:
    """Writes the outputs of one folder; each method and class has a folder of its own in it, such as `seg_gradcam_liver`.

    Attributes:
        folder: of the outputs.
        spec: class names and colours.
        asked: what is explained.
        values: write the map as well, float32 (H, W) at the original image size, as npz (key "values").
    """

    folder: Path
    spec: DataSpec
    asked: Question
    values: bool

    def picture(self, job: Job, source: Source) -> str:
        """Return the name of the image of one page of a job, relative to the folder."""
        page = "" if source.page is None else f"/{source.page:04d}"
        word = file_words(self.spec.classes)[self.spec.classes.index(self.asked.target)]
        return f"{self.asked.method}_{word}/{job.stem}{page}.png"

    def files(self, job: Job, source: Source) -> list[str]:
        """Return the names of all outputs of one page of a job, relative to the folder."""
        picture = self.picture(job, source)
        return [picture, *([f"{picture.removesuffix('.png')}.npz"] if self.values else [])]

    def write(self, job: Job, source: Source, case: ExplainedCase) -> str:
        """Write what belongs to one image; return its name."""
        signed = self.asked.method in SIGNED
        unit = {"occlusion": "fall of the logit when hidden", "integrated_gradients": "part of the logit"}
        sheet = explanation_sheet(
            [case],
            self.spec.palette,
            self.spec.classes,
            self.asked.target,
            unit.get(self.asked.method, "share of the highest"),
            self.outline,
            signed=signed,
            overlapping=self.spec.overlapping,
        )
        picture, *others = (self.folder / name for name in self.files(job, source))
        for path in others:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as part, part.open("wb") as file:
                np.savez_compressed(file, values=case.values)
        write_png(picture, sheet)
        return self.picture(job, source)

    @property
    def outline(self) -> str:
        """What the outlined pixels are."""
        words = {"predicted": f"predicted as {self.asked.target}", "truth": f"truly {self.asked.target}"}
        return words.get(self.asked.region, "the box")


Array = np.ndarray[Any, np.dtype[Any]]
Item = tuple[Job, Source]

REMEDY = "cut out what is asked about, or type method=occlusion, without gradients"
"""Where the memory is short."""


@dataclass(frozen=True)
class ExplainFolder:
    """What is to be done for one output folder.

    Attributes:
        items: images, in their order.
        writer: where the outputs go.
        table: gets a row per image.
        truth: reads the true masks.
    """

    items: tuple[Item, ...]
    writer: Writer
    table: Table
    truth: Truth


@dataclass
class ExplainReport:
    """What came of it.

    Attributes:
        done: images with a map.
        empty: what is to be said of those that have nothing to explain.
        noted: what is to be said of maps that are there.
        failures: why an image could not be explained.
        untrue: why a true mask could not be read.
        inside: of each map, the share of it that lies in the region, and that of the region in the image.
        hits: whether the highest value lies in the region.
    """

    done: int = 0
    empty: list[str] = field(default_factory=list)
    noted: list[str] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    untrue: list[str] = field(default_factory=list)
    inside: list[tuple[float, float]] = field(default_factory=list)
    hits: list[bool] = field(default_factory=list)


def explain_folder(
    folder: ExplainFolder,
    explainer: Explainer,
    box: Sequence[int] | None,
    training: TrainingStats,
    report: ExplainReport,
    step: Callable[[], None] = lambda: None,
) -> None:
    """Explain and write every image of a folder; what cannot be read or explained is noted, and the others go on.

    Args:
        folder: the images.
        explainer: image and region to map.
        box: the region (top, left, bottom, right) of every image; None takes what is asked, predicted or true pixels.
        training: what the images should be like.
        report: is added to.
        step: called after each image.

    Raises:
        DataError: an output cannot be written.
    """

    def read(item: Item) -> LoadedImage:
        return load_image(*item, training, folder.truth, report.untrue)

    for (job, source), loading in read_ahead(folder.items, read, lambda item: pixels(item[1])):
        name = job.label(source)
        found = None
        try:
            found = _explained(explainer, box, folder.table.asked.region, loading.result())
        except Exception as error:
            report.failures[name] = reason(error, REMEDY).removeprefix(f"{job.file} ")
        if isinstance(found, str):
            report.empty.append(f"{name}: {found}")
            folder.table.add(name, 0, None, found, "")
        elif found is not None:
            _put_down(folder, (job, source), found, report)
        step()


@dataclass(frozen=True)
class ExplainedImage:
    """An image with its map.

    Attributes:
        loaded: what was decoded.
        prediction: (H, W).
        region: (H, W) bool.
        values: (H, W), the map.
        notes: what is to be known.
    """

    loaded: LoadedImage
    prediction: Array
    region: Array
    values: Array
    notes: str


def _explained(explainer: Explainer, box: Sequence[int] | None, region: str, loaded: LoadedImage) -> ExplainedImage | str:
    """Return the map of an image, or in words why there is nothing to explain in it."""
    prediction = explainer.segmenter.classes(loaded.image)
    pixels, absent = region_of(explainer, box, region, prediction, loaded.truth)
    if absent and not explainer.whole:
        return absent
    found = explainer(loaded.image, pixels)
    return ExplainedImage(loaded, prediction, pixels, found.values, "; ".join(filter(None, (absent, found.note))))


def _put_down(folder: ExplainFolder, item: Item, found: ExplainedImage, report: ExplainReport) -> None:
    """Write an image and its row.

    Raises:
        DataError: it cannot be written.
    """
    name, lies = item[0].label(item[1]), point(found.values, found.region)
    asked = folder.table.asked
    title = "   ".join(filter(None, (name, asked.method, asked.layer, str(lies), found.notes)))
    case = ExplainedCase(found.loaded.image, found.loaded.truth, found.prediction, found.values, found.region, title)
    try:
        picture = folder.writer.write(*item, case)
    except OSError as error:
        raise unwritable(error.filename or "An output", error) from error
    folder.table.add(name, int(found.region.sum()), lies, found.notes, picture)
    report.done += 1
    if found.notes:
        report.noted.append(f"{name}: {found.notes}")
    if lies.hit is not None:
        report.inside.append((lies.inside, lies.share))
        report.hits.append(lies.hit)


def region_of(
    explainer: Explainer, box: Sequence[int] | None, region: str, prediction: Array, truth: Array | None
) -> tuple[Array, str]:
    """Return the pixels (H, W) bool that are asked about, and what to say where there is none.

    Raises:
        DataError: they are those of a true mask that is not known.
    """
    labelling, size = explainer.segmenter.label_mode, (prediction.shape[0], prediction.shape[1])
    target = explainer.segmenter.spec.classes[explainer.target]
    if box is not None:
        found, absent = box_pixels(box, size), f"the box lies outside of its {size[0]}x{size[1]} pixels"
    elif region == "predicted":
        found, absent = pixels_of(labelling, prediction, explainer.target), f"{target} is not predicted in it"
    elif truth is None:
        raise DataError("its true mask is not known, which region=truth needs")
    else:
        found, absent = pixels_of(labelling, truth, explainer.target), f"{target} is not in its true mask"
    return found, "" if found.any() else absent
