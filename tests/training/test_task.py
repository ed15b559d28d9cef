"""The task: what a step returns, what is logged, and what happens when the loss is not finite."""

import math
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader

from fixtures.configs import train_config
from segexp import load
from segexp.data.datamodule import SegmentationDataModule
from segexp.data.preprocessing import Preprocessing
from segexp.errors import ConfigError, SegexpError
from segexp.inference.segmenter import Segmenter
from segexp.losses import CrossEntropy, Dice, WeightedSum, scales_loss
from segexp.models import UNetPlusPlus
from segexp.optim import Constant, Plateau
from segexp.training.build import Components
from segexp.training.optimizers import ProgressLR
from segexp.training.task import SegmentationTask
from segexp.types import Batch, DataSpec, Sample

SPEC = DataSpec("toy", ("background", "thing"), 1, ((0, 0, 0), (255, 128, 0)))


def task(network: nn.Module, loss: nn.Module | None = None, seed: int = 0) -> SegmentationTask:
    """A task around a network, with what it logs kept in `task.logged`."""
    components = Components(network, loss or CrossEntropy(), scales_loss, Constant(), [])
    segmenter = Segmenter(network, Preprocessing(1), SPEC)
    made = SegmentationTask.from_components(train_config({"seed": seed}), components, segmenter)
    made.logged = {}
    made.log = lambda name, value, **_: made.logged.setdefault(name, []).append(float(value))  # type: ignore[method-assign]
    made.log_dict = lambda values, **_: made.logged.update({k: [float(v)] for k, v in values.items()})  # type: ignore[method-assign]
    made.print = lambda text: made.logged.setdefault("printed", []).append(text)  # type: ignore[method-assign]
    return made


def batch(images: torch.Tensor) -> Batch:
    return Batch(image=images, mask=(images[:, 0] > 0).long(), index=list(range(len(images))))


class Sign(nn.Module):
    """Says "thing" where the image is positive; one weight so that it can be trained."""

    def __init__(self, value: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(value))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.cat([-image, image], dim=1) * self.weight


def test_a_training_step_returns_the_loss_of_the_logits_and_logs_it() -> None:
    images = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    tested = task(Sign())
    loss = tested.training_step(batch(images), 0)
    expected = CrossEntropy()(torch.cat([-images, images], dim=1), (images[:, 0] > 0).long())
    assert loss is not None
    assert torch.allclose(loss, expected)
    assert tested.logged["loss/train"] == [pytest.approx(float(expected))]
    loss.backward()
    assert tested.network.weight.grad is not None


@pytest.mark.parametrize("weights", [None, [1.0, 0.0], [3.0, 1.0]])
def test_deep_supervision_is_the_weighted_loss_over_the_heads(weights: list[float] | None) -> None:
    torch.manual_seed(0)
    network = UNetPlusPlus(1, 2, width=2, depth=3, deep_supervision=True)
    tested = task(network)
    tested.scales_loss = partial(scales_loss, weights=weights)
    images = torch.randn(2, 1, 16, 16)
    drawn = batch(images)
    loss = tested.training_step(drawn, 0)
    fine, coarse = (CrossEntropy()(head, drawn["mask"]) for head in network.forward_scales(images))
    first, second = weights or (1.0, 1.0)
    assert loss is not None
    expected = (first * fine + second * coarse) / (first + second)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
    loss.backward()
    heads_trained = [name for name, p in network.named_parameters() if "head" in name and p.grad is not None]
    assert len(heads_trained) >= 4, "weight and bias of both heads"


def test_without_heads_the_loss_is_of_the_one_output() -> None:
    torch.manual_seed(0)
    network = UNetPlusPlus(1, 2, width=2, depth=3).eval()
    tested, drawn = task(network), batch(torch.randn(2, 1, 16, 16))
    loss = tested.training_step(drawn, 0)
    assert loss is not None
    assert loss.item() == pytest.approx(CrossEntropy()(network(drawn["image"]), drawn["mask"]).item())


