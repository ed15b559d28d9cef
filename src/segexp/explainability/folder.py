"""Explanation of a folder: images are decoded by threads while the network runs.

Shapes: H W pixels.
"""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from segexp.atomic import atomic_write
from segexp.data.io.images import write_png
from segexp.data.layout.patterns import natural_key
from segexp.errors import DataError
from segexp.explainability.attribution import SIGNED
from segexp.explainability.explainer import Explainer
from segexp.explainability.regions import Pointing, box_pixels, class_pixels, pointing_game
from segexp.inference.folder_runner import LoadedImage, Truth, count_pixels, failure_reason, load_image, read_ahead
from segexp.inference.inputs import Job, file_safe_names
from segexp.inference.out_of_distribution import TrainingStats
from segexp.inference.outputs import unwritable
from segexp.inference.review import Row, append_rows, read_rows, write_rows
from segexp.inference.shared_run import SharedRun
from segexp.types import Array, DataSpec, Source
from segexp.visualization import ExplainedCase, explanation_sheet

Key = tuple[str, str, str]

NAME = "explanations.csv"
ASKED = ("target", "method", "layer", "region", "checkpoint")
FOUND = ("region_pixels", "region_share", "inside", "peak_row", "peak_column", "peak_inside", "highest", "note", "picture")
COLUMNS = ("file", *ASKED, *FOUND)


@dataclass(frozen=True)
class ExplanationRequest:
    """The explanation requested for all images of a command.

    Attributes:
        target: name of the class.
        method: one of `METHODS`.
        layer: its name; without a layer, the other parameters ("steps=32", "window=16").
        region: "predicted", "truth", or the box as "top,left,bottom,right".
        checkpoint: the file.
    """

    target: str
    method: str
    layer: str
    region: str
    checkpoint: str


@dataclass
class ExplanationTable:
    """The rows of one folder's explanations.csv, including those of earlier runs.

    Attributes:
        folder: the output folder.
        asked: the request.
        rows: by file, class and method.
    """

    folder: Path
    asked: ExplanationRequest
    rows: dict[Key, Row] = field(default_factory=dict)

    def add(self, file: str, pixels: int, found: Pointing | None, note: str, picture: str) -> None:
        """Add the results of one image to the file and the rows.

        Args:
            file: its name.
            pixels: of the region.
            found: relation of map and region; None if there is no map.
            note: a remark.
            picture: the file with the map, relative to the folder; "" if there is none.

        Raises:
            OSError: the file cannot be written.
        """
        row = {"file": file, **asdict(self.asked), "region_pixels": str(pixels), "note": note, "picture": picture}
        if found is not None:
            row |= {"region_share": f"{found.share:.4f}", "highest": f"{found.highest:.4g}"}
            row["inside"] = "" if math.isnan(found.inside) else f"{found.inside:.4f}"
            row["peak_inside"] = "" if found.hit is None else "yes" if found.hit else "no"
            row |= dict(zip(("peak_row", "peak_column"), map(str, found.peak), strict=True)) if found.peak else {}
        self.rows[self._key(file)] = row
        append_rows(self.folder / NAME, COLUMNS, [row])

    def done(self, file: str) -> Row | None:
        """Return the row of an image that was already processed with the same request, else None."""
        row = self.rows.get(self._key(file))
        return row if row is not None and all(row.get(name) == text for name, text in asdict(self.asked).items()) else None

    def write(self) -> Path | None:
        """Write the rows of all processes, by class and method and then by file; return the path, None without rows.

        Raises:
            DataError: it cannot be written.
        """
        self.rows = read_earlier(self.folder)
        if not self.rows:
            return None
        asked = list(dict.fromkeys(key[1:] for key in self.rows))
        keys = sorted(self.rows, key=lambda key: (asked.index(key[1:]), natural_key(key[0])))
        return write_rows(self.folder / NAME, COLUMNS, [self.rows[key] for key in keys])

    def begin(self, again: Collection[str]) -> None:
        """Read the file, and remove the rows of images that are explained again with this request from it.

        Raises:
            DataError: it cannot be written.
        """
        gone = {self._key(file) for file in again}
        rows = {key: row for key, row in read_earlier(self.folder).items() if key not in gone}
        if rows:
            write_rows(self.folder / NAME, COLUMNS, rows.values())
        else:
            (self.folder / NAME).unlink(missing_ok=True)
        self.rows = rows

    def _key(self, file: str) -> Key:
        return file, self.asked.target, self.asked.method


