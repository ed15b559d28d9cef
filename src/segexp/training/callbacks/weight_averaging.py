"""Weight averages that replace the weights for scoring and saving: `trainer.ema`, `trainer.swa`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from segexp.config.schema import TrainerConfig
from segexp.milestones import Milestone, require_milestone


def averaging_callbacks(trainer: TrainerConfig) -> list[pl.Callback]:
    """Return the averaging callback of a trainer section: none or one.

    Raises:
        ConfigError: `trainer.swa` is not a milestone.
    """
    if trainer.ema:
        return [pl.callbacks.EMAWeightAveraging(decay=trainer.ema)]
    return [StochasticWeightAveraging(require_milestone("trainer.swa", trainer.swa))] if trainer.swa else []


def lr_hold_start(trainer: TrainerConfig) -> float:
    """Return the share of the training after which the learning rate is constant: the start of `trainer.swa`, or 1.

    With vanishing steps all averaged weights would be alike; the paper uses a constant rate as well.
    """
    return require_milestone("trainer.swa", trainer.swa).share_of(trainer.max_epochs) if trainer.swa else 1.0


class StochasticWeightAveraging(pl.callbacks.WeightAveraging):
    """Average of the weights at the end of every epoch from a milestone on (Izmailov et al., UAI 2018).

    The average is scored and saved as the network. Before it is scored, its batch norm statistics are recomputed on the
    training data, except for layers in evaluation mode (a frozen encoder). The checkpoint holds the weights, their average and
    the number of averaged epochs.
    """

    def __init__(self, start: Milestone) -> None:
        super().__init__(use_buffers=False)
        self.start, self.layers = start, list[str]()
        self.loader: Any = None
        self.share = 0.0

    @property
    def started(self) -> bool:
        """Whether there is an average."""
        return self._average_model is not None and bool(self._average_model.n_averaged > 0)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remember the progress of the training."""
        self.share = float(pl_module.training_progress())  # type: ignore[operator]

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add the weights at the end of an epoch, before validation; `TimeBudget` has already requested a stop."""
        if not (trainer.is_last_batch or trainer.should_stop):
            return
        if self._average_model is not None and self.start.reached(trainer.current_epoch, self.share):
            self._average_model.update_parameters(pl_module)
            for mine, its in zip(self._average_model.module.buffers(), pl_module.buffers(), strict=True):
                mine.copy_(its)
            self.layers = [
                name for name, layer in pl_module.named_modules() if isinstance(layer, _BatchNorm) and layer.training
            ]

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Override the parent: the epoch was added in `on_train_batch_end`."""

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Swap in the average with recomputed batch norm statistics."""
        if self.started and not trainer.sanity_checking:
            self._swap_models(pl_module)
            self._renew(trainer, pl_module)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Swap the weights back in."""
        if self.started and not trainer.sanity_checking:
            self._swap_models(pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the average as the network."""
        self.loader = None
        if self.started:
            self._copy_average_to_current(pl_module)

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Save the average as the network, in addition to the weights."""
        if self.started:
            super().on_save_checkpoint(trainer, pl_module, checkpoint)

    def on_load_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Restore weights and average."""
        if "averaging_state" in checkpoint:
            super().on_load_checkpoint(trainer, pl_module, checkpoint)

    def _renew(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Recompute the batch norm statistics over one pass of the training data."""
        layers = [pl_module.get_submodule(name) for name in self.layers]
        if not layers:
            return
        if self.loader is None:
            self.loader = trainer.datamodule.train_dataloader()  # type: ignore[attr-defined]
        with recompute_bn_stats(layers), trainer.precision_plugin.forward_context():
            for n, batch in enumerate(self.loader):
                if n >= trainer.num_training_batches:
                    break
                pl_module(batch["image"].to(pl_module.device))
        if trainer.world_size > 1:  # each process sees a share of the data
            for layer in layers:
                for each in (layer.running_mean, layer.running_var):
                    each.copy_(trainer.strategy.reduce(each, reduce_op="mean"))  # type: ignore[operator]


@contextmanager
def averaged_weights(trainer: pl.Trainer, pl_module: pl.LightningModule) -> Iterator[None]:
    """Swap in the average, if any, for work on the scored network after a validation."""
    averages = [
        each
        for each in trainer.callbacks  # type: ignore[attr-defined]
        if isinstance(each, pl.callbacks.WeightAveraging) and each._average_model is not None and getattr(each, "started", True)
    ]
    for each in averages:
        each._swap_models(pl_module)
    try:
        yield
    finally:
        for each in averages:
            each._swap_models(pl_module)


@contextmanager
def recompute_bn_stats(layers: list[nn.Module]) -> Iterator[None]:
    """Recompute the statistics of these batch norms only: the plain mean over the batches in the context."""
    before = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()  # type: ignore[operator]
        layer.momentum = None  # type: ignore[assignment]
        layer.train()
    try:
        with torch.no_grad():
            yield
    finally:
        for layer, momentum in zip(layers, before, strict=True):
            layer.momentum = momentum
            layer.eval()
