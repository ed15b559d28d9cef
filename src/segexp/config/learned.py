"""`auto`: `class_weights`, found inside a loss and put in when the training pixels have been counted, and `optimizer.lr`."""

from collections.abc import Sequence
from typing import Any

from segexp.config.components import nodes

AUTO = "auto"
LR = 1e-3
"""The learning rate that stands for `auto` until one is found."""


def asks_for_weights(loss: Any) -> bool:
    """Return whether a loss, or one inside it, wants its class weights from the data."""
    return any(node.get("class_weights") == AUTO for _, node in nodes(loss))


def with_class_weights(loss: Any, weights: Sequence[float]) -> Any:
    """Return a copy of plain values in which each `class_weights: auto` is a list of weights, the background first."""
    if isinstance(loss, dict):
        known = "_target_" in loss
        return {
            key: list(weights) if known and key == "class_weights" and value == AUTO else with_class_weights(value, weights)
            for key, value in loss.items()
        }
    return [with_class_weights(value, weights) for value in loss] if isinstance(loss, list) else loss


def with_lr(optimizer: Any) -> Any:
    """Return the optimizer section with a number where its learning rate is `auto`."""
    return {**optimizer, "lr": LR} if isinstance(optimizer, dict) and optimizer.get("lr") == AUTO else optimizer
