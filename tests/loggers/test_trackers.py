import os
import sys
from types import SimpleNamespace

import pytest

from segexp.errors import ConfigError
from segexp.loggers import trackers


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """MLflow and Weights & Biases write into the environment; it is as before afterwards."""
    before = dict(os.environ)
    monkeypatch.setattr(trackers, "MLFLOW_STORE", None)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("epoch", "epoch"),
        ("val/dice", "val/dice"),
        ("val/dice/liver", "val/dice.liver"),
        ("val/dice_pooled/left lung", "val/dice_pooled.left lung"),
        ("val/dice/a+b#c", "val/dice.a.b.c"),
    ],
)
def test_names_are_what_mlflow_can_keep(name, kept):
    assert trackers.tracker_name(name) == kept


@pytest.mark.parametrize("package", ["mlflow", "wandb"])
def test_a_missing_package_is_named_with_the_way_to_get_it(monkeypatch, tmp_path, package):
    def absent(**_):
        raise ModuleNotFoundError("Requirement not met", name=None)

    monkeypatch.setattr(trackers, "Tracker", absent)
    monkeypatch.setattr(trackers.pl.loggers, "WandbLogger", absent)
    with pytest.raises(ConfigError) as caught:
        getattr(trackers, package)({}, tmp_path)
    text = str(caught.value)
    assert f"logger={package}" in text
    assert "not installed" in text
    assert f"pip install 'segexp[{package}]'" in text
    assert caught.value.exit_code == 2


def asked(monkeypatch, name, given, directory):
    """The arguments with which the logger would be made."""
    seen = {}
    monkeypatch.setattr(trackers, "Tracker", lambda **more: seen.update(more))
    monkeypatch.setattr(trackers.pl.loggers, "WandbLogger", lambda **more: seen.update(more) or SimpleNamespace(_wandb_init={}))
    getattr(trackers, name)(given, directory)
    return seen


def test_mlflow_writes_below_the_run_directory_unless_told_otherwise(monkeypatch, tmp_path):
    run = tmp_path / "model-unet"
    assert asked(monkeypatch, "mlflow", {}, run) == {"tracking_uri": (run / "mlflow").as_uri(), "run_name": "model-unet"}
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    monkeypatch.setattr(trackers, "MLFLOW_STORE", "http://server")
    assert asked(monkeypatch, "mlflow", {}, run)["tracking_uri"] == "http://server"
    given = {"tracking_uri": "sqlite:///a.db", "run_name": "mine"}
    assert asked(monkeypatch, "mlflow", given, run) == given


def test_wandb_is_offline_in_the_run_directory_unless_told_otherwise(monkeypatch, tmp_path):
    expected = {"save_dir": str(tmp_path), "name": tmp_path.name, "offline": True, "project": "p"}
    assert asked(monkeypatch, "wandb", {"project": "p"}, tmp_path) == expected
    assert asked(monkeypatch, "wandb", {"offline": False}, tmp_path)["offline"] is False


def test_an_open_run_of_wandb_is_ended(monkeypatch):
    ended = []
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(run=object(), finish=lambda: ended.append(1)))
    trackers.close_wandb()
    assert ended == [1]
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(run=None, finish=lambda: ended.append(2)))
    trackers.close_wandb()
    monkeypatch.delitem(sys.modules, "wandb")
    trackers.close_wandb()
    assert ended == [1]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of a package that need not be installed
def test_two_runs_in_mlflow_each_in_its_own_store(tmp_path, capfd):
    pytest.importorskip("mlflow", reason="MLflow is not installed: pip install 'segexp[mlflow]'")
    for name, dice in (("first", 0.25), ("second", 0.5)):
        logger = trackers.mlflow({"experiment_name": "liver"}, tmp_path / name)
        logger.log_metrics({"val/dice": dice, "val/dice/liver": dice}, 1)
        logger.log_hyperparams({"model": "UNet", "optimizer.lr": 0.1})
        logger.finalize("success")
        logger.log_metrics({"hp/dice": dice}, 9)
        store = tmp_path / name / "mlflow"
        files = {f"{path.parent.name}/{path.name}": path.read_text().split()[1:] for path in store.glob("*/*/metrics/*/*")}
        value = str(dice)
        assert files == {"val/dice": [value, "1"], "val/dice.liver": [value, "1"], "hp/dice": [value, "9"]}
        assert [path.read_text() for path in store.glob("*/*/params/model")] == ["UNet"]
        assert [path.read_text() for path in store.glob("*/*/tags/mlflow.runName")] == [name]
    assert "".join(capfd.readouterr()) == ""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of a package that need not be installed
def test_two_runs_in_wandb_are_two_runs_and_make_no_noise(tmp_path, capfd):
    pytest.importorskip("wandb", reason="wandb is not installed: pip install 'segexp[wandb]'")
    for name in ("first", "second"):
        logger = trackers.wandb({"project": "segexp"}, tmp_path / name)
        logger.log_metrics({"val/dice": 0.5}, 1)
        logger.log_hyperparams({"model": "UNet"})
        assert logger.experiment.name == name
        trackers.close_wandb()
        assert len(list((tmp_path / name / "wandb").glob("offline-run-*/*.wandb"))) == 1
    assert "".join(capfd.readouterr()) == ""