def read_earlier(folder: Path) -> dict[Key, Row]:
    """Return the rows of an earlier table whose images still exist; empty if it is broken."""
    rows = read_rows(folder / NAME, ended=True)
    return {_key_of(row): row for row in rows if row.get("file") and "picture" in row and (folder / row["picture"]).exists()}


def _key_of(row: Mapping[str, str]) -> Key:
    return row["file"], row.get("target", ""), row.get("method", "")


@dataclass(frozen=True)
class ExplanationWriter:
    """Writes the outputs of one folder; each method and class has a subfolder, such as `seg_gradcam_liver`.

    Attributes:
        folder: of the outputs.
        spec: class names and colours.
        asked: the request.
        values: also write the map, float32 (H, W) at the original image size, as npz (key "values").
    """

    folder: Path
    spec: DataSpec
    asked: ExplanationRequest
    values: bool

    def picture(self, job: Job, source: Source) -> str:
        """Return the name of the image of one page of a job, relative to the folder."""
        page = "" if source.page is None else f"/{source.page:04d}"
        word = file_safe_names(self.spec.classes)[self.spec.classes.index(self.asked.target)]
        return f"{self.asked.method}_{word}/{job.stem}{page}.png"

    def files(self, job: Job, source: Source) -> list[str]:
        """Return the names of all outputs of one page of a job, relative to the folder."""
        picture = self.picture(job, source)
        return [picture, *([f"{picture.removesuffix('.png')}.npz"] if self.values else [])]

    def write(self, job: Job, source: Source, case: ExplainedCase) -> str:
        """Write the outputs of one image; return the image name."""
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
            background=self.spec.background,
        )
        picture, *others = (self.folder / name for name in self.files(job, source))
        for path in others:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path, durable=False) as part, part.open("wb") as file:
                np.savez_compressed(file, values=case.values)
        write_png(picture, sheet)
        return self.picture(job, source)

    @property
    def outline(self) -> str:
        """Description of the outlined pixels."""
        words = {"predicted": f"predicted as {self.asked.target}", "truth": f"truly {self.asked.target}"}
        return words.get(self.asked.region, "the box")


Item = tuple[Job, Source]

REMEDY = "cut out what is asked about, or type method=occlusion, without gradients"
"""Advice for lack of memory."""


@dataclass(frozen=True)
class ExplainFolder:
    """Work for one output folder.

    Attributes:
        items: images in order, by their files.
        writer: of the outputs.
        table: receives a row per image.
        truth: reads the ground truth masks.
        shared: the part of this process in the work; None for all of it.
    """

    items: Mapping[Job, tuple[Source, ...]]
    writer: ExplanationWriter
    table: ExplanationTable
    truth: Truth
    shared: SharedRun | None = None

    def locked(self) -> AbstractContextManager[None]:
        """Exclude other processes from the table for a moment."""
        return self.shared.locked() if self.shared else nullcontext()


