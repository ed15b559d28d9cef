"""Prediction of a folder: images are decoded and outputs written by threads while the network runs."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from segexp.inference.folder_runner import (
    BUDGET,
    MOST,
    THREADS,
    LoadedImage,
    Truth,
    count_pixels,
    failure_reason,
    load_image,
    read_ahead,
)
from segexp.inference.inputs import Job
from segexp.inference.out_of_distribution import TrainingStats
from segexp.inference.outputs import MaskWriter, PredictedImage, unwritable
from segexp.inference.predictor import Prediction, Predictor
from segexp.inference.review import SEVERAL, Review, Row
from segexp.inference.shared_run import SharedRun
from segexp.types import Array, Source


class WriteQueue:
    """Writes in threads, and blocks the producer while too much is pending."""

    def __init__(self, budget: int = BUDGET) -> None:
        self.budget = budget
        self.pool = ThreadPoolExecutor(THREADS)
        self.queue: deque[tuple[int, Future[None]]] = deque()

    def put(self, write: Callable[[], None], cost: int) -> None:
        """Schedule a write; one that exceeds the budget is completed before this returns.

        Raises:
            DataError: an earlier write failed.
        """
        self.queue.append((cost, self.pool.submit(write)))
        while len(self.queue) > MOST or sum(entry[0] for entry in self.queue) > self.budget:
            self._wait()

    def __enter__(self) -> "WriteQueue":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            while kind is None and self.queue:
                self._wait()
        finally:
            self.pool.shutdown(wait=True, cancel_futures=True)  # running writes are completed

    def _wait(self) -> None:
        try:
            self.queue.popleft()[1].result()
        except OSError as error:
            raise unwritable(error.filename or "An output", error) from error


@dataclass(frozen=True)
class PredictFolder:
    """Work for one output folder.

    Attributes:
        jobs: in order.
        writer: of the outputs.
        review: receives a row per image.
        truth: reads the ground truth masks, for panels.
        shared: the part of this process in the work; None for all of it, with the rows in memory.
    """

    jobs: tuple[Job, ...]
    writer: MaskWriter
    review: Review
    truth: Truth
    shared: SharedRun | None = None

    def record(self, job: Job, rows: Sequence[Row], failure: str = "") -> None:
        """Keep the rows of a job whose masks are written, or that has failed.

        Raises:
            DataError: the table cannot be written.
        """
        if self.shared is None:
            self.review.rows |= {row["image"]: row for row in rows}
        else:
            self.shared.settle(job.image, lambda: self.review.append(rows), failure)


@dataclass
class PredictReport:
    """Counts and problems of a prediction.

    Attributes:
        written: files whose outputs are all written.
        pictures: predicted images; a stack or volume has several.
        flagged: images with a flag.
        failures: why a file has no mask.
        untrue: why a ground truth mask could not be shown.
    """

    pictures: int = 0
    flagged: int = 0
    written: list[Job] = field(default_factory=list)
    failures: dict[Job, str] = field(default_factory=dict)
    untrue: list[str] = field(default_factory=list)

    @property
    def done(self) -> int:
        """The number of files whose outputs are all written."""
        return len(self.written)


def predict_folder(
    folder: PredictFolder,
    predictor: Predictor,
    training: TrainingStats,
    report: PredictReport,
    step: Callable[[], None] = lambda: None,
    jobs: Iterable[Job] | None = None,
) -> None:
    """Predict and write every job of a folder; images that fail are recorded and skipped.

    Args:
        folder: the jobs.
        predictor: image to prediction.
        training: statistics of the training images.
        report: is updated.
        step: called after each image.
        jobs: those to process, taken as the work goes on; by default all.

    Raises:
        DataError: an output cannot be written.
    """
    failed: dict[Job, str] = {}

    def read(item: tuple[Job, Source]) -> LoadedImage | None:
        return None if item[0] in failed else load_image(*item, training, folder.truth, report.untrue)

    def write(job: Job, masks: Sequence[Array], rows: Sequence[Row]) -> None:
        folder.writer.write_mask(job, masks)
        folder.record(job, rows)
        report.written.append(job)

    classes: dict[Job, list[Array]] = {}
    rows: dict[Job, list[Row]] = {}
    with WriteQueue() as outbox:
        items = ((job, source) for job in (folder.jobs if jobs is None else jobs) for source in job.sources)
        for (job, source), loading in read_ahead(items, read, lambda item: count_pixels(item[1])):
            try:
                loaded = loading.result()
                prediction = predictor(loaded.image, valid=loaded.valid) if loaded is not None and job not in failed else None
            except Exception as error:
                reason = failure_reason(error, "type a smaller max_pixels, or gpus=0 for the CPU")
                if job not in failed:
                    folder.record(job, [folder.review.row(job.image, "", [f"not predicted: {reason}"])], reason)
                    failed[job] = reason
                classes.pop(job, None)
                rows.pop(job, None)
                prediction = loaded = None
            if prediction is not None and loaded is not None:
                report.pictures += 1
                report.flagged += bool(loaded.flags)
                mask = SEVERAL.join(folder.writer.wanted.masks(job))
                row = folder.review.row(job.label(source), mask, loaded.flags, prediction.scores, prediction.classes)
                rows.setdefault(job, []).append(row)
                classes.setdefault(job, []).append(prediction.classes)
                outbox.put(_extras(folder.writer, job, source, loaded, prediction), prediction.classes.size)
                if len(classes[job]) == len(job.sources):
                    masks = classes.pop(job)
                    outbox.put(partial(write, job, masks, rows.pop(job)), sum(mask.size for mask in masks))
            step()
    folder.writer.sync(folder.jobs)
    report.failures |= failed


def _extras(writer: MaskWriter, job: Job, source: Source, loaded: LoadedImage, prediction: Prediction) -> Callable[[], None]:
    """Return the function that writes the extras of an image, without holding unneeded arrays."""
    wanted = writer.wanted
    found = PredictedImage(
        prediction.classes,
        loaded.image if wanted.overlay or wanted.panel else None,
        loaded.truth if wanted.panel else None,
        prediction.probabilities.numpy() if wanted.probabilities else None,
        prediction.uncertainty if wanted.uncertainty else None,
    )
    return partial(writer.write_extras, job, source, found)
