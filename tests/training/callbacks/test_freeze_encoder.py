"""The encoder stays bit for bit as it was, and is then trained as if nothing had been."""

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader

from segexp.milestones import Milestone
from segexp.training.callbacks.freeze_encoder import FreezeEncoder
from segexp.training.task import SegmentationTask

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")


class Net(pl.LightningModule):
    """An encoder with batch norm and dropout, a head, and notes of what a training step sees."""

    training_progress = SegmentationTask.training_progress

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
        self.fixed = nn.Linear(4, 4)
        self.encoder.append(self.fixed.requires_grad_(False))
        self.head = nn.Linear(4, 1)
        self.seen, self.after = [], []

    def training_step(self, batch, _):
        modes = {part.training for part in self.encoder.modules()}
        self.seen.append((self.current_epoch, modes, self.encoder[0].weight.requires_grad))
        return self.head(self.encoder(batch)).square().mean()

    def validation_step(self, batch, _):
        self.log("val/dice", 0.5)

    def on_train_epoch_end(self):
        self.after.append({name: tensor.clone() for name, tensor in self.encoder.state_dict().items()})

    def configure_optimizers(self):
        return torch.optim.AdamW([p for p in self.parameters() if p.requires_grad], lr=0.1, weight_decay=0.5)


def fit(module, until, epochs=4):
    data = DataLoader(list(torch.randn(6, 4, generator=torch.Generator().manual_seed(1))), batch_size=3)
    freeze = FreezeEncoder([module.encoder], until)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=[freeze],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        gradient_clip_val=1.0,
    )
    trainer.fit(module, data, data)
    return trainer


@pytest.mark.parametrize("until", [Milestone(2.0), Milestone(0.5, True)])
def test_frozen_for_two_epochs_of_four(until):
    module = Net()
    before = {name: tensor.clone() for name, tensor in module.encoder.state_dict().items()}
    trainer = fit(module, until)
    assert [seen for seen in module.seen if seen[0] < 2] == [(0, {False}, False)] * 2 + [(1, {False}, False)] * 2
    assert [seen for seen in module.seen if seen[0] >= 2] == [(2, {True}, True)] * 2 + [(3, {True}, True)] * 2
    for epoch in (0, 1):  # no step, no decay, no statistics
        assert all(torch.equal(before[name], tensor) for name, tensor in module.after[epoch].items())
    changed = {name for name, tensor in module.after[2].items() if not torch.equal(before[name], tensor)}
    assert changed == set(before) - {"3.weight", "3.bias"}
    state = trainer.optimizers[0].state
    assert {int(state[p]["step"]) for p in module.head.parameters()} == {8}
    assert {int(state[p]["step"]) for p in module.encoder[0].parameters()} == {4}


def test_frozen_to_the_end_and_thawed_after_it():
    module = Net()
    fit(module, Milestone(1.0, True), epochs=2)
    assert {modes == {False} for _, modes, _ in module.seen} == {True}
    assert module.encoder[0].weight.requires_grad
    assert not module.fixed.weight.requires_grad, "what was frozen for good stays so"


def test_several_processes_keep_their_gradients_until_the_step():
    module = Net()
    freeze = FreezeEncoder([module.encoder], Milestone(1.0))
    trainer = type("Trainer", (), {"world_size": 2, "current_epoch": 0})()
    module.training_progress = lambda: 0.0
    freeze.on_train_epoch_start(trainer, module)
    assert module.encoder[0].weight.requires_grad
    module.training_step(torch.randn(3, 4), 0).backward()
    assert module.encoder[0].weight.grad is not None
    freeze.on_before_optimizer_step(trainer, module, None)
    assert module.encoder[0].weight.grad is None
    assert module.head.weight.grad is not None
