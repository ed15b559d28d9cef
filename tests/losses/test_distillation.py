"""Soft targets: by hand, against torch, what is ignored, borders, overlapping classes, gradients."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from segexp.errors import ConfigError
from segexp.losses.distillation import SoftTargets, near_border, resized_logits
from segexp.models import UNetPlusPlus


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def example():
    """Logits of a student and a teacher for three classes, and a mask with a row that is ignored."""
    mask = torch.zeros(2, 8, 9, dtype=torch.long)
    mask[0, 2] = 255
    return drawn(2, 3, 8, 9), 2 * drawn(2, 3, 8, 9, seed=1), mask


def test_by_hand():
    logits = torch.tensor([0.0, 2.0]).view(1, 2, 1, 1)
    teacher = torch.tensor([0.0, 4.0 * math.log(3)]).view(1, 2, 1, 1)  # at T=4: 1/4 and 3/4
    p = [1 / (1 + math.exp(0.5)), 1 / (1 + math.exp(-0.5))]
    expected = 16 * (0.25 * math.log(0.25 / p[0]) + 0.75 * math.log(0.75 / p[1]))
    found = SoftTargets(temperature=4)(logits, teacher, torch.zeros(1, 1, 1, dtype=torch.long))
    assert found.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_it_is_the_divergence_of_torch(example, temperature):
    logits, teacher, mask = example
    known = mask != 255
    rows = [each.movedim(1, -1)[known] / temperature for each in (logits, teacher)]
    expected = temperature**2 * F.kl_div(rows[0].log_softmax(1), rows[1].softmax(1), reduction="batchmean")
    torch.testing.assert_close(SoftTargets(temperature)(logits, teacher, mask), expected)


def test_nothing_is_left_to_learn_from_a_teacher_who_says_the_same(example):
    logits, _, mask = example
    assert SoftTargets()(logits, logits + 3.0, mask).item() == pytest.approx(0, abs=1e-6)


def test_ignored_pixels_have_no_part(example):
    logits, teacher, mask = example
    logits.requires_grad_()
    other = torch.where(mask.unsqueeze(1) == 255, 50.0, teacher)
    loss = SoftTargets(boundary=0)(logits, teacher, mask)
    torch.testing.assert_close(SoftTargets(boundary=0)(logits, other, mask), loss)
    loss.backward()
    assert not logits.grad[0, :, 2].any()
    assert logits.grad.movedim(1, -1)[mask != 255].any()


def test_all_ignored_is_nothing_with_a_graph(example):
    logits, teacher, mask = example
    logits.requires_grad_()
    loss = SoftTargets(boundary=4)(logits, teacher, torch.full_like(mask, 255))
    assert loss.item() == 0
    loss.backward()
    assert not logits.grad.any()


def test_the_factor_keeps_the_gradient_as_large_at_any_temperature():
    mask = torch.zeros(1, 16, 16, dtype=torch.long)
    sizes = []
    for temperature in (4.0, 16.0):
        logits = drawn(1, 2, 16, 16).requires_grad_()
        SoftTargets(temperature)(logits, drawn(1, 2, 16, 16, seed=1), mask).backward()
        sizes.append(logits.grad.norm().item())
    assert sizes[0] == pytest.approx(sizes[1], rel=0.05)


@pytest.mark.parametrize("arguments", [{}, {"boundary": 3.0}, {"overlapping": True}])
def test_gradient_is_right_and_none_for_the_teacher(example, arguments):
    _, _, mask = example
    logits, teacher = (drawn(2, 3, 8, 9, seed=n).double().requires_grad_() for n in (3, 4))
    loss = SoftTargets(**arguments)
    loss(logits, teacher, mask).backward()
    assert teacher.grad is None
    step = 1e-2
    for place in [(0, 0, 0, 0), (1, 2, 5, 5), (0, 1, 7, 8)]:  # float32 inside: gradcheck asks for more digits
        moved = [loss(_moved(logits, place, sign * step), teacher, mask).item() for sign in (1, -1)]
        assert (moved[0] - moved[1]) / (2 * step) == pytest.approx(logits.grad[place].item(), rel=0.02, abs=2e-5)


def _moved(logits, place, by):
    copy = logits.detach().clone()
    copy[place] += by
    return copy


def test_borders_of_the_teachers_mask_weigh_more():
    teacher = torch.full((1, 2, 12, 12), -4.0)
    teacher[0, 1, :, 6:] = 4.0
    near = near_border(teacher.argmax(dim=1))
    assert near[0, 0].tolist() == [0, 0, 0, 1, 1, 1, 1, 1, 1, 0, 0, 0]
    mask = torch.zeros(1, 12, 12, dtype=torch.long)
    costs = {}
    for column in (0, 5):
        logits = teacher.clone()
        logits[0, :, 4, column] = 0
        costs[column] = SoftTargets(boundary=4)(logits, teacher, mask).item()
    assert costs[5] == pytest.approx(5 * costs[0], rel=1e-4)


def test_the_weights_of_borders_are_a_mean(example):
    logits, teacher, mask = example
    weights = (mask != 255) * (1 + 2 * near_border(teacher.argmax(1)))
    each = (teacher / 2).softmax(1) * ((teacher / 2).log_softmax(1) - (logits / 2).log_softmax(1))
    expected = 4 * (each.sum(1) * weights).sum() / weights.sum()
    torch.testing.assert_close(SoftTargets(boundary=2)(logits, teacher, mask), expected)


def test_overlapping_classes_are_each_a_question(example):
    logits, teacher, mask = example
    mask = torch.where(mask == 255, 255, 3)  # bit sets: both classes
    known, expected = mask != 255, []
    for k in (1, 2):
        own, its = ((each[:, k] - each[:, 0])[known] / 2 for each in (logits, teacher))
        cross = F.binary_cross_entropy_with_logits(own, its.sigmoid()) - F.binary_cross_entropy_with_logits(its, its.sigmoid())
        expected.append(4 * cross)
    torch.testing.assert_close(SoftTargets(overlapping=True)(logits, teacher, mask), torch.stack(expected).mean())


def test_a_coarse_head_learns_from_the_mean_of_its_pixels():
    teacher = drawn(1, 3, 16, 16).cumsum(2).cumsum(3) / 10
    small = resized_logits(teacher, (8, 8))
    assert small.shape == (1, 3, 8, 8)
    assert (small - F.avg_pool2d(teacher, 2)).abs().max() < (teacher - teacher.mean()).abs().max() / 4
    assert resized_logits(teacher, (16, 16)) is teacher
    mask = torch.zeros(1, 8, 8, dtype=torch.long)
    assert SoftTargets()(small, teacher, mask).item() == pytest.approx(0, abs=1e-6)


def test_it_is_float32_inside_autocast(example):
    logits, teacher, mask = example
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = SoftTargets()(logits.bfloat16(), teacher.bfloat16(), mask)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(SoftTargets()(logits, teacher, mask).item(), rel=0.05)


def test_a_student_learns_what_the_teacher_says():
    torch.manual_seed(0)
    student, image = UNetPlusPlus(1, 2, width=4, depth=2), drawn(2, 1, 16, 16)
    teacher = torch.cat([-image, image], dim=1) * 3
    mask = torch.zeros(2, 16, 16, dtype=torch.long)
    optimizer, values = torch.optim.Adam(student.parameters(), lr=0.02), []
    for _ in range(30):
        loss = SoftTargets()(student(image), teacher, mask)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        values.append(loss.item())
    assert values[-1] < values[0] / 4


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ({"temperature": 0}, "temperature of the loss is 0"),
        ({"temperature": math.inf}, "temperature of the loss is inf"),
        ({"boundary": -1}, "boundary of the loss is -1"),
    ],
)
def test_nonsense_is_refused(arguments, found):
    with pytest.raises(ConfigError) as error:
        SoftTargets(**arguments)
    assert found in error.value.found
    assert error.value.expected
    assert error.value.do


def test_shapes_must_belong_together(example):
    logits, teacher, mask = example
    with pytest.raises(ValueError, match="need"):
        SoftTargets()(logits, teacher[:, :2], mask)
    with pytest.raises(ValueError, match="need"):
        SoftTargets()(logits, teacher, mask[:, 1:])
