"""What an ensemble gains over its members by themselves, on the same cases.

Legend: N cases, M members, K classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segexp.comparison.casewise import mean, metric_of, scored, shares
from segexp.comparison.gather import drawn
from segexp.comparison.records import Record
from segexp.comparison.words import counted, number, span
from segexp.metrics.scores import class_scores
from segexp.metrics.statistics import Interval, bootstrap_interval

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Singles:
    """The members of an ensemble on one split.

    Attributes:
        dice: of each of the M members by itself, mean over cases.
        gain: of the ensemble's Dice over the mean of the members', case by case.
    """

    dice: tuple[float, ...]
    gain: Interval

    @property
    def facts(self) -> dict[str, object]:
        """What metrics.json holds of it."""
        ends = {"interval": [self.gain.low, self.gain.high]} if np.isfinite(self.gain.low) else {}
        return {
            "dice": [each if np.isfinite(each) else None for each in self.dice],
            "cases": self.gain.cases,
            **({"gain": self.gain.mean, **ends} if self.gain.cases else {}),
        }

    def __str__(self) -> str:
        low, high, usual = min(self.dice), max(self.dice), float(np.mean(self.dice))
        alone = f"the {len(self.dice)} networks alone have Dice {number(low)} to {number(high)}, {number(usual)} on average"
        over = f"95 % interval {span(self.gain, signed=True)}, {counted(self.gain.cases, 'case')}"
        if not self.gain.excludes():
            return f"{alone}; the ensemble's {number(self.gain.mean, signed=True)} ({over}) shows no difference"
        better = "better" if self.gain.mean > 0 else "worse"
        return f"{alone}; the ensemble is {better} than that: {number(self.gain.mean, signed=True)} ({over})"


def singles(split: str, rows: Sequence[Mapping[str, object]], alone: Sequence[Array]) -> Singles | None:
    """Return how the members did by themselves; None where that is not known.

    Args:
        split: that was scored.
        rows: of the ensemble, as `cases.csv` has them, of that split.
        alone: for each of the N cases the confusion matrices (M, K, K) of the members, the same ones for all cases; or nothing.
    """
    if not alone:
        return None
    record = Record(Path(), {}, {}, [{name: str(value) for name, value in row.items()} for row in rows])
    together = scored(record, split, metric_of("dice", [record]))
    each = np.stack([class_scores(matrices).dice[:, 1:] for matrices in alone], axis=1)  # (M, N, K - 1)
    gain = bootstrap_interval(shares(together.values - each.mean(axis=0)), drawn(together.groups))
    return Singles(tuple(mean(values) for values in each), gain)
