from types import SimpleNamespace

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from segexp.callbacks import explanations
from segexp.callbacks.explanations import Explanations
from segexp.pictures import Explained
from segexp.types import DataSpec

SPEC = DataSpec("d", ("background", "liver"), 1, ((0, 0, 0), (230, 159, 0)))
MASK = torch.ones(8, 9, dtype=torch.uint8)


class Board(pl.loggers.TensorBoardLogger):
    def __init__(self):
        self.pictures = []

    @property
    def experiment(self):
        return self

    def add_image(self, name, picture, step, dataformats):
        assert (picture.dtype, dataformats) == (np.uint8, "HWC")
        self.pictures.append((name, step))


@pytest.fixture
def trainer(monkeypatch):
    """A trainer of three validation cases; `explained` notes which are asked for."""
    explained = []

    def explain(explainer, prepared, cases, predicted):
        explained.append(sorted(predicted))
        mask = MASK.numpy()
        return [Explained(mask[..., None], mask, mask, np.ones((8, 9), np.float32), mask == 1, "t") for _ in predicted]

    monkeypatch.setattr(explanations, "explain_cases", explain)
    data = SimpleNamespace(
        spec=SPEC, members=lambda _: [0, 1, 2], scoring_set=lambda _: None, cases_of=lambda _: None, explained=explained
    )
    facts = {"sanity_checking": False, "should_stop": False, "current_epoch": 0, "max_epochs": 9, "is_global_zero": True}
    return SimpleNamespace(datamodule=data, loggers=[Board(), object()], global_step=5, callbacks=[], **facts)


def validate(callback, trainer):
    """One validation of three cases; the pictures that it gave."""
    for batch in ((0, 1), (2,)):
        callback.on_validation_batch_end(trainer, None, dict.fromkeys(batch, MASK), None, 0)
    board = trainer.loggers[0]
    board.pictures.clear()
    callback.on_validation_end(trainer, None)
    return board.pictures


def made(cases=2, every=1):
    return Explanations(SimpleNamespace(target=1), cases, every)


def test_watched_cases_are_explained_and_logged_at_the_step(trainer):
    callback = made()
    assert validate(callback, trainer) == [("validation/explained", 5)]
    assert trainer.datamodule.explained == [[0, 2]]
    assert callback.watched.predicted == {}


def test_every_second_validation_and_the_last(trainer):
    callback = made(every=2)
    assert [bool(validate(callback, trainer)) for _ in range(4)] == [True, False, True, False]
    resumed = made(every=2)
    resumed.load_state_dict({**callback.state_dict(), "rounds": 3})
    assert not validate(resumed, trainer)
    trainer.current_epoch = 8
    resumed.load_state_dict({"rounds": 3})
    assert validate(resumed, trainer)


@pytest.mark.parametrize("change", [{"sanity_checking": True}, {"is_global_zero": False}, {"loggers": [Board.__new__(Board)]}])
def test_nothing_is_explained_for_nobody(trainer, change):
    vars(trainer).update(change)
    if "loggers" in change:
        trainer.loggers[0].pictures = []
        trainer.datamodule.members = lambda _: []
    assert validate(made(), trainer) == []


def test_without_tensorboard_nothing_is_explained(trainer):
    trainer.loggers = [object()]
    callback = made()
    callback.on_validation_batch_end(trainer, None, {0: MASK}, None, 0)
    callback.on_validation_end(trainer, None)
    assert trainer.datamodule.explained == []