@dataclass
class ExplainReport:
    """Counts and problems of an explanation.

    Attributes:
        done: images with a map.
        empty: messages about images with nothing to explain.
        noted: remarks on maps.
        failures: why an image could not be explained.
        untrue: why a ground truth mask could not be read.
        inside: per map, the share of the map inside the region and the share of the region in the image.
        hits: whether the maximum is inside the region.
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
    jobs: Iterable[Job],
    step: Callable[[], None] = lambda: None,
) -> None:
    """Explain and write images of a folder; images that fail are recorded and skipped.

    Args:
        folder: the images.
        explainer: image and region to map.
        box: the region (top, left, bottom, right) of every image; None for the requested predicted or true pixels.
        training: statistics of the training images.
        report: is updated.
        jobs: the files to explain, taken as the work goes on.
        step: called after each image.

    Raises:
        DataError: an output cannot be written.
    """

    def read(item: Item) -> LoadedImage:
        return load_image(*item, training, folder.truth, report.untrue)

    items = ((job, source) for job in jobs for source in folder.items[job])
    failed: list[str] = []
    for (job, source), loading in read_ahead(items, read, lambda item: count_pixels(item[1])):
        name = job.label(source)
        found = None
        try:
            found = _explained(explainer, box, folder.table.asked.region, loading.result())
        except Exception as error:
            report.failures[name] = failure_reason(error, REMEDY).removeprefix(f"{job.file} ")
            failed.append(report.failures[name])
        if isinstance(found, str):
            report.empty.append(f"{name}: {found}")
            _add_row(folder, name, 0, None, found, "")
        elif found is not None:
            _write_result(folder, (job, source), found, report)
        if source == folder.items[job][-1]:
            if folder.shared:
                folder.shared.settle(job.image, failure="; ".join(failed))
            failed = []
        step()


def _add_row(folder: ExplainFolder, *row: Any) -> None:
    try:
        with folder.locked():
            folder.table.add(*row)
    except OSError as error:
        raise unwritable(error.filename or NAME, error) from error


@dataclass(frozen=True)
class ExplainedImage:
    """An image with its map.

    Attributes:
        loaded: the decoded image.
        prediction: (H, W).
        region: (H, W) bool.
        values: (H, W), the map.
        notes: remarks.
    """

    loaded: LoadedImage
    prediction: Array
    region: Array
    values: Array
    notes: str


def _explained(explainer: Explainer, box: Sequence[int] | None, region: str, loaded: LoadedImage) -> ExplainedImage | str:
    """Return the map of an image, or why there is nothing to explain in it."""
    segmenter = explainer.segmenter
    prediction = segmenter.spec.without_nodata(segmenter.classes(loaded.image), loaded.valid)
    pixels, absent = select_region(explainer, box, region, prediction, loaded.truth)
    if absent and not explainer.whole:
        return absent
    found = explainer(loaded.image, pixels)
    return ExplainedImage(loaded, prediction, pixels, found.values, "; ".join(filter(None, (absent, found.note))))


def _write_result(folder: ExplainFolder, item: Item, found: ExplainedImage, report: ExplainReport) -> None:
    """Write an image and its row.

    Raises:
        DataError: it cannot be written.
    """
    name, lies = item[0].label(item[1]), pointing_game(found.values, found.region)
    asked = folder.table.asked
    title = "   ".join(filter(None, (name, asked.method, asked.layer, str(lies), found.notes)))
    case = ExplainedCase(found.loaded.image, found.loaded.truth, found.prediction, found.values, found.region, title)
    try:
        picture = folder.writer.write(*item, case)
    except OSError as error:
        raise unwritable(error.filename or "An output", error) from error
    _add_row(folder, name, int(found.region.sum()), lies, found.notes, picture)
    report.done += 1
    if found.notes:
        report.noted.append(f"{name}: {found.notes}")
    if lies.hit is not None:
        report.inside.append((lies.inside, lies.share))
        report.hits.append(lies.hit)


def select_region(
    explainer: Explainer, box: Sequence[int] | None, region: str, prediction: Array, truth: Array | None
) -> tuple[Array, str]:
    """Return the pixels (H, W) bool of the requested region, and a message if there are none.

    Raises:
        DataError: the true mask is required but unknown.
    """
    labelling, size = explainer.segmenter.label_mode, (prediction.shape[0], prediction.shape[1])
    target = explainer.segmenter.spec.classes[explainer.target]
    if box is not None:
        found, absent = box_pixels(box, size), f"the box lies outside of its {size[0]}x{size[1]} pixels"
    elif region == "predicted":
        found, absent = class_pixels(labelling, prediction, explainer.target), f"{target} is not predicted in it"
    elif truth is None:
        raise DataError("its true mask is not known, which region=truth needs")
    else:
        found, absent = class_pixels(labelling, truth, explainer.target), f"{target} is not in its true mask"
    return found, "" if found.any() else absent
