"""The two queues: order, how much waits, and what happens when something fails."""

import threading

import pytest

from segexp.errors import DataError
from segexp.prediction.queues import MOST, Outbox, ahead


class Gauge:
    """Counts how much was begun and not yet taken."""

    def __init__(self):
        self.lock, self.now, self.most = threading.Lock(), 0, 0

    def add(self, cost):
        with self.lock:
            self.now += cost
            self.most = max(self.most, self.now)


def test_items_come_in_their_order():
    assert [(item, future.result()) for item, future in ahead(range(50), lambda n: n * n, lambda _: 1)] == [
        (n, n * n) for n in range(50)
    ]
    assert list(ahead([], print, len)) == []


@pytest.mark.parametrize(("costs", "most"), [([1] * 30, MOST), ([60] * 9, 60), ([40] * 9, 80), ([10, 500, 10, 10], 500)])
def test_what_waits_is_bounded(costs, most):
    gauge = Gauge()
    for cost, future in ahead(costs, gauge.add, lambda cost: cost, budget=100):
        future.result()
        assert gauge.now <= most
        gauge.add(-cost)
    assert gauge.most <= most


def test_a_failure_belongs_to_its_item():
    def read(number):
        if number == 2:
            raise ValueError("broken")
        return number

    taken = [future.exception() or future.result() for _, future in ahead(range(4), read, lambda _: 1)]
    assert [str(value) for value in taken] == ["0", "1", "broken", "3"]


def test_leaving_early_ends_the_threads():
    begun = []
    reading = ahead(range(1000), begun.append, lambda _: 1)
    next(reading)
    reading.close()
    assert len(begun) <= MOST + 1
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ThreadPool")]


def test_everything_is_written_before_the_outbox_closes():
    written = []
    with Outbox(budget=3) as outbox:
        for number in range(20):
            outbox.put(lambda number=number: written.append(number), 1)
        outbox.put(lambda: written.append("large"), 99)
        assert "large" in written
    assert sorted(map(str, written)) == sorted([*map(str, range(20)), "large"])


def test_a_full_disk_stops():
    def fail():
        raise OSError(28, "No space left on device", "out/a.png")

    with (
        pytest.raises(
            DataError, match=r"out/a\.png cannot be written \(No space left on device\)\. .*Make room, or type output=DIR"
        ),
        Outbox() as outbox,
    ):
        outbox.put(fail, 1)


def test_an_interruption_lets_what_is_being_written_become_whole():
    started, finished = threading.Event(), []

    def slow():
        started.set()
        threading.Event().wait(0.05)
        finished.append(True)

    def interrupted():
        with Outbox() as outbox:
            outbox.put(slow, 1)
            started.wait(5)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert finished == [True]
