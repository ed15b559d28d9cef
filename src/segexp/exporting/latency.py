"""How long one image takes: several networks take turns, so that what else the machine does falls on all of them alike."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

SECONDS = 10.0
FEWEST, MOST = 7, 50


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one image.

    Attributes:
        median: of the rounds.
        p95: 95th percentile.
        rounds: how often it was timed.
    """

    median: float
    p95: float
    rounds: int

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def take_turns(calls: Sequence[Callable[[], object]], seconds: float = SECONDS) -> list[Latency]:
    """Time calls in turns, for about so many seconds altogether, at least `FEWEST` and at most `MOST` times each."""
    taken: list[list[float]] = [[] for _ in calls]
    with torch.inference_mode():
        for call in calls:  # libraries choose their ways at the first calls
            call()
            call()
        start = time.perf_counter()
        while len(taken[0]) < FEWEST or (len(taken[0]) < MOST and time.perf_counter() - start < seconds):
            for call, times in zip(calls, taken, strict=True):
                begun = time.perf_counter()
                call()
                times.append(1e3 * (time.perf_counter() - begun))
    return [Latency(float(np.median(times)), float(np.percentile(times, 95)), len(times)) for times in taken]