def test_validation_scores_every_case_at_its_own_size_whatever_the_batch() -> None:
    generator = torch.Generator().manual_seed(3)
    samples = []
    for n, (small, own) in enumerate([((16, 16), (32, 32)), ((16, 20), (16, 20)), ((24, 16), (48, 32))]):
        image = torch.randn(1, *small, generator=generator)
        samples.append(Sample(n, image, torch.randint(0, 2, own, generator=generator).to(torch.uint8)))
    found = []
    for groups in ([[0], [1], [2]], [[0, 1, 2]], [[2, 0], [1]]):
        tested = task(Sign())
        tested._trainer = None
        for group in groups:
            predicted = tested.validation_step([samples[n] for n in group], 0)
            assert {n: tuple(p.shape) for n, p in predicted.items()} == {n: tuple(samples[n].mask.shape) for n in group}
        _, matrices = tested.counts.compute()
        found.append(matrices.tolist())
    assert found[0] == found[1] == found[2]
    assert np.array(found[0]).sum(axis=(1, 2)).tolist() == [32 * 32, 16 * 20, 48 * 32]


def test_validation_predicts_what_the_segmenter_predicts() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (70, 90, 1), np.uint8)
    torch.manual_seed(0)
    tested = task(nn.Conv2d(1, 2, 5, padding=2).eval())
    tested.segmenter.max_pixels, tested.segmenter.preprocessing = 64 * 64, Preprocessing(1, mean=(0.5,), std=(0.1,))
    prepared = tested.segmenter.preprocessing.prepare(image)
    mask = torch.from_numpy(rng.integers(0, 2, (70, 90), np.uint8))
    with torch.no_grad():
        predicted = tested.validation_step([Sample(3, prepared, mask)], 0)
    assert predicted[3].numpy().tolist() == tested.segmenter.classes(image).tolist()
    assert 0 < predicted[3].sum() < 70 * 90
    logits = tested.segmenter.logits(prepared, (70, 90))
    expected = float(CrossEntropy()(logits[None], mask[None].long()))
    assert tested.logged["loss/val"] == [pytest.approx(expected)], "the loss is taken before logits become probabilities"


def test_a_loss_that_is_not_finite_is_skipped_once_and_then_named() -> None:
    total = WeightedSum({"ce": {"weight": 1.0, "loss": CrossEntropy()}})
    tested = task(Sign(float("nan")), total)
    images = torch.ones(2, 1, 16, 16)
    assert tested.training_step(batch(images), 0) is None
    assert "the step is skipped" in tested.logged["printed"][0]
    assert "'ce': nan" in tested.logged["printed"][0]
    with pytest.raises(SegexpError, match=r"for the second time at step 0, cases \[0, 1\].*optimizer\.lr=1e-4"):
        tested.training_step(batch(images), 1)


def test_a_finite_loss_in_between_forgives() -> None:
    tested = task(Sign(float("nan")))
    images = torch.ones(1, 1, 16, 16)
    assert tested.training_step(batch(images), 0) is None
    with torch.no_grad():
        tested.network.weight.fill_(1.0)
    assert tested.training_step(batch(images), 1) is not None
    with torch.no_grad():
        tested.network.weight.fill_(float("nan"))
    assert tested.training_step(batch(images), 2) is None


def test_the_loss_hears_which_epoch_begins() -> None:
    inner = WeightedSum({"dice": {"weight": {0: 0.0, 4: 1.0}, "loss": Dice()}})
    outer = WeightedSum(
        {"ce": {"weight": {"0%": 1.0, "100%": 0.0}, "loss": CrossEntropy()}, "inner": {"weight": 1, "loss": inner}}
    )
    wrapped = nn.Sequential(outer)  # whatever is around it
    tested = task(Sign(), wrapped)
    for epoch, share in ((0, 0.0), (1, 0.25), (9, 1.0), (1, 0.25)):
        tested._trainer = SimpleNamespace(current_epoch=epoch, global_rank=0)
        tested.training_progress = lambda share=share: share  # type: ignore[method-assign]
        tested.on_train_epoch_start()
        assert outer.weights == {"ce": 1 - share, "inner": 1.0}
        assert inner.weights == {"dice": min(epoch / 4, 1.0)}


