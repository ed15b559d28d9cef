"""Parameter groups and learning rate schedules.

A schedule maps the progress of the training (0 to 1, in epochs, steps or minutes) to a factor of the base learning rate. The
factor rises linearly from 0 during the first `warmup` of the training (a share, 0.05 = 5 %).
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from segexp.errors import ConfigError

ENCODER = "encoder"
"""Value of the entry "part" in the groups of the encoder."""


def parameter_groups(network: nn.Module, weight_decay: float, encoder: Iterable[nn.Module] = ()) -> list[dict[str, Any]]:
    """Split a network's trainable parameters for an optimizer: weights decay, biases and norm parameters do not.

    Args:
        network: any module.
        weight_decay: decay of the weights, 0 or more.
        encoder: modules whose parameters get separate groups, after the others.

    Returns:
        One or two groups for `torch.optim`, and as many for the encoder (marked `part: encoder`), each in the order of
        `network.parameters()`.
    """
    apart = {id(p) for part in encoder for p in part.parameters()}
    groups: list[dict[str, Any]] = []
    for inside in (False, True):
        trainable = [p for p in network.parameters() if p.requires_grad and (id(p) in apart) == inside]
        part = {"part": ENCODER} if inside else {}
        # Weights of convolutions and linear layers have two or more axes; biases and norm parameters have one.
        groups += [
            {"params": [p for p in trainable if p.ndim > 1], "weight_decay": weight_decay, **part},
            {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0, **part},
        ]
    return [group for group in groups if group["params"]]


@dataclass(frozen=True)
class Constant:
    """The base learning rate throughout."""

    warmup: float = 0.0

    def __post_init__(self) -> None:
        check_number("warmup", self.warmup, 0, 1, below=True)

    def __call__(self, progress: float) -> float:
        """Return the factor at `progress`, 0 to 1."""
        return warmup_factor(progress, self.warmup)


@dataclass(frozen=True)
class Cosine:
    """Half a cosine from 1 down to `final` (Loshchilov & Hutter 2017, without restarts)."""

    warmup: float = 0.0
    final: float = 0.0

    def __post_init__(self) -> None:
        check_number("warmup", self.warmup, 0, 1, below=True)
        check_number("final", self.final, 0, 1)

    def __call__(self, progress: float) -> float:
        """Return the factor at `progress`, 0 to 1."""
        return warmup_factor(progress, self.warmup) * cosine_value(1.0, self.final, rescale_progress(progress, self.warmup))


@dataclass(frozen=True)
class Poly:
    """(1 - progress) to the power of `power`, as in DeepLab."""

    warmup: float = 0.0
    power: float = 0.9

    def __post_init__(self) -> None:
        check_number("warmup", self.warmup, 0, 1, below=True)
        check_number("power", self.power, 0)

    def __call__(self, progress: float) -> float:
        """Return the factor at `progress`, 0 to 1."""
        return warmup_factor(progress, self.warmup) * math.pow(1 - rescale_progress(progress, self.warmup), self.power)


@dataclass(frozen=True)
class Step:
    """Multiplied by `factor` at each progress in `at` (of the whole training, including warm-up)."""

    warmup: float = 0.0
    at: Sequence[float] = (0.6, 0.85)
    factor: float = 0.1

    def __post_init__(self) -> None:
        check_number("warmup", self.warmup, 0, 1, below=True)
        for share in self.at:
            check_number("at", share, 0, 1)
        check_number("factor", self.factor, 0, 1)

    def __call__(self, progress: float) -> float:
        """Return the factor at `progress`, 0 to 1."""
        return warmup_factor(progress, self.warmup) * math.pow(self.factor, sum(progress >= share for share in self.at))


@dataclass(frozen=True)
class OneCycle:
    """A cosine from `start` up to 1 and one down to `final` (Smith & Topin 2018)."""

    warmup: float = 0.0
    rise: float = 0.3
    start: float = 0.04
    final: float = 1e-4

    def __post_init__(self) -> None:
        check_number("warmup", self.warmup, 0, 1, below=True)
        check_number("rise", self.rise, 0, 1, below=True)
        check_number("start", self.start, 0, 1)
        check_number("final", self.final, 0, 1)

    def __call__(self, progress: float) -> float:
        """Return the factor at `progress`, 0 to 1."""
        course = rescale_progress(progress, self.warmup)
        up = course < self.rise
        factor = (
            cosine_value(self.start, 1.0, course / self.rise)
            if up
            else cosine_value(1.0, self.final, rescale_progress(course, self.rise))
        )
        return warmup_factor(progress, self.warmup) * factor


@dataclass
class Plateau:
    """Multiplied by `factor` after `patience` validations without improvement."""

    warmup: float = 0.0
    factor: float = 0.5
    patience: int = 10
    minimum: float = 1e-3
    scale: float = field(default=1.0, init=False)
    best: float = field(default=-math.inf, init=False)
    waited: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        check_number("warmup", self.warmup, 0, 1, below=True)
        check_number("factor", self.factor, 0, 1, below=True)
        check_number("patience", self.patience, 1)
        check_number("minimum", self.minimum, 0, 1)

    def __call__(self, progress: float) -> float:
        """Return the factor at `progress`, 0 to 1; reductions stop at `minimum`."""
        return warmup_factor(progress, self.warmup) * self.scale

    def observe(self, value: float) -> None:
        """Observe a validation score (higher is better); NaN is no improvement."""
        if value > self.best:
            self.best, self.waited = value, 0
            return
        self.waited += 1
        if self.waited >= self.patience:
            self.scale, self.waited = max(self.scale * self.factor, self.minimum), 0

    def state_dict(self) -> dict[str, float]:
        """Return the state as plain Python values."""
        return {"scale": self.scale, "best": self.best, "waited": self.waited}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Restore the state."""
        self.scale, self.best, self.waited = float(state["scale"]), float(state["best"]), int(state["waited"])


def warmup_factor(progress: float, warmup: float) -> float:
    """Return the factor of the linear warm-up: from 0 to 1 over the first `warmup` of training, then 1."""
    return min(max(progress, 0.0) / warmup, 1.0) if warmup > 0 else 1.0


def rescale_progress(progress: float, start: float) -> float:
    """Return the progress from `start` to 1, scaled to 0 to 1."""
    return min(max((progress - start) / (1 - start), 0.0), 1.0)


def cosine_value(first: float, last: float, progress: float) -> float:
    """Return the value of half a cosine from `first` to `last` at `progress`, 0 to 1."""
    return last + (first - last) * (1 + math.cos(math.pi * progress)) / 2


def check_number(name: str, value: float, low: float, high: float = math.inf, below: bool = False) -> None:
    """Validate a number of a schedule's configuration.

    Raises:
        ConfigError: `value` is outside `low` to `high` (with `below`, `high` is excluded).
    """
    if not (low <= value < high or (value == high and not below)):
        to = "to below" if below else "to"
        expected = f"a number from {low:g} {to} {high:g}" if math.isfinite(high) else f"a number of at least {low:g}"
        raise ConfigError(
            f"scheduler.{name} is {value!r}", expected, f"Type scheduler.{name}=VALUE with a number in that range"
        )
