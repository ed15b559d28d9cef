"""The encoder stays as it is while the rest of the network learns, for the first part of the training."""

from collections.abc import Sequence

import pytorch_lightning as pl
import torch
from torch import nn

from segexp.milestones import Milestone


class FreezeEncoder(pl.Callback):
    """Freezes the encoder until a moment: no gradient, no decay, no momentum, in evaluation mode (statistics, dropout).

    Whether an epoch is frozen follows from the epoch alone, so a resumed run is what an uninterrupted one is. The optimizer has
    the encoder's parameters from the start, and leaves alone what has no gradient.
    """

    def __init__(self, parts: Sequence[nn.Module], until: Milestone) -> None:
        """Take the encoder's modules, and the moment from which on they are trained."""
        self.parts, self.until = parts, until
        self.parameters = [p for part in parts for p in part.parameters() if p.requires_grad]
        self.frozen = False

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Freeze, or thaw at the first epoch after that."""
        share = float(pl_module.training_progress())  # type: ignore[operator]
        before, self.frozen = self.frozen, not self.until.reached(trainer.current_epoch, share)
        if self.frozen == before:
            return
        for part in self.parts:
            part.train(not self.frozen)
        if trainer.world_size == 1:  # several processes agree at the start on what has gradients, for good
            for parameter in self.parameters:
                parameter.requires_grad_(not self.frozen)

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Take away whatever gradients there are, before they are clipped together."""
        if self.frozen:
            for parameter in self.parameters:
                parameter.grad = None

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the network as it came."""
        for parameter in self.parameters:
            parameter.requires_grad_(True)
