"""The equal average of the weights of each epoch, with statistics of its own, is what is scored, kept and gone on with."""

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader

from segexp.config.schema import TrainerConfig
from segexp.errors import ConfigError
from segexp.milestones import Milestone
from segexp.training.callbacks.checkpoint import Checkpoints
from segexp.training.callbacks.time_budget import ValidateLastEpoch
from segexp.training.callbacks.weight_averaging import (
    StochasticWeightAveraging,
    averaged_weights,
    averaging_callbacks,
    lr_hold_start,
)
from segexp.training.task import SegmentationTask

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")
FIRST = Milestone(1.0)
IMAGES = torch.randn(8, 3, 4, 4, generator=torch.Generator().manual_seed(1))


class Data(pl.LightningDataModule):
    def train_dataloader(self):
        return DataLoader([{"image": image} for image in IMAGES], batch_size=2, generator=torch.Generator())

    def val_dataloader(self):
        return DataLoader([{"image": image} for image in IMAGES[:2]], batch_size=2)


class Net(pl.LightningModule):
    """A network with batch norm and dropout; notes what is validated, and what is trained at the end of each epoch."""

    training_progress = SegmentationTask.training_progress

    def __init__(self, frozen=False):
        super().__init__()
        torch.manual_seed(0)
        self.network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Conv2d(4, 2, 1))
        self.frozen, self.scored, self.ends = frozen, [], []

    def forward(self, image):
        return self.network(image)

    def on_train_epoch_start(self):
        torch.manual_seed(self.current_epoch)
        self.network[1].train(not self.frozen)

    def training_step(self, batch, _):
        return self(batch["image"]).square().mean() + self.network[4].bias.sum()

    def validation_step(self, batch, _):
        if not self.trainer.sanity_checking:
            self.scored.append({name: tensor.clone() for name, tensor in self.state_dict().items()})
        self.log("val/dice", float(self.current_epoch) if self.current_epoch < 3 else 0.5)

    def on_train_epoch_end(self):
        self.ends.append({name: tensor.clone() for name, tensor in self.state_dict().items()})

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)


def fit(module, folder, start=FIRST, *, epochs=4, resume=None, **more):
    checkpoints = Checkpoints(folder, "val/dice")
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=[ValidateLastEpoch(), StochasticWeightAveraging(start), checkpoints],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **more,
    )
    trainer.fit(module, datamodule=Data(), ckpt_path=resume, weights_only=True)
    return trainer


def load(path):
    return torch.load(path, weights_only=True)


def weights(state):
    return {name: tensor for name, tensor in state.items() if "running" not in name and "tracked" not in name}


def same(one, other):
    return set(one) == set(other) and all(torch.equal(one[name], other[name]) for name in one)


def test_the_average_is_scored_and_kept_from_its_start_on(tmp_path):
    module = Net()
    fit(module, tmp_path)
    assert same(module.scored[0], module.ends[0]), "nothing is averaged yet"
    for epoch in (1, 2, 3):
        for name, tensor in weights(module.scored[epoch]).items():
            mean = torch.stack([end[name] for end in module.ends[1 : epoch + 1]]).mean(dim=0)
            torch.testing.assert_close(tensor, mean, rtol=1e-5, atol=1e-7)
    assert same(load(tmp_path / "best.ckpt")["state_dict"], module.scored[2])
    last = load(tmp_path / "last.ckpt")
    assert same(last["state_dict"], module.scored[3])
    assert same(last["current_model_state"], module.ends[3])
    assert same(module.state_dict(), module.scored[3]), "at the end the average is left in the network"


def test_the_statistics_are_those_of_the_training_data(tmp_path):
    module = Net()
    fit(module, tmp_path)
    conv, norm = module.network[0], module.network[1]
    with torch.no_grad():
        maps = [conv(images) for images in IMAGES.split(2)]
    torch.testing.assert_close(norm.running_mean, torch.stack([m.mean(dim=(0, 2, 3)) for m in maps]).mean(dim=0))
    variances = torch.stack([m.var(dim=(0, 2, 3)) for m in maps]).mean(dim=0)
    torch.testing.assert_close(norm.running_var, variances)
    assert norm.num_batches_tracked == 4
    assert norm.momentum == 0.1


