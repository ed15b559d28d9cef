"""Freeze the encoder during the first part of the training."""

from collections.abc import Sequence

import pytorch_lightning as pl
import torch
from torch import nn

from segexp.milestones import Milestone


class FreezeEncoder(pl.Callback):
    """Freezes the encoder until a milestone: no gradients, no updates, evaluation mode.

    The state depends only on the epoch, so that a resumed run equals an uninterrupted one. The encoder's parameters are in the
    optimizer from the start; parameters without a gradient are skipped.
    """

    def __init__(self, parts: Sequence[nn.Module], until: Milestone) -> None:
        """Store the encoder's modules and the milestone at which their training starts."""
        self.parts, self.until = parts, until
        self.parameters = [p for part in parts for p in part.parameters() if p.requires_grad]
        self.frozen = False

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Freeze the encoder, or unfreeze it once the milestone is reached."""
        share = float(pl_module.training_progress())  # type: ignore[operator]
        before, self.frozen = self.frozen, not self.until.reached(trainer.current_epoch, share)
        if self.frozen == before:
            return
        for part in self.parts:
            part.train(not self.frozen)
        if trainer.world_size == 1:  # DDP fixes the parameters with gradients at the start
            for parameter in self.parameters:
                parameter.requires_grad_(not self.frozen)

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Discard the gradients of the encoder before gradient clipping."""
        if self.frozen:
            for parameter in self.parameters:
                parameter.grad = None

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Unfreeze the encoder."""
        for parameter in self.parameters:
            parameter.requires_grad_(True)
