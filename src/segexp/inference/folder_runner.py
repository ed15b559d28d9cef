"""Apply a command to every image of some folders: read-ahead, error handling, tables and output.

A command defines a `FolderTask`; `run_folders` runs it.
"""

import sys
import time
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from segexp.config.schema import DataConfig
from segexp.console import is_terminal
from segexp.data.io.images import fit_channels, image_size, read_stored
from segexp.errors import DataError, SegexpError, listed, pluralise
from segexp.failures import is_out_of_memory
from segexp.inference.inputs import EarlierOutputs, Inventory, Job, list_inputs, refuse_masks
from segexp.inference.out_of_distribution import TrainingStats, image_flags
from segexp.inference.outputs import as_list, check_collisions, check_writable, resolve_output_dirs
from segexp.inference.shared_run import SharedRun
from segexp.interrupts import Interrupted
from segexp.types import Array, Source

T = TypeVar("T")
F = TypeVar("F")

BUDGET = 1 << 25
"""Maximum number of pixels in a queue, unless a single image is larger."""
MOST = 8
"""Maximum number of images in a queue."""
THREADS = 2

Truth = Callable[[Job, Source, Sequence[int]], Array | None]
"""Reads the ground truth mask (H, W) of an image of a job, given its size (H, W, …); None if unknown."""


class FolderTask(ABC, Generic[F]):
    """What a command does to the images of its inputs; `F` is the work for one output folder.

    Attributes:
        outputs_are: name of the outputs: "Masks".
        doing: label of the progress bar: "Predicting".
        command: its name: "predict".
        scope: of the outputs; processes with another one share the folder without sharing images.
        overwrite: whether finished images are done again.
        others: the number of images done meanwhile by other processes, by their names.
    """

    outputs_are: str
    doing: str
    command: str
    scope: str = ""

    def __init__(self, overwrite: bool) -> None:
        self.overwrite = overwrite
        self.others: Counter[str] = Counter()

    @abstractmethod
    def earlier_outputs(self, folder: Path) -> Iterable[str]:
        """Return the images that earlier runs wrote into a folder, relative to it; they are not inputs."""

    @abstractmethod
    def prepare(self, inventory: Inventory) -> F:
        """Return the work for an input, with finished images."""

    @abstractmethod
    def settings(self) -> Mapping[str, str]:
        """Return what processes that share the work on a folder have in common."""

    @abstractmethod
    def begin(self, folder: F, shared: SharedRun) -> F:
        """Return the work that is left, to be shared with other processes; tables lose the rows of what is done again."""

    @abstractmethod
    def jobs(self, folder: F) -> Sequence[Job]:
        """Return the files of a folder that are left."""

    @abstractmethod
    def outputs(self, inventory: Inventory, folder: F) -> Mapping[Job, Sequence[Path]]:
        """Return the files written for each job."""

    @abstractmethod
    def count(self, folder: F) -> int:
        """Return the number of images to process."""

    @abstractmethod
    def introduction(self) -> Iterator[str]:
        """Yield lines about the network and the request."""

    @abstractmethod
    def run(self, folder: F, jobs: Iterable[Job], step: Callable[[], None]) -> None:
        """Process files of a folder, calling `step` after each image; images that fail are recorded and skipped."""

    @abstractmethod
    def add_failure(self, job: Job, reason: str) -> None:
        """Note that another process could not do a file."""

    @abstractmethod
    def write_table(self, folder: F) -> Path | None:
        """Write the table of a folder; return its path, None if it has no row."""

    @abstractmethod
    def summary(self, seconds: float, tables: Collection[Path]) -> Iterator[str]:
        """Yield lines that summarise the results."""

    @abstractmethod
    def problem(self) -> DataError | None:
        """Return an error that names the failed images, or None."""

    def by_others(self) -> str:
        """Return what other processes did meanwhile, to be added to the number of images of this one."""
        return "".join(f"; {count} by {who}" for who, count in self.others.items())


def run_folders(
    task: FolderTask[F],
    inputs: str | Sequence[str],
    outputs: str | Sequence[str],
    training: TrainingStats,
    data: DataConfig,
    *,
    suffix: str = "",
    check: bool = True,
) -> None:
    """Apply a task to every image of some folders; print where the results are.

    Args:
        task: the task.
        inputs: folders of images at any depth, or files.
        outputs: one folder for all inputs, or one for each.
        training: statistics of the training images.
        data: the data section of the run that trained the network.
        suffix: of the outputs' names.
        check: refuse inputs that look like masks.

    Raises:
        ConfigError: outputs would overwrite inputs or each other.
        DataError: there is no image, the inputs are masks, an output cannot be written; or, at the end, some images failed.
    """
    pairs = resolve_output_dirs(as_list(inputs), as_list(outputs))
    folders = {output.resolve() for _, output in pairs}
    written = {(folder / name).resolve() for folder in folders for name in task.earlier_outputs(folder)}
    earlier = EarlierOutputs(suffix, frozenset(folders), frozenset(written))
    inventories = [list_inputs(given, output, training.channels, data, earlier) for given, output in pairs]
    work = [task.prepare(inventory) for inventory in inventories]
    files = [task.outputs(inventory, folder) for inventory, folder in zip(inventories, work, strict=True)]
    check_collisions(inventories, {job: paths for each in files for job, paths in each.items()})
    if check:
        for inventory in inventories:
            refuse_masks(inventory.jobs, training)
    for output in {inventory.output for inventory in inventories}:
        check_writable(output)
    with ExitStack() as stack:
        runs = {output: stack.enter_context(run) for output, run in _shared_runs(task, inventories).items()}
        parts = [runs[inventory.output.resolve()] for inventory in inventories]
        work = [task.begin(folder, shared) for folder, shared in zip(work, parts, strict=True)]
        where = f"{task.outputs_are}: {listed(dict.fromkeys(inventory.output for inventory in inventories), 8)}"
        _say([where, *task.introduction()])
        for inventory in inventories:
            _say([f"Input: {inventory.input}, {pluralise(len(inventory.jobs), 'image')}"])
            _say(f"  {notice}" for notice in inventory.notices)
        _process(task, list(zip(work, parts, strict=True)), where)
    if problem := task.problem():
        raise problem


