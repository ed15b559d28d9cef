"""The optimizer of a network, and a scheduler that follows the share of the training that is done."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from segexp.config.components import instantiate
from segexp.config.learned import with_lr
from segexp.config.schema import TrainConfig
from segexp.models.encoding import need_encoder
from segexp.optim import ENCODER, parameter_groups

Schedule = Callable[[float], float]
"""Progress of the training, 0 to 1, to a factor of the base learning rate; see `segexp.optim`."""


def make_optimizer(config: TrainConfig, network: nn.Module) -> torch.optim.Optimizer:
    """Return the optimizer that a configuration asks for; where `optimizer.lr` is auto it has a rate that stands for it."""
    make = instantiate(with_lr(config.optimizer.plain()))
    decay = config.optimizer.arguments.get("weight_decay", 0.0)
    optimizer: torch.optim.Optimizer = make(parameter_groups(network, decay, encoder_modules(config, network)))
    for group in optimizer.param_groups:
        group["lr"] *= config.trainer.encoder_lr_scale if group.get("part") == ENCODER else 1
    return optimizer


def encoder_modules(config: TrainConfig, network: nn.Module) -> list[nn.Module]:
    """Return the encoder where the config treats it otherwise than the rest; its parameters then have groups of their own.

    Raises:
        ConfigError: there is none.
    """
    for key, usual in (("encoder_lr_scale", 1), ("freeze_encoder", 0)):
        if (value := getattr(config.trainer, key)) != usual:
            return need_encoder(network, config.model.target, f"trainer.{key}", value)
    return []


class ProgressLR(torch.optim.lr_scheduler.LRScheduler):
    """Sets each group's learning rate to its base rate times `schedule(progress)`.

    The progress is asked for at every step, so that it may be counted in steps or in minutes. A schedule with `observe` (the
    plateau) is told the monitored score by whoever has it.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, schedule: Schedule, progress: Callable[[], float]) -> None:
        """Set the rates of the first step.

        Args:
            optimizer: whose rates are the base ones.
            schedule: progress to factor.
            progress: share of the training that is done, 0 to 1.
        """
        self.schedule, self.progress = schedule, progress
        super().__init__(optimizer)

    def get_lr(self) -> list[float | torch.Tensor]:
        """Return the rates of the next step."""
        factor = self.schedule(self.progress())
        return [rate * factor for rate in self.base_lrs]

    def renew(self) -> None:
        """Set the rates of the next step anew: the progress, or what the schedule knows, is another one than after the last."""
        for group, rate in zip(self.optimizer.param_groups, self.get_lr(), strict=True):
            group["lr"] = rate

    def observe(self, value: float) -> None:
        """Tell the schedule the score of a validation, where it listens."""
        if hasattr(self.schedule, "observe"):
            self.schedule.observe(value)
            self.renew()

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs, plain Python."""
        inner = self.schedule.state_dict() if hasattr(self.schedule, "state_dict") else {}
        return {"last_epoch": self.last_epoch, "base_lrs": list(map(float, self.base_lrs)), "schedule": inner}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.last_epoch, self.base_lrs = state_dict["last_epoch"], list(state_dict["base_lrs"])
        if state_dict["schedule"] and hasattr(self.schedule, "load_state_dict"):
            self.schedule.load_state_dict(state_dict["schedule"])


class HeldLR:
    """A schedule that stays where it is from a progress on; for averages of weights, whose steps must not become tiny."""

    def __init__(self, schedule: Schedule, hold: float) -> None:
        self.schedule, self.hold = schedule, hold

    def __call__(self, progress: float) -> float:
        """Return the factor at `progress`, 0 to 1."""
        return self.schedule(min(progress, self.hold))

    def observe(self, value: float) -> None:
        """Pass a score on."""
        if hasattr(self.schedule, "observe"):
            self.schedule.observe(value)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the schedule."""
        found: dict[str, Any] = self.schedule.state_dict() if hasattr(self.schedule, "state_dict") else {}
        return found

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        if hasattr(self.schedule, "load_state_dict"):
            self.schedule.load_state_dict(state_dict)
