"""A teacher: what it sees, that it stays as it is, and where its weights do not go."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from segexp.errors import ConfigError
from segexp.losses import CrossEntropy, scales_loss
from segexp.losses.distillation import SoftTargets
from segexp.metrics.scores import summary
from segexp.models import UNet, UNetPlusPlus
from segexp.module import SegmentationModule
from segexp.preprocessing import Preprocessing
from segexp.segmenter import Segmenter
from segexp.teaching.teacher import Teacher, renormalized
from segexp.types import Batch, DataSpec

SPEC = DataSpec("toy", ("background", "thing"), 1, ((0, 0, 0), (255, 128, 0)))
EIGHT = Preprocessing(1, value_range=(0.0, 255.0), mean=(0.4,), std=(0.2,))


def segmenter(preprocessing=EIGHT, precision="32", seed=7):
    torch.manual_seed(seed)
    return Segmenter(UNet(1, 2, width=4, depth=2), preprocessing, SPEC, precision=precision)


def teacher(student=EIGHT, weight=0.25, soft=None, **settings):
    return Teacher(segmenter(**settings), student, soft or SoftTargets(), weight)


def module(network, taught):
    """A module around a network, with what it logs kept in `module.logged`."""
    made = SegmentationModule(
        Segmenter(network, EIGHT, SPEC),
        CrossEntropy(),
        lambda net: torch.optim.SGD(net.parameters(), lr=0.1),
        lambda matrices: summary(matrices, SPEC.classes),
        scales_loss,
        teacher=taught,
    )
    made.logged = {}
    made.log = lambda name, value, **_: made.logged.setdefault(name, float(value))
    made.print = lambda text: made.logged.setdefault("printed", text)
    return made


@pytest.fixture
def batch():
    image = torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    mask = (image[:, 0] > 0).long()
    mask[:, :4] = 255
    return Batch(image=image, mask=mask, index=[0, 1])


VIEWS = {
    "mean": replace(EIGHT, mean=(0.1,), std=(0.5,)),
    "percentile": replace(EIGHT, low=(0.2,), high=(0.7,), mean=(0.2,), std=(0.5,)),
    "colour": Preprocessing(3, value_range=(0.0, 255.0), mean=(0.4, 0.5, 0.6), std=(0.2, 0.1, 0.3)),
}


@pytest.mark.parametrize("view", VIEWS)
def test_a_teacher_sees_what_its_own_preprocessing_makes_of_the_image(view):
    wanted = VIEWS[view]
    image = np.random.default_rng(0).integers(0, 256, (32, 40, wanted.channels), np.uint8)
    own = replace(EIGHT, channels=wanted.channels)
    shown = renormalized(own.prepare(image)[None], own, wanted)
    torch.testing.assert_close(shown[0], wanted.prepare(image), atol=1e-5, rtol=1e-5)


def test_images_that_are_not_8_bit_are_scaled_as_the_teacher_knows_them():
    image = np.random.default_rng(0).integers(0, 4000, (32, 40, 1)).astype(np.float32)
    own = Preprocessing(1, value_range=(-100.0, 3900.0), mean=(0.4,), std=(0.2,))
    wanted = Preprocessing(1, value_range=(0.0, 5000.0), mean=(0.3,), std=(0.1,))
    shown = renormalized(own.prepare(image)[None], own, wanted)
    torch.testing.assert_close(shown[0], wanted.prepare(image), atol=1e-4, rtol=1e-4)


def test_the_same_normalisation_leaves_the_batch_alone():
    image = torch.randn(1, 1, 16, 16)
    assert renormalized(image, EIGHT, replace(EIGHT, size=64)) is image


def test_what_was_clipped_stays_clipped():
    image = np.array([[[0], [128], [255]]], np.uint8)
    own = VIEWS["percentile"]
    shown = renormalized(own.finish(image)[None], own, EIGHT)
    assert shown.flatten().tolist() == pytest.approx([(0.2 - 0.4) / 0.2, (128 / 255 - 0.4) / 0.2, (0.7 - 0.4) / 0.2], abs=1e-5)


def test_the_teacher_says_what_it_says_by_itself(batch):
    one = teacher(VIEWS["mean"])
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 1), np.uint8)
    said = one.logits(VIEWS["mean"].prepare(image)[None])[0]
    alone = one.segmenter.logits(EIGHT.prepare(image), (32, 32))
    torch.testing.assert_close(said, alone, atol=1e-4, rtol=1e-4)
    assert not said.requires_grad


def test_the_teacher_runs_in_the_precision_it_was_trained_in(batch):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert teacher().logits(batch["image"]).dtype == torch.float32
    assert teacher(precision="bf16-mixed").logits(batch["image"]).dtype == torch.bfloat16


def test_a_step_is_the_two_losses_by_weight(batch):
    torch.manual_seed(1)
    student, taught = UNet(1, 2, width=2, depth=2).eval(), teacher(soft=SoftTargets(3.0, boundary=1.0))
    made = module(student, taught)
    loss = made.training_step(batch, 0)
    logits = student(batch["image"])
    soft = SoftTargets(3.0, boundary=1.0)(logits, taught.segmenter.network(batch["image"]), batch["mask"])
    hard = CrossEntropy()(logits, batch["mask"])
    torch.testing.assert_close(loss, 0.75 * hard + 0.25 * soft)
    assert made.logged == {"loss/distill": pytest.approx(soft.item()), "loss/train": pytest.approx(loss.item())}


def test_every_head_of_deep_supervision_is_taught(batch):
    torch.manual_seed(1)
    student = UNetPlusPlus(1, 2, width=2, depth=3, deep_supervision=True)
    made = module(student, teacher(weight=1.0))
    loss = made.training_step(batch, 0)
    loss.backward()
    assert all(p.grad is not None for name, p in student.named_parameters() if "head" in name)
    scales = student.forward_scales(batch["image"])
    said = made.teacher.logits(batch["image"])
    expected = torch.stack([SoftTargets()(each, said, batch["mask"]) for each in scales]).mean()
    torch.testing.assert_close(loss, expected, rtol=1e-3, atol=1e-5)


def test_the_teacher_is_left_as_it_is(batch):
    taught = teacher()
    before = copy.deepcopy(taught.segmenter.network.state_dict())
    made = module(UNet(1, 2, width=2, depth=2), taught)
    made.train()
    optimizer = made.configure_optimizers()
    for _ in range(3):
        optimizer.zero_grad()
        made.training_step(batch, 0).backward()
        optimizer.step()
    assert not taught.segmenter.network.training
    assert all(p.grad is None and not p.requires_grad for p in taught.segmenter.network.parameters())
    after = taught.segmenter.network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before), "statistics of batch norm too"


def test_its_weights_are_in_no_checkpoint_and_no_optimizer():
    student = UNet(1, 2, width=2, depth=2)
    made = module(student, teacher())
    assert set(made.state_dict()) == {f"network.{name}" for name in student.state_dict()}
    trained = {id(p) for group in made.configure_optimizers().param_groups for p in group["params"]}
    assert trained == {id(p) for p in student.parameters()} == {id(p) for p in made.parameters()}


def test_a_copy_of_the_module_has_the_same_teacher():
    made = module(UNet(1, 2, width=2, depth=2), teacher())
    assert copy.deepcopy(made).teacher is made.teacher


def test_a_teacher_who_says_nan_is_named(batch):
    taught = teacher()
    with torch.no_grad():
        next(taught.segmenter.network.parameters()).fill_(float("nan"))
    made = module(UNet(1, 2, width=2, depth=2), taught)
    assert made.training_step(batch, 0) is None
    assert "terms {'distill': nan}" in made.logged["printed"]
    assert "loss/distill" not in made.logged


def test_a_teacher_of_another_kind_of_values_is_refused():
    with pytest.raises(ConfigError) as error:
        teacher(Preprocessing(1, value_range=(0.0, 4095.0)))
    assert "trained on images that are 8-bit, and the training images here are other than 8-bit" in str(error.value)
    assert "distill.teacher" in error.value.do


def test_any_network_can_be_a_student(batch):
    class Pixel(nn.Conv2d):
        """The smallest network there is."""

    made = module(Pixel(1, 2, 1), teacher())
    made.training_step(batch, 0).backward()
    assert made.network.weight.grad.any()