def test_training_itself_goes_on_as_without(tmp_path):
    one, other = Net(), Net()
    fit(one, tmp_path / "one", Milestone(0.25, True))
    fit(other, tmp_path / "other", Milestone(1.0, True))
    assert all(same(a, b) for a, b in zip(one.ends, other.ends, strict=True))
    assert "averaging_state" not in load(tmp_path / "other" / "last.ckpt")


def test_layers_in_evaluation_mode_keep_their_statistics(tmp_path):
    module = Net(frozen=True)
    module.network[1].running_mean.fill_(0.25)
    fit(module, tmp_path)
    assert module.network[1].running_mean.tolist() == [0.25] * 4


@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_a_resumed_run_is_the_uninterrupted_one(tmp_path, epochs):
    fit(Net(), tmp_path / "whole")
    fit(Net(), tmp_path / "part", epochs=epochs)
    fit(Net(), tmp_path / "part", resume=tmp_path / "part" / "last.ckpt")
    one, other = load(tmp_path / "whole" / "last.ckpt"), load(tmp_path / "part" / "last.ckpt")
    for key in ("state_dict", "current_model_state", "averaging_state"):
        assert same(one[key], other[key]), key
    assert int(one["averaging_state"]["n_averaged"]) == 3


def test_epochs_that_are_not_validated_count_too(tmp_path):
    module = Net()
    fit(module, tmp_path, check_val_every_n_epoch=2)
    assert len(module.scored) == 2
    assert int(load(tmp_path / "last.ckpt")["averaging_state"]["n_averaged"]) == 3
    for name, tensor in weights(module.scored[1]).items():
        torch.testing.assert_close(tensor, torch.stack([end[name] for end in module.ends[1:]]).mean(dim=0))


def test_what_a_config_asks_for():
    off = TrainerConfig(max_epochs=100)
    assert averaging_callbacks(off) == []
    assert lr_hold_start(off) == 1.0
    (ema,) = averaging_callbacks(off.changed(ema=0.9))
    assert type(ema) is pl.callbacks.EMAWeightAveraging
    (swa,) = averaging_callbacks(off.changed(swa=75))
    assert swa.start == Milestone(75.0)
    assert lr_hold_start(off.changed(swa=75)) == 0.75
    assert lr_hold_start(off.changed(swa="60%", max_epochs=None)) == 0.6
    with pytest.raises(ConfigError, match=r"trainer\.swa is 'late'"):
        averaging_callbacks(off.changed(swa="late"))


class After(pl.Callback):
    """Notes the weights at the end of a validation, and those that were scored as it sees them."""

    def __init__(self):
        self.plain, self.seen = [], []

    def on_validation_end(self, trainer, pl_module):
        if not trainer.sanity_checking:
            self.plain.append({name: tensor.clone() for name, tensor in pl_module.state_dict().items()})
            with averaged_weights(trainer, pl_module):
                self.seen.append({name: tensor.clone() for name, tensor in pl_module.state_dict().items()})
            assert same(pl_module.state_dict(), self.plain[-1]), "put back"


@pytest.mark.parametrize("average", [pl.callbacks.EMAWeightAveraging(decay=0.9), StochasticWeightAveraging(FIRST), None])
def test_what_looks_at_a_network_after_a_validation_sees_what_was_scored(average, tmp_path):
    module, after = Net(), After()
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=3,
        callbacks=[*([average] if average else []), after],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(module, Data())
    assert len(after.seen) == len(module.scored) == 3
    assert all(map(same, after.seen, module.scored))
    assert [same(*pair) for pair in zip(after.plain, after.seen, strict=True)][-1] == (average is None)
