import math
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl

from segexp import loggers
from segexp.loggers import log_outcome, make_loggers
from segexp.loggers.board import Board
from segexp.quiet import quieten
from segexp.types import DataSpec

SPEC = DataSpec("liver", ("background", "liver"), 1, ((0, 0, 0), (255, 0, 0)))


@pytest.fixture
def closed(monkeypatch):
    """The trackers, replaced: what was asked of them."""
    asked = []
    fakes = {
        name: lambda given, directory, name=name: asked.append((name, given, directory)) or name for name in ("mlflow", "wandb")
    }
    fakes["close_wandb"] = lambda: asked.append("closed")
    monkeypatch.setattr(loggers, "trackers", SimpleNamespace(**fakes))
    return asked


@pytest.mark.parametrize("chosen", [{}, {"csv": True}, {"tensorboard": None}])
def test_csv_is_always_written(tmp_path, chosen):
    (only,) = make_loggers(chosen, tmp_path, SPEC)
    only.log_metrics({"loss/train": 0.5}, 1)
    only.save()
    assert (tmp_path / "csv" / "metrics.csv").read_text().split() == ["loss/train,step", "0.5,1"]


def test_each_switch_makes_its_logger(tmp_path, closed):
    made = make_loggers(
        {"tensorboard": True, "mlflow": {"experiment_name": "a", "tracking_uri": None}, "wandb": True}, tmp_path, SPEC
    )
    made[1].finalize("success")
    assert [type(made[0]), type(made[1]), *made[2:]] == [pl.loggers.CSVLogger, Board, "mlflow", "wandb"]
    assert closed == [("mlflow", {"experiment_name": "a"}, tmp_path), ("wandb", {}, tmp_path)]
    assert made[1].log_dir.rstrip("/") == str(tmp_path / "tensorboard")


def test_curves_of_before_a_resume_are_kept(tmp_path):
    quieten()  # Lightning warns that it deletes them
    for n in range(3):
        (logger,) = make_loggers({}, tmp_path, SPEC)
        logger.log_metrics({"loss/train": float(n)}, n)
        logger.save()
    files = {path.name: path.read_text().split()[1] for path in (tmp_path / "csv").glob("*.csv")}
    assert files == {"metrics_1.csv": "0.0,0", "metrics_2.csv": "1.0,1", "metrics.csv": "2.0,2"}


class Noted:
    """A logger that notes what it is told."""

    def __init__(self):
        self.told = []

    def log_hyperparams(self, row):
        self.told.append(row)

    def log_metrics(self, scores, step):
        self.told.append((scores, step))


def test_settings_and_final_scores_are_written_once(tmp_path, closed, monkeypatch):
    made, tracker, tables = make_loggers({"tensorboard": True}, tmp_path, SPEC), Noted(), []
    monkeypatch.setattr(Board, "log_table", lambda self, *told: tables.append(told))
    made[1].finalize("success")
    scores = {"val/dice": 0.75, "val/iou": 0.6, "val/accuracy": 0.9, "test/dice": 0.5, "test/iou": math.nan}
    log_outcome([*made, tracker], {"seed": 3, "logger": {"csv": True}}, scores, 12)
    final = {"hp/dice": 0.75, "hp/iou": 0.6, "hp/test_dice": 0.5}
    assert tables == [({"seed": 3}, final, 12)]
    assert tracker.told == [{"seed": 3}, (final, 12)]
    assert closed == ["closed"]
    assert not (tmp_path / "csv" / "hparams.yaml").exists()


def test_a_score_that_is_not_there_is_left_out(closed):
    tracker = Noted()
    log_outcome([tracker], {"seed": 0}, {"test/iou": 0.25}, 1)
    assert tracker.told[1] == ({"hp/test_iou": 0.25}, 1)