def _shared_runs(task: FolderTask[F], inventories: Sequence[Inventory]) -> dict[Path, SharedRun]:
    """Return the part in the work on each output folder."""
    roots: dict[Path, dict[str, None]] = {}
    for inventory in inventories:
        roots.setdefault(inventory.output.resolve(), {})[str(inventory.root.resolve())] = None
    outputs = {inventory.output.resolve(): inventory.output for inventory in inventories}
    return {
        key: SharedRun(outputs[key], task.command, {**task.settings(), "input": ", ".join(sorted(names))}, task.scope)
        for key, names in roots.items()
    }


def _process(task: FolderTask[F], work: Sequence[tuple[F, SharedRun]], where: str) -> None:
    """Process what is left, write the tables and say what was done."""
    started, stopped = time.monotonic(), []
    jobs = [{job.image: job for job in task.jobs(folder)} for folder, _ in work]
    try:
        with progress(sum(task.count(folder) for folder, _ in work), task.doing) as step:
            for (folder, shared), named in zip(work, jobs, strict=True):
                left = list(named)
                while left:
                    task.run(folder, (named[image] for image in shared.claim(left)), step)
                    left = shared.wait(left)
    except KeyboardInterrupt as interrupt:
        stopped = [_interruption(interrupt, work, jobs, task.overwrite)]
        raise
    finally:
        for (_, shared), named in zip(work, jobs, strict=True):
            for image, claim in shared.settled_by_others(list(named)).items():
                task.others[claim.by] += not claim.failure
                if claim.failure:
                    task.add_failure(named[image], claim.failure)
        tables = dict.fromkeys(path for folder, _ in work if (path := task.write_table(folder)))
        _say([*task.summary(time.monotonic() - started, tables), *stopped, where])


def _interruption(
    interrupt: KeyboardInterrupt, work: Sequence[tuple[object, SharedRun]], jobs: Sequence[Mapping[str, Job]], again: bool
) -> str:
    """Return the sentence about an interruption."""
    left = sum(len(shared.unsettled(list(named))) for (_, shared), named in zip(work, jobs, strict=True))
    if isinstance(interrupt, Interrupted):
        interrupt.told = True
    words = f"Stopped by {str(interrupt) or 'Ctrl-C'}, {pluralise(left, 'image')} left; what is written is complete"
    return f"{words}. The same command{', without overwrite=true,' if again else ''} goes on with the rest"


def _say(lines: Iterable[str]) -> None:
    sys.stdout.writelines(f"{line}\n" for line in lines)
    sys.stdout.flush()


def read_ahead(
    items: Iterable[T], read: Callable[[T], Any], cost: Callable[[T], int], budget: int = BUDGET
) -> Iterator[tuple[T, "Future[Any]"]]:
    """Yield each item in order with the future of `read(item)`; some items are read ahead by threads.

    Args:
        items: to read; they are taken one by one.
        read: runs in a thread.
        cost: of an item, in the unit of the budget.
        budget: of all pending items; a single item may exceed it.
    """
    priced = ((item, cost(item)) for item in items)
    following = next(priced, None)
    queue = deque[tuple[T, int, Future[Any]]]()
    with ThreadPoolExecutor(THREADS) as pool:
        try:
            while following or queue:
                while following and len(queue) < MOST:
                    item, price = following
                    if queue and sum(entry[1] for entry in queue) + price > budget:
                        break
                    queue.append((item, price, pool.submit(read, item)))
                    following = next(priced, None)
                item, _, future = queue.popleft()
                yield item, future
        finally:
            for _, _, future in queue:
                future.cancel()


@dataclass(frozen=True)
class LoadedImage:
    """A decoded image (H, W, C) with its flags, ground truth (H, W) if known, and which pixels hold data, None if all do."""

    image: Array
    flags: tuple[str, ...]
    truth: Array | None
    valid: Array | None = None


def load_image(job: Job, source: Source, training: TrainingStats, truth: Truth, untrue: list[str]) -> LoadedImage:
    """Decode an image and its ground truth; problems with the latter are appended to `untrue`.

    Raises:
        DataError: the image is broken, or its number of channels does not fit the network.
    """
    array, _, valid = read_stored(source, training.channels)
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
    return LoadedImage(fit_channels(array, training.channels, source), image_flags(array, training), true, valid)


def count_pixels(source: Source) -> int:
    """Return the number of pixels of an image; 0 if it cannot be read."""
    try:
        height, width = image_size(source)
    except SegexpError:
        return 0  # reported when it is read
    return height * width


def failure_reason(error: Exception, remedy: str) -> str:
    """Return why an image failed, with `remedy` for lack of memory; other exceptions are re-raised."""
    if isinstance(error, SegexpError):
        return error.found
    if is_out_of_memory(error):
        return f"there is not enough memory for it; {remedy}"
    raise error


@contextmanager
def progress(total: int, what: str = "Predicting") -> Iterator[Callable[[], None]]:
    """Show a progress bar for `total` images; yield the function to call after each."""
    if not is_terminal():
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
