"""A network as it is explained: in evaluation, in one pass, with gradients; and afterwards as it was."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


@contextmanager
def explainable(network: nn.Module) -> Iterator[None]:
    """Let gradients of a network be asked for; its modes are put back, and no weight, statistic or random state changes.

    In a validation step Lightning lets no gradient be kept; here it may. A network that sees an image in tiles (`tile` of
    `segexp.models.UNetPaper`) sees it in one pass, which gives the same: a layer then has one map.
    """
    modes = {module: module.training for module in network.modules()}
    whole: Any = network
    tile = getattr(network, "tile", None)
    network.eval()
    if tile is not None:
        whole.tile = None
    try:
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        if tile is not None:
            whole.tile = tile
        for module, training in modes.items():
            module.training = training
