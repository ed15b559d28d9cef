"""A module that learns nothing much and scores what it is told, and a trainer for it."""

from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader


class Toy(pl.LightningModule):
    """Two parameter groups, a scripted validation score per epoch, notes of what happened."""

    def __init__(self, scores=(), before_step=lambda module: None):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = torch.nn.Linear(4, 4), torch.nn.Linear(4, 1)
        self.scores, self.before_step = list(scores), before_step
        self.steps, self.validated = [], []

    def training_step(self, batch, _):
        self.before_step(self)
        rates = tuple(group["lr"] for group in self.optimizers().param_groups)
        self.steps.append((self.current_epoch, self.global_step, rates))
        return self.second(torch.tanh(self.first(batch["image"]))).square().mean()

    def validation_step(self, batch, _):
        pass

    def on_validation_epoch_end(self):
        sanity = self.trainer.sanity_checking
        if not sanity:
            self.validated.append(self.current_epoch)
        epoch = self.current_epoch
        self.log("val/dice", 0.99 if sanity else self.scores[epoch] if epoch < len(self.scores) else 0.1)

    def configure_optimizers(self):
        groups = [{"params": self.first.parameters()}, {"params": self.second.parameters(), "lr": 0.02}]
        return torch.optim.SGD(groups, lr=0.1, momentum=0.9)


def loader(batches):
    images = torch.randn(2 * batches, 4, generator=torch.Generator().manual_seed(1))
    return DataLoader([{"image": image} for image in images], batch_size=2)


def fit(module, callbacks, *, epochs=3, batches=2, resume=None, **more):
    """Train and return the trainer."""
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=epochs,
        callbacks=list(callbacks),
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=any(isinstance(c, pl.callbacks.Checkpoint) for c in callbacks),
        num_sanity_val_steps=1,
        **more,
    )
    trainer.fit(module, loader(batches), loader(1), ckpt_path=resume, weights_only=True)
    return trainer


@pytest.fixture(scope="session")
def toy():
    """`toy.Toy`, `toy.fit`."""
    return SimpleNamespace(Toy=Toy, fit=fit)
