"""Timing in turns, by a clock that the test holds."""

import pytest
import torch

from segexp.exporting import latency
from segexp.exporting.latency import Latency, take_turns


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until something takes time."""
    now = [0.0]
    monkeypatch.setattr(latency.time, "perf_counter", lambda: now[0])
    return now


def test_median_and_95th_percentile_of_each_in_milliseconds(clock, monkeypatch):
    monkeypatch.setattr(latency, "FEWEST", 4)
    monkeypatch.setattr(latency, "MOST", 50)
    order = []

    def taking(name, seconds):
        left = [0.0, 0.0, *seconds]

        def call():
            assert torch.is_inference_mode_enabled()
            order.append(name)
            clock[0] += left.pop(0)

        return call

    one, two = take_turns([taking("a", [0.1, 0.2, 0.3, 0.4]), taking("b", [1.0, 1.0, 1.0, 5.0])], seconds=0.5)
    assert (one.median, one.rounds) == (pytest.approx(250), 4)
    assert one.p95 == pytest.approx(385)
    assert (two.median, two.p95) == (pytest.approx(1000), pytest.approx(4400))
    assert order == ["a", "a", "b", "b", *["a", "b"] * 4], "after two calls each they take turns"


def test_as_many_rounds_as_the_time_allows_and_no_more(clock, monkeypatch):
    def slow():
        clock[0] += 0.1

    monkeypatch.setattr(latency, "MOST", 50)
    (found,) = take_turns([slow], seconds=2.05)
    assert found.rounds in range(20, 23)
    (most,) = take_turns([lambda: None], seconds=1.0)
    assert most.rounds == 50


def test_plain_values():
    assert Latency(1.5, 2.0, 7).as_dict() == {"median": 1.5, "p95": 2.0, "rounds": 7}