def test_random_draws_of_an_epoch_follow_from_seed_and_epoch() -> None:
    class At:
        """Stands for the trainer."""

        def __init__(self, epoch: int) -> None:
            self.current_epoch, self.global_rank = epoch, 0

    def drawn(seed: int, epoch: int) -> list[float]:
        tested = task(Sign(), seed=seed)
        tested._trainer = At(epoch)
        tested.on_train_epoch_start()
        return torch.rand(3).tolist()

    assert drawn(1, 5) == drawn(1, 5)
    assert drawn(1, 5) != drawn(1, 6)
    assert drawn(1, 5) != drawn(2, 5)


def test_an_undefined_score_is_logged_as_nan_and_a_plateau_does_not_hear_it() -> None:
    told: list[float] = []
    plateau = Plateau()
    plateau.observe = told.append  # type: ignore[method-assign]
    tested = task(Sign())
    tested._trainer = SimpleNamespace(sanity_checking=False, current_epoch=0)
    tested.scheduler = ProgressLR(torch.optim.SGD(tested.parameters(), lr=0.1), plateau, lambda: 0.0)
    image = torch.ones(1, 16, 16)
    for truth in (0, 1):
        tested.validation_step([Sample(0, image, torch.full((16, 16), truth, dtype=torch.uint8))], 0)
        tested.on_validation_epoch_end()
        assert truth or math.isnan(tested.logged["val/dice"][0])
    assert told == [1.0]
    assert tested.logged["val/dice"] == [1.0]


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:These data have no test split")
def test_a_plain_lightning_script_trains_scores_predicts_and_loads(slices: Path, tmp_path: Path) -> None:
    def trainer(**more: Any) -> pl.Trainer:
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        return pl.Trainer(accelerator="cpu", default_root_dir=tmp_path, **quiet, **more)

    data = SegmentationDataModule.from_folder(slices, size=64, batch_size=2, num_workers=0)
    trained = SegmentationTask("unet", "ce", lr=0.01, overrides=["model.width=2", "model.depth=2"], seed=3)
    with pytest.raises(ConfigError, match="This task has no network yet"):
        trained(torch.zeros(1, 1, 64, 64))
    with pytest.raises(ConfigError, match="trained without a SegmentationDataModule"):
        trainer(max_epochs=1).fit(trained, DataLoader([0]), DataLoader([0]))
    training = trainer(max_epochs=2)
    training.fit(trained, data)
    assert float(training.callback_metrics["val/dice"]) >= 0
    (scores,) = training.test(trained, data, verbose=False)
    assert scores["test/dice"] == pytest.approx(float(training.callback_metrics["test/dice"]))
    predicted = training.predict(trained, data)
    assert predicted is not None
    assert [tuple(mask.shape) for masks in predicted for mask in masks] == [(64, 64)] * 5
    (file,) = tmp_path.rglob("*.ckpt")
    image = torch.randn(1, 1, 64, 64)
    expected = trained.eval()(image)
    for network in (SegmentationTask.load_from_checkpoint(file, weights_only=True).eval(), load(file, device="cpu").forward):
        assert torch.allclose(network(image), expected, atol=1e-6)


def test_a_task_of_components_tells_loggers_nothing_that_its_configuration_does_not_say() -> None:
    tested = task(Sign())
    assert dict(tested.hparams) == {}
    assert not tested._log_hyperparams
    assert dict(SegmentationTask("unetpp", lr=0.1).hparams)["lr"] == 0.1
