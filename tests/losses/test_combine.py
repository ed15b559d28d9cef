import pytest
import torch

from segexp.errors import ConfigError
from segexp.losses import BCE, CrossEntropy, Dice, WeightedSum, scales_loss


def example():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 2, 8, 8, generator=generator), torch.randint(0, 2, (2, 8, 8), generator=generator)


def test_parts_add_up():
    logits, mask = example()
    both = WeightedSum({"ce": {"weight": 0.5, "loss": CrossEntropy()}, "dice": {"weight": 2, "loss": Dice()}})
    parts = both.parts(logits, mask)
    assert list(parts) == ["ce", "dice"]
    torch.testing.assert_close(parts["ce"], 0.5 * CrossEntropy()(logits, mask))
    torch.testing.assert_close(parts["dice"], 2 * Dice()(logits, mask))
    torch.testing.assert_close(both(logits, mask), parts["ce"] + parts["dice"])


def test_sums_of_sums():
    logits, mask = example()
    inner = WeightedSum({"bce": {"weight": 1, "loss": BCE()}})
    outer = WeightedSum({"inner": {"weight": 3, "loss": inner}})
    torch.testing.assert_close(outer(logits, mask), 3 * BCE()(logits, mask))


def test_weights_follow_the_epochs():
    logits, mask = example()
    ce, dice = CrossEntropy()(logits, mask), Dice()(logits, mask)
    both = WeightedSum(
        {"ce": {"weight": {0: 1.0, 10: 0.0}, "loss": CrossEntropy()}, "dice": {"weight": {"0%": 0, "100%": 2}, "loss": Dice()}}
    )
    assert both.weights == {"ce": 1.0, "dice": 0.0}, "before anybody says so it is the first epoch"
    torch.testing.assert_close(both(logits, mask), ce)
    both.begin_epoch(4, 0.25)
    torch.testing.assert_close(both(logits, mask), 0.6 * ce + 0.5 * dice)
    both.begin_epoch(12, 1.0)
    assert list(both.parts(logits, mask)) == ["ce", "dice"]
    torch.testing.assert_close(both(logits, mask), 2 * dice)


def test_a_term_of_no_weight_is_not_computed():
    class Costly(torch.nn.Module):
        def forward(self, logits, mask):
            raise AssertionError("computed for nothing")

    logits, mask = example()
    logits.requires_grad_()
    both = WeightedSum({"ce": {"weight": 1, "loss": CrossEntropy()}, "late": {"weight": {5: 0, 6: 1}, "loss": Costly()}})
    both(logits, mask).backward()
    assert logits.grad.any()
    both.begin_epoch(6, 0.0)
    with pytest.raises(AssertionError):
        both(logits, mask)


def test_a_moment_without_any_weight_can_still_be_differentiated():
    logits, mask = example()
    logits.requires_grad_()
    total = WeightedSum({"ce": {"weight": {0: 0.0, 4: 1.0}, "loss": CrossEntropy()}})(logits, mask)
    total.backward()
    assert total.item() == 0
    assert not logits.grad.any()


@pytest.mark.parametrize(
    ("terms", "found"),
    [
        ({}, "loss.terms is empty"),
        ({"ce": {"loss": CrossEntropy()}}, "loss.terms.ce has the keys ['loss']"),
        ({"ce": {"loss": CrossEntropy(), "weight": -1}}, "terms.ce.weight of the loss is -1"),
        ({"ce": {"loss": CrossEntropy(), "weight": "auto"}}, "loss.terms.ce.weight is 'auto'"),
        (
            {"ce": {"loss": CrossEntropy(), "weight": 0}, "dice": {"loss": Dice(), "weight": {0: 0, 9: 0.0}}},
            "every weight of loss.terms is 0 (ce, dice)",
        ),
    ],
)
def test_nonsense_is_refused(terms, found):
    with pytest.raises(ConfigError) as error:
        WeightedSum(terms)
    assert found in error.value.found
    assert error.value.expected
    assert error.value.do


def test_weighted_mean_over_heads():
    logits, mask = example()
    other = logits.flip(0)
    ce = CrossEntropy()
    first, second = ce(logits, mask), ce(other, mask)
    torch.testing.assert_close(scales_loss(ce, [logits, other], mask), (first + second) / 2)
    torch.testing.assert_close(scales_loss(ce, [logits, other], mask, [3, 1]), (3 * first + second) / 4)


def test_smaller_heads_get_a_smaller_mask():
    logits = torch.zeros(1, 2, 2, 2)
    logits[0, 1, 0, 0] = logits[0, 0, 1, 1] = 50.0
    mask = torch.full((1, 4, 4), 255)
    mask[0, :2, :2] = 1
    mask[0, 2:, 2:] = 0
    assert scales_loss(CrossEntropy(), [logits], mask).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("weights", [[1.0], [0.0, 0.0]])
def test_a_weight_for_each_head(weights):
    logits, mask = example()
    with pytest.raises(ValueError, match=r"2 heads and weights .*: need one weight per head and a positive sum"):
        scales_loss(CrossEntropy(), [logits, logits], mask, weights)
