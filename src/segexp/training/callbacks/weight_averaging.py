"""Averages of the weights, which are scored and kept in place of the weights themselves: `trainer.ema`, `trainer.swa`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from segexp.config.schema import TrainerConfig
from segexp.milestones import Milestone, milestone


def averaging(trainer: TrainerConfig) -> list[pl.Callback]:
    """Return what averages the weights as the trainer section of a config says: at most one callback.

    Raises:
        ConfigError: `trainer.swa` is no moment.
    """
    if trainer.ema:
        return [pl.callbacks.EMAWeightAveraging(decay=trainer.ema)]
    return [StochasticWeightAveraging(milestone("trainer.swa", trainer.swa))] if trainer.swa else []


def lr_hold_start(trainer: TrainerConfig) -> float:
    """Return the share of the training from which on the learning rate stays where it is: the start of `trainer.swa`, or 1.

    Weights whose steps have become tiny are all alike, and so is their average; in the paper the rate is constant, too.
    """
    return milestone("trainer.swa", trainer.swa).share_of(trainer.max_epochs) if trainer.swa else 1.0


class StochasticWeightAveraging(pl.callbacks.WeightAveraging):
    """The equal average of the weights at the end of every epoch from a moment on (Izmailov et al., UAI 2018).

    Up to then nothing changes. From then on the average is what is scored and saved as the network. Before it is scored, the
    statistics of its batch norms are taken anew over the training data, with the samples of the epoch that ends; layers in
    evaluation mode (a frozen encoder) keep theirs. The checkpoint has the weights, their average and how many there were.
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
        """Note how far the training is."""
        self.share = float(pl_module.training_progress())  # type: ignore[operator]

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add the weights at the end of an epoch, before they are validated; `TimeBudget` has said whether the time is up."""
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
        """Do nothing more: the epoch is in the average already."""

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put the average into the network, with statistics of its own."""
        if self.started and not trainer.sanity_checking:
            self._swap_models(pl_module)
            self._renew(trainer, pl_module)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put the weights back."""
        if self.started and not trainer.sanity_checking:
            self._swap_models(pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the average in the network."""
        self.loader = None
        if self.started:
            self._copy_average_to_current(pl_module)

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Save the average as the network, and the weights beside it."""
        if self.started:
            super().on_save_checkpoint(trainer, pl_module, checkpoint)

    def on_load_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Go on with both."""
        if "averaging_state" in checkpoint:
            super().on_load_checkpoint(trainer, pl_module, checkpoint)

    def _renew(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the statistics of the batch norms over one pass of the training data."""
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
        if trainer.world_size > 1:  # each process has seen a share of the data
            for layer in layers:
                for each in (layer.running_mean, layer.running_var):
                    each.copy_(trainer.strategy.reduce(each, reduce_op="mean"))  # type: ignore[operator]


@contextmanager
def averaged_weights(trainer: pl.Trainer, pl_module: pl.LightningModule) -> Iterator[None]:
    """Put the average that is scored into the network, where there is one, for what looks at it after a validation."""
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
    """Let these batch norms, and nothing else, take new statistics: the plain mean over the batches of the context."""
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
