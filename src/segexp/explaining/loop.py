"""The loop of an explanation: one picture after the other, while threads decode those to come.

Legend: H W pixels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from segexp.errors import DataError
from segexp.explaining.explainer import Explainer
from segexp.explaining.outputs import Writer
from segexp.explaining.pointing import point
from segexp.explaining.regions import box_pixels, pixels_of
from segexp.explaining.table import Table
from segexp.pictures import Explained
from segexp.prediction.flags import Training
from segexp.prediction.inputs import Job
from segexp.prediction.loop import Loaded, Truth, load, pixels, reason
from segexp.prediction.places import unwritable
from segexp.prediction.queues import ahead
from segexp.types import Source

Array = np.ndarray[Any, np.dtype[Any]]
Item = tuple[Job, Source]

REMEDY = "cut out what is asked about, or type method=occlusion, without gradients"
"""Where the memory is short."""


@dataclass(frozen=True)
class Folder:
    """What is to be done for one output folder.

    Attributes:
        items: pictures, in their order.
        writer: where the outputs go.
        table: gets a row per picture.
        truth: reads the true masks.
    """

    items: tuple[Item, ...]
    writer: Writer
    table: Table
    truth: Truth


@dataclass
class Report:
    """What came of it.

    Attributes:
        done: pictures with a map.
        empty: what is to be said of those that have nothing to explain.
        noted: what is to be said of maps that are there.
        failures: why a picture could not be explained.
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
    folder: Folder,
    explainer: Explainer,
    box: Sequence[int] | None,
    training: Training,
    report: Report,
    step: Callable[[], None] = lambda: None,
) -> None:
    """Explain and write every picture of a folder; what cannot be read or explained is noted, and the others go on.

    Args:
        folder: the pictures.
        explainer: image and region to map.
        box: the region (top, left, bottom, right) of every image; None takes what is asked, predicted or true pixels.
        training: what the images should be like.
        report: is added to.
        step: called after each picture.

    Raises:
        DataError: an output cannot be written.
    """

    def read(item: Item) -> Loaded:
        return load(*item, training, folder.truth, report.untrue)

    for (job, source), loading in ahead(folder.items, read, lambda item: pixels(item[1])):
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
class Found:
    """A picture with its map.

    Attributes:
        loaded: what was decoded.
        prediction: (H, W).
        region: (H, W) bool.
        values: (H, W), the map.
        notes: what is to be known.
    """

    loaded: Loaded
    prediction: Array
    region: Array
    values: Array
    notes: str


def _explained(explainer: Explainer, box: Sequence[int] | None, region: str, loaded: Loaded) -> Found | str:
    """Return the map of a picture, or in words why there is nothing to explain in it."""
    prediction = explainer.segmenter.classes(loaded.image)
    pixels, absent = region_of(explainer, box, region, prediction, loaded.truth)
    if absent and not explainer.whole:
        return absent
    found = explainer(loaded.image, pixels)
    return Found(loaded, prediction, pixels, found.values, "; ".join(filter(None, (absent, found.note))))


def _put_down(folder: Folder, item: Item, found: Found, report: Report) -> None:
    """Write a picture and its row.

    Raises:
        DataError: it cannot be written.
    """
    name, lies = item[0].label(item[1]), point(found.values, found.region)
    asked = folder.table.asked
    title = "   ".join(filter(None, (name, asked.method, asked.layer, str(lies), found.notes)))
    case = Explained(found.loaded.image, found.loaded.truth, found.prediction, found.values, found.region, title)
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
    labelling, size = explainer.segmenter.labelling, (prediction.shape[0], prediction.shape[1])
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
