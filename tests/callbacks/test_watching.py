"""Which cases are watched, what is kept of them and when it is due."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from segexp.callbacks.watching import Watched, watched


def trainer(**changes):
    """A trainer of ten epochs with six validation cases and no board."""
    data = SimpleNamespace(members=lambda _: list(range(6)))
    usual = {"sanity_checking": False, "should_stop": False, "current_epoch": 0, "max_epochs": 10, "is_global_zero": True}
    return SimpleNamespace(**(usual | {"datamodule": data, "loggers": []} | changes))


def test_only_the_watched_cases_are_kept_and_only_until_they_are_taken():
    found = Watched(2, 1)
    outputs = {n: torch.full((2, 2), n, dtype=torch.uint8) for n in range(6)}
    found.keep(trainer(), outputs)
    predicted, _ = found.taken(trainer())
    assert sorted(predicted) == watched(6, 2) == [0, 5]
    np.testing.assert_array_equal(predicted[5], np.full((2, 2), 5))
    assert found.taken(trainer())[0] == {}


@pytest.mark.parametrize(("changes", "due"), [({}, [True, False, False, True]), ({"should_stop": True}, [True] * 4)])
def test_it_is_due_in_every_third_round_and_in_the_last_one(changes, due, monkeypatch):
    import pytorch_lightning as pl

    board = SimpleNamespace(experiment="board")
    monkeypatch.setattr(pl.loggers, "TensorBoardLogger", SimpleNamespace)
    found = Watched(1, 3)
    told = [bool(found.taken(trainer(loggers=[board], **changes))[1]) for _ in due]
    assert told == due
    other = Watched(1, 3)
    other.load_state_dict(found.state_dict())
    assert other.rounds == len(due)


def test_the_check_before_training_is_no_round():
    found = Watched(1, 1)
    assert found.taken(trainer(sanity_checking=True)) == ({}, [])
    assert found.rounds == 0
