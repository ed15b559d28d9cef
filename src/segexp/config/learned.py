"""What follows from the data: the value `auto` of class weights and the learning rate, and the classes a loss counts."""

from collections.abc import Sequence
from typing import Any

from segexp.config.components import arguments, component_nodes

AUTO = "auto"
LR = 1e-3
"""Learning rate used until `auto` is resolved."""


def needs_class_weights(loss: Any) -> bool:
    """Return whether a loss, or one inside it, has `class_weights: auto`."""
    return any(node.get("class_weights") == AUTO for _, node in component_nodes(loss))


def resolve_class_weights(loss: Any, weights: Sequence[float]) -> Any:
    """Return a copy with each `class_weights: auto` replaced by a list of weights, background first."""
    if isinstance(loss, dict):
        known = "_target_" in loss
        return {
            key: list(weights) if known and key == "class_weights" and value == AUTO else resolve_class_weights(value, weights)
            for key, value in loss.items()
        }
    return [resolve_class_weights(value, weights) for value in loss] if isinstance(loss, list) else loss


def include_background(loss: Any) -> Any:
    """Return a copy in which each loss that can leave out the background includes class 0, for data without a background."""
    if isinstance(loss, dict):
        known = arguments(str(loss["_target_"])) if "_target_" in loss else None
        all_classes = {"include_background": True} if known and "include_background" in known.names else {}
        return {key: include_background(value) for key, value in loss.items()} | all_classes
    return [include_background(value) for value in loss] if isinstance(loss, list) else loss


def resolve_auto_lr(optimizer: Any) -> Any:
    """Return the optimizer section with a number in place of `lr: auto`."""
    return {**optimizer, "lr": LR} if isinstance(optimizer, dict) and optimizer.get("lr") == AUTO else optimizer
