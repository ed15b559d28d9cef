"""The loop of a prediction: one picture after the other, while threads decode those to come and write those done."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import numpy as np

from segexp.console import terminal
from segexp.data.io.images import fit_channels, image_size, read_image
from segexp.devices import is_memory
from segexp.errors import DataError, SegexpError
from segexp.inference.inputs import Job
from segexp.inference.out_of_distribution import Training, flags
from segexp.inference.outputs import Found, Writer, unwritable
from segexp.inference.predictor import Prediction, Predictor
from segexp.inference.review import SEVERAL, Review
from segexp.types import Source

T = TypeVar("T")

BUDGET = 1 << 25
"""Pixels that wait in a queue; more only if they are one picture."""
MOST = 8
"""Pictures that wait in a queue."""
THREADS = 2


def ahead(
    items: Iterable[T], read: Callable[[T], Any], cost: Callable[[T], int], budget: int = BUDGET
) -> Iterator[tuple[T, "Future[Any]"]]:
    """Yield each item, in order, with what `read` makes of it; a few are read ahead by threads.

    Args:
        items: what to read.
        read: runs in a thread.
        cost: of an item, in the unit of the budget.
        budget: of all items that wait; one item may cost more, and then waits alone.
    """
    waiting, queue = deque(items), deque[tuple[T, int, Future[Any]]]()
    with ThreadPoolExecutor(THREADS) as pool:
        try:
            while waiting or queue:
                while waiting and len(queue) < MOST:
                    price = cost(waiting[0])
                    if queue and sum(entry[1] for entry in queue) + price > budget:
                        break
                    item = waiting.popleft()
                    queue.append((item, price, pool.submit(read, item)))
                item, _, future = queue.popleft()
                yield item, future
        finally:
            for _, _, future in queue:
                future.cancel()


class Outbox:
    """Writes in threads, and makes who puts something in wait while too much is on its way."""

    def __init__(self, budget: int = BUDGET) -> None:
        self.budget = budget
        self.pool = ThreadPoolExecutor(THREADS)
        self.queue: deque[tuple[int, Future[None]]] = deque()

    def put(self, write: Callable[[], None], cost: int) -> None:
        """Write soon; something that costs more than the budget is written before this returns.

        Raises:
            DataError: something put in before could not be written.
        """
        self.queue.append((cost, self.pool.submit(write)))
        while len(self.queue) > MOST or sum(entry[0] for entry in self.queue) > self.budget:
            self._wait()

    def __enter__(self) -> "Outbox":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            while kind is None and self.queue:
                self._wait()
        finally:
            self.pool.shutdown(wait=True, cancel_futures=True)  # what is being written becomes whole

    def _wait(self) -> None:
        try:
            self.queue.popleft()[1].result()
        except OSError as error:
            raise unwritable(error.filename or "An output", error) from error


Array = np.ndarray[Any, np.dtype[Any]]

Truth = Callable[[Job, Source, Sequence[int]], Array | None]
"""Reads the true mask (H, W) of one picture of a job, of a size (H, W, …); None where nothing is known."""


@dataclass(frozen=True)
class Folder:
    """What is to be done for one output folder.

    Attributes:
        jobs: in their order.
        writer: where the outputs go.
        review: gets a row per picture.
        truth: reads the true masks, for panels.
    """

    jobs: tuple[Job, ...]
    writer: Writer
    review: Review
    truth: Truth


@dataclass
class Report:
    """What came of it.

    Attributes:
        done: files whose outputs are all written.
        pictures: predicted; a stack or volume has several.
        flagged: pictures with a flag.
        failures: why a file has no mask.
        untrue: why a true mask could not be shown.
    """

    done: int = 0
    pictures: int = 0
    flagged: int = 0
    failures: dict[Job, str] = field(default_factory=dict)
    untrue: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Loaded:
    """A decoded picture: image (H, W, C) as the network takes it, what is odd about it, and the truth (H, W) where known."""

    image: Array
    flags: tuple[str, ...]
    truth: Array | None


def predict_folder(
    folder: Folder, predictor: Predictor, training: Training, report: Report, step: Callable[[], None] = lambda: None
) -> None:
    """Predict and write every job of a folder; what cannot be read or does not fit is noted, and the others go on.

    Args:
        folder: the jobs.
        predictor: image to prediction.
        training: what the images should be like.
        report: is added to.
        step: called after each picture.

    Raises:
        DataError: an output cannot be written.
    """
    failed: dict[Job, str] = {}

    def read(item: tuple[Job, Source]) -> Loaded | None:
        return None if item[0] in failed else load(*item, training, folder.truth, report.untrue)

    classes: dict[Job, list[Array]] = {}
    with Outbox() as outbox:
        items = [(job, source) for job in folder.jobs for source in job.sources]
        for (job, source), loading in ahead(items, read, lambda item: pixels(item[1])):
            try:
                loaded = loading.result()
                prediction = predictor(loaded.image) if loaded is not None and job not in failed else None
            except Exception as error:
                failed[job] = reason(error, "type a smaller max_pixels, or gpus=0 for the CPU")
                folder.review.add(job.image, "", [f"not predicted: {failed[job]}"])
                classes.pop(job, None)
                prediction = loaded = None
            if prediction is not None and loaded is not None:
                report.pictures += 1
                report.flagged += bool(loaded.flags)
                mask = SEVERAL.join(folder.writer.wanted.masks(job))
                folder.review.add(job.label(source), mask, loaded.flags, prediction.scores, prediction.classes)
                classes.setdefault(job, []).append(prediction.classes)
                outbox.put(_extras(folder.writer, job, source, loaded, prediction), prediction.classes.size)
                if len(classes[job]) == len(job.sources):
                    masks = classes.pop(job)
                    outbox.put(partial(folder.writer.write_mask, job, masks), sum(mask.size for mask in masks))
                    report.done += 1
            step()
    report.failures |= failed


def load(job: Job, source: Source, training: Training, truth: Truth, untrue: list[str]) -> Loaded:
    """Decode one picture, and its truth; a truth that cannot be read is noted in `untrue` and left out.

    Raises:
        DataError: the picture is broken, or has a number of channels that the network does not take.
    """
    array = read_image(source)
    have = array.shape[2]
    if have != training.channels and {have, training.channels} != {1, 3}:
        pages = "; pages of one file are channels only where their number is the network's" if source.page is not None else ""
        raise DataError(
            f"{source} has {have} channel{'s' if have > 1 else ''}, and the network takes {training.channels}{pages}",
            "Only gray and colour are turned into each other",
            "Take the image out of the folder, or use a network that was trained on such images",
        )
    try:
        true = truth(job, source, array.shape)
    except SegexpError as error:
        untrue.append(error.found)
        true = None
    return Loaded(fit_channels(array, training.channels, source), flags(array, training), true)


def _extras(writer: Writer, job: Job, source: Source, loaded: Loaded, prediction: Prediction) -> Callable[[], None]:
    """Return what writes the extras of a picture; it holds no more of the prediction than it needs."""
    wanted = writer.wanted
    found = Found(
        prediction.classes,
        loaded.image if wanted.overlay or wanted.panel else None,
        loaded.truth if wanted.panel else None,
        prediction.probabilities.numpy() if wanted.probabilities else None,
        prediction.uncertainty if wanted.uncertainty else None,
    )
    return partial(writer.write_extras, job, source, found)


def pixels(source: Source) -> int:
    """Return how many pixels an image has, by which room for it is kept; 0 where it cannot be read."""
    try:
        height, width = image_size(source)
    except SegexpError:
        return 0  # told when it is read
    return height * width


def reason(error: Exception, remedy: str) -> str:
    """Return why one picture cannot be done, `remedy` where the memory is short; what is not the picture's fault goes on."""
    if isinstance(error, SegexpError):
        return error.found
    if is_memory(error):
        return f"there is not enough memory for it; {remedy}"
    raise error


@contextmanager
def progress(total: int, what: str = "Predicting") -> Iterator[Callable[[], None]]:
    """Give what is to be called after each of `total` images; `what` is being done to them."""
    if not terminal():
        yield lambda: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        """Images per second."""

        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text(f"{speed:.3g} images/s" if speed else "")

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), Rate(), TextColumn("left"), TimeRemainingColumn())
    with Progress(*columns, transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda: bar.advance(task)
