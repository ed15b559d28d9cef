"""An epoch or a share of the training."""

import pytest

from segexp.errors import ConfigError
from segexp.milestones import Milestone, parse_milestone, require_milestone


@pytest.mark.parametrize(
    ("given", "found"),
    [(0, Milestone(0.0)), (60, Milestone(60.0)), ("75%", Milestone(0.75, True)), (" 12.5% ", Milestone(0.125, True))],
)
def test_epochs_and_shares(given, found):
    assert require_milestone("trainer.swa", given) == found


@pytest.mark.parametrize("given", [-1, 0.75, "60", "120%", "x%", "%", True, None])
def test_what_is_neither_is_refused_in_words(given):
    with pytest.raises(ConfigError) as caught:
        require_milestone("trainer.swa", given)
    assert str(caught.value) == (
        f"trainer.swa is {given!r}. an epoch (a whole number from 0 on) or a share of the training (0% to 100%). "
        "Type trainer.swa=5 for the fifth epoch, trainer.swa=20% for a share."
    )


def test_when_it_is_reached():
    assert [Milestone(2.0).reached(epoch, 0.9) for epoch in range(4)] == [False, False, True, True]
    shares = [0.1 + 0.2, 0.29, 0.3, 1.0]  # the first is more than 0.3 by a rounding, 3 * 0.1 just as well
    assert [Milestone(0.3, True).reached(0, share) for share in shares] == [True, False, True, True]
    assert Milestone(0.7, True).reached(0, 0.7 - 1e-12)


def test_as_a_share_of_the_training():
    assert Milestone(0.25, True).share_of(None) == 0.25
    assert Milestone(15.0).share_of(60) == 0.25
    assert Milestone(80.0).share_of(60) == 1.0
    assert Milestone(80.0).share_of(None) == 1.0


@pytest.mark.parametrize("given", [None, True, -1, 2.5, "5", "a%", "101%", "-1%", "%"])
def test_what_is_neither_is_read_as_nothing(given):
    assert parse_milestone(given) is None
