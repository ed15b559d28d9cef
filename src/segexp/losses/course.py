"""A weight that may change over the training: a number, or points by epoch or share with linear interpolation."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from segexp.errors import ConfigError
from segexp.losses.base import check_range
from segexp.milestones import parse_milestone

Points = float | Mapping[Any, Any] | Sequence[Any]
"""As in a configuration: 0.5, {0: 1.0, 99: 0.01}, [[0, 1.0], [99, 0.01]] or {"0%": 0.0, "50%": 1.0}."""


@dataclass(frozen=True)
class WeightSchedule:
    """Piecewise linear between its points, constant before the first and after the last; stateless.

    Attributes:
        points: (place, value) in order; epochs count from 0, shares run from 0 to 1.
        by_share: places are shares of the training, not epochs.
    """

    points: tuple[tuple[float, float], ...]
    by_share: bool = False

    def __call__(self, epoch: int, share: float) -> float:
        """Return the value in an epoch (from 0 on) at whose start `share` of the training (0 to 1) is completed."""
        places, values = zip(*self.points, strict=True)
        return float(np.interp(share if self.by_share else epoch, places, values))


def weight_schedule(name: str, given: Points) -> WeightSchedule:
    """Parse the schedule of a configuration.

    Args:
        name: of the key, for messages, without "loss." before it.
        given: see `Points`.

    Raises:
        ConfigError: a value is negative, a place is neither an epoch nor a share, or occurs twice.
    """
    if isinstance(given, int | float):
        check_range(name, given, 0)
        return WeightSchedule(((0.0, float(given)),))
    places: list[tuple[float, bool]] = []
    values: list[float] = []
    for key, value in _pairs(name, given):
        places.append(_place(name, key))
        check_range(name, value, 0)
        values.append(float(value))
    if len(set(places)) < len(places) or len({share for _, share in places}) != 1:
        raise ConfigError(
            f"loss.{name} is {given!r}",
            "each place once, and all of them epochs or all of them shares of the training",
            f"Set 'loss.{name}={{0: 0.0, 50: 1.0}}' for epochs, 'loss.{name}={{0%: 0.0, 50%: 1.0}}' for shares",
        )
    points = sorted((place, value) for (place, _), value in zip(places, values, strict=True))
    return WeightSchedule(tuple(points), places[0][1])


def _pairs(name: str, given: Mapping[Any, Any] | Sequence[Any]) -> Iterable[tuple[Any, Any]]:
    pairs = list(given.items() if isinstance(given, Mapping) else given if isinstance(given, list | tuple) else ())
    if not pairs or any(isinstance(pair, str) or not isinstance(pair, Sequence) or len(pair) != 2 for pair in pairs):
        raise ConfigError(
            f"loss.{name} is {given!r}",
            "a number, or points of an epoch and a weight",
            f"Set 'loss.{name}={{0: 0.0, 50: 1.0}}' to rise from 0 to 1 over the first 50 epochs",
        )
    return pairs


def _place(name: str, key: Any) -> tuple[float, bool]:
    """Return the place of a point, and whether it is a share of the training."""
    if (found := parse_milestone(key)) is not None:
        return found.place, found.by_share
    raise ConfigError(
        f"loss.{name} has a point at {key!r}",
        "an epoch (a whole number from 0 on) or a share of the training (0% to 100%)",
        f"Set 'loss.{name}={{0: 0.0, 50: 1.0}}' for epochs, 'loss.{name}={{0%: 0.0, 50%: 1.0}}' for shares",
    )
