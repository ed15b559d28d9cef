"""The Lightning module: what a step returns, what is logged, and what happens when the loss is not finite."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from segexp.data.preprocessing import Preprocessing
from segexp.errors import SegexpError
from segexp.inference.segmenter import Segmenter
from segexp.losses import CrossEntropy, Dice, WeightedSum, scales_loss
from segexp.metrics.scores import summary
from segexp.models import UNetPlusPlus
from segexp.training.module import SegmentationModule
from segexp.types import Batch, DataSpec, Sample

SPEC = DataSpec("toy", ("background", "thing"), 1, ((0, 0, 0), (255, 128, 0)))


def module(network: nn.Module, loss: nn.Module | None = None) -> SegmentationModule:
    """A module around a network, with what it logs kept in `module.logged`."""
    made = SegmentationModule(
        Segmenter(network, Preprocessing(1), SPEC),
        loss or CrossEntropy(),
        lambda net: torch.optim.SGD(net.parameters(), lr=0.1),
        lambda matrices: summary(matrices, SPEC.classes),
        scales_loss,
    )
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
    tested = module(Sign())
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
    tested = module(network)
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
    tested, drawn = module(network), batch(torch.randn(2, 1, 16, 16))
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
        tested = module(Sign())
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
    tested = module(nn.Conv2d(1, 2, 5, padding=2).eval())
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
    tested = module(Sign(float("nan")), total)
    images = torch.ones(2, 1, 16, 16)
    assert tested.training_step(batch(images), 0) is None
    assert "the step is skipped" in tested.logged["printed"][0]
    assert "'ce': nan" in tested.logged["printed"][0]
    with pytest.raises(SegexpError, match=r"for the second time at step 0, cases \[0, 1\].*optimizer\.lr=1e-4"):
        tested.training_step(batch(images), 1)


def test_a_finite_loss_in_between_forgives() -> None:
    tested = module(Sign(float("nan")))
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
    tested = module(Sign(), wrapped)
    for epoch, share in ((0, 0.0), (1, 0.25), (9, 1.0), (1, 0.25)):
        tested._trainer = SimpleNamespace(current_epoch=epoch, global_rank=0)
        tested.share = share
        tested.on_train_epoch_start()
        assert outer.weights == {"ce": 1 - share, "inner": 1.0}
        assert inner.weights == {"dice": min(epoch / 4, 1.0)}


def test_random_draws_of_an_epoch_follow_from_seed_and_epoch() -> None:
    class At:
        """Stands for the trainer."""

        def __init__(self, epoch: int) -> None:
            self.current_epoch, self.global_rank = epoch, 0

    def drawn(seed: int, epoch: int) -> list[float]:
        tested = module(Sign())
        tested.seed = seed
        tested._trainer = At(epoch)
        tested.on_train_epoch_start()
        return torch.rand(3).tolist()

    assert drawn(1, 5) == drawn(1, 5)
    assert drawn(1, 5) != drawn(1, 6)
    assert drawn(1, 5) != drawn(2, 5)
