"""Two queues around a loop: what it needs is read ahead by threads, what it makes is written behind it by threads.

In each wait a few pictures, and never two large ones.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from segexp.prediction.places import unwritable

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
