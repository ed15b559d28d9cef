"""The optimizer of a network, and a learning rate scheduler that follows the progress of the training."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from segexp.config.components import instantiate
from segexp.config.learned import resolve_auto_lr
from segexp.config.schema import TrainConfig
from segexp.models.encoding import need_encoder
from segexp.optim import ENCODER, parameter_groups

Schedule = Callable[[float], float]
"""Progress of the training, 0 to 1, to a factor of the base learning rate; see `segexp.optim`."""


def make_optimizer(config: TrainConfig, network: nn.Module) -> torch.optim.Optimizer:
    """Return the configured optimizer; for `optimizer.lr=auto` with a placeholder rate."""
    make = instantiate(resolve_auto_lr(config.optimizer.plain()), "optimizer")
    decay = config.optimizer.arguments.get("weight_decay", 0.0)
    optimizer: torch.optim.Optimizer = make(parameter_groups(network, decay, encoder_modules(config, network)))
    for group in optimizer.param_groups:
        group["lr"] *= config.trainer.encoder_lr_scale if group.get("part") == ENCODER else 1
    return optimizer


def encoder_modules(config: TrainConfig, network: nn.Module) -> list[nn.Module]:
    """Return the encoder's modules if the configuration treats the encoder separately, else an empty list.

    Raises:
        ConfigError: the network has no encoder.
    """
    for key, usual in (("encoder_lr_scale", 1), ("freeze_encoder", 0)):
        if (value := getattr(config.trainer, key)) != usual:
            return need_encoder(network, config.model.target, f"trainer.{key}", value)
    return []


class ProgressLR(torch.optim.lr_scheduler.LRScheduler):
    """Sets each group's learning rate to its base rate times `schedule(progress)`.

    The progress, in steps or minutes, is queried at every step. Schedules with `observe` (plateau) receive the monitored
    score.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, schedule: Schedule, progress: Callable[[], float]) -> None:
        """Set the rates of the first step.

        Args:
            optimizer: with the base rates.
            schedule: progress to factor.
            progress: returns the completed share of the training, 0 to 1.
        """
        self.schedule, self.progress = schedule, progress
        super().__init__(optimizer)

    def get_lr(self) -> list[float | torch.Tensor]:
        """Return the rates of the next step."""
        factor = self.schedule(self.progress())
        return [rate * factor for rate in self.base_lrs]

    def renew(self) -> None:
        """Recompute the rates of the next step after a change of progress or schedule."""
        for group, rate in zip(self.optimizer.param_groups, self.get_lr(), strict=True):
            group["lr"] = rate

    def observe(self, value: float) -> None:
        """Pass a validation score to the schedule, if it accepts one."""
        if hasattr(self.schedule, "observe"):
            self.schedule.observe(value)
            self.renew()

    def state_dict(self) -> dict[str, Any]:
        """Return the state as plain Python values."""
        inner = self.schedule.state_dict() if hasattr(self.schedule, "state_dict") else {}
        return {"last_epoch": self.last_epoch, "base_lrs": list(map(float, self.base_lrs)), "schedule": inner}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state."""
        self.last_epoch, self.base_lrs = int(state_dict["last_epoch"]), list(map(float, state_dict["base_lrs"]))
        if state_dict["schedule"] and hasattr(self.schedule, "load_state_dict"):
            self.schedule.load_state_dict(state_dict["schedule"])


class HeldLR:
    """A schedule that is constant from a given progress on, for weight averages."""

    def __init__(self, schedule: Schedule, hold: float) -> None:
        self.schedule, self.hold = schedule, hold

    def __call__(self, progress: float) -> float:
        """Return the factor at `progress`, 0 to 1."""
        return self.schedule(min(progress, self.hold))

    def observe(self, value: float) -> None:
        """Pass on a score."""
        if hasattr(self.schedule, "observe"):
            self.schedule.observe(value)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the schedule."""
        found: dict[str, Any] = self.schedule.state_dict() if hasattr(self.schedule, "state_dict") else {}
        return found

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state."""
        if hasattr(self.schedule, "load_state_dict"):
            self.schedule.load_state_dict(state_dict)
