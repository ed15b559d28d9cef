"""Early stopping comes back from a checkpoint as it was."""

from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch

from fixtures.callbacks import CONTENT
from segexp.optim import Constant
from segexp.training.callbacks.checkpoint import Checkpoints
from segexp.training.callbacks.early_stopping import EarlyStopping

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")


def stopped(patience=2, waited=2):
    made = EarlyStopping("val/dice", patience)
    made.wait_count, made.best_score = waited, torch.tensor(0.7)
    return made.state_dict()


@pytest.mark.parametrize(("patience", "waited", "stops"), [(2, 2, True), (2, 1, False), (5, 2, False), (1, 2, True)], ids=str)
def test_a_stop_is_restored_unless_the_patience_is_longer_now(patience, waited, stops, capsys):
    made, trainer = EarlyStopping("val/dice", patience), SimpleNamespace(should_stop=False)
    made.load_state_dict(stopped(waited=waited))
    made.on_fit_start(trainer, SimpleNamespace(print=print))
    assert trainer.should_stop is stops
    assert (made.patience, made.wait_count, float(made.best_score)) == (patience, waited, pytest.approx(0.7))
    said = (
        "The training had stopped early: no better val/dice in 2 validations. To train on, type trainer.early_stopping=4, say, "
    )
    assert capsys.readouterr().out == (f"{said}or trainer.early_stopping=null beside resume=.\n" if stops else "")


def test_a_run_that_had_stopped_is_not_trained_on(toy, tmp_path):
    def fit(patience=2, resume=None):
        module = toy.task(Constant(), [0.5, 0.4, 0.3, 0.9], content=CONTENT)
        checkpoints = Checkpoints(tmp_path, "val/dice")
        trainer = toy.fit(module, [checkpoints, EarlyStopping("val/dice", patience)], epochs=6, resume=resume)
        return len(module.steps), trainer.fit_loop.epoch_progress.current.processed, checkpoints.best_epoch

    assert fit() == (2 * 3, 3, 0)
    assert fit(resume=tmp_path / "last.ckpt") == (0, 3, 0)
    assert fit(patience=3, resume=tmp_path / "last.ckpt") == (2 * 3, 6, 3), "a longer patience finds the better epoch"


def test_checkpoints_of_lightnings_own_callback_are_read():
    plain = pl.callbacks.EarlyStopping("val/dice", mode="max")
    assert EarlyStopping("val/dice", 3).state_key == plain.state_key


@pytest.mark.parametrize(
    ("scores", "epochs"),
    [([0.5, float("nan"), float("nan"), 0.4, float("nan"), 0.3, 0.9], 6), ([float("nan")] * 5, 7)],
    ids=str,
)
def test_an_undefined_score_neither_stops_nor_counts_as_patience(toy, tmp_path, scores, epochs):
    module = toy.task(Constant(), scores + [float("nan")] * 2, content=CONTENT)
    trainer = toy.fit(module, [Checkpoints(tmp_path, "val/dice"), EarlyStopping("val/dice", 2)], epochs=7)
    assert trainer.fit_loop.epoch_progress.current.processed == epochs
