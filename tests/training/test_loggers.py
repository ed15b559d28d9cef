import math
import os
import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import pytorch_lightning as pl
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import metadata, plugin_data_pb2

from fixtures.configs import train_config
from segexp.config.schema import DataConfig, LoggerConfig, TrainerConfig
from segexp.console import silence_libraries
from segexp.errors import ConfigError
from segexp.metrics.scores import summarise_scores
from segexp.training import loggers
from segexp.training.loggers import (
    BoardLogger,
    exact_tag_pattern,
    flatten_as_text,
    log_outcome,
    logged_settings,
    make_loggers,
    scalar_layout,
)
from segexp.types import DataSpec


def spec(*classes):
    return DataSpec("d", classes, 1, ((0, 0, 0),) * len(classes))


def board(folder):
    return BoardLogger(folder, name="tensorboard", version="", default_hp_metric=False)


def events(folder):
    return EventAccumulator(str(folder)).Reload()


# Charts ------------------------------------------------------------------------------------------------------------------


def shown(layout, category):
    """The one chart of a category: its title and its expressions."""
    (item,) = layout[category].items()
    title, (kind, tags) = item
    assert kind == "Multiline"
    return title, tags


@pytest.mark.parametrize(
    ("classes", "curves"),
    [
        (("background", "liver"), ["val/dice/liver"]),
        (("rest", "road", "water"), ["val/dice", "val/dice/road", "val/dice/water"]),
        (("rest", "left lung", "a+b"), ["val/dice", "val/dice/left lung", "val/dice/a+b"]),
    ],
)
def test_a_chart_shows_its_own_curves_and_no_others(tmp_path, classes, curves):
    made = board(tmp_path)
    scores = summarise_scores(np.ones((2, len(classes), len(classes)), np.int64), classes)
    made.log_metrics({f"val/{name}": value for name, value in scores.items()} | {"loss/train": 1.0, "loss/val": 1.0}, 0)
    made.finalize("success")
    written = events(tmp_path / "tensorboard").Tags()["scalars"]
    assert len(written) > 12
    layout = scalar_layout(spec(*classes))
    assert list(layout) == ["Loss", "Dice"]
    for category, title, expected in (
        ("Loss", "training and validation", ["loss/train", "loss/val"]),
        ("Dice", "per class", curves),
    ):
        found, tags = shown(layout, category)
        assert found == title
        assert sorted(tag for tag in written for each in tags if re.match(each, tag)) == sorted(expected)


def test_the_layout_reaches_the_event_file(tmp_path):
    made = board(tmp_path)
    made.experiment.add_custom_scalars(scalar_layout(spec("background", "liver")))
    made.finalize("success")
    (tensor,) = events(tmp_path / "tensorboard").Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(tensor.tensor_proto.string_val[0])
    assert [(c.title, [chart.title for chart in c.chart]) for c in layout.category] == [
        ("Loss", ["training and validation"]),
        ("Dice", ["per class"]),
    ]


@pytest.mark.parametrize("tag", ["val/dice", "val/dice/a.b", "val/dice/a-b_c"])
def test_an_expression_fits_one_tag(tag):
    assert re.match(exact_tag_pattern(tag), tag)
    assert not re.match(exact_tag_pattern(tag), f"{tag}_pooled")
    assert not re.match(exact_tag_pattern(tag), f"{tag}/liver")
    assert not re.match(exact_tag_pattern("val/dice/a.b"), "val/dice/a_b")


# Curves and the table of runs --------------------------------------------------------------------------------------------


def test_the_epoch_is_no_curve(tmp_path):
    made = board(tmp_path)
    made.log_metrics({"loss/train": 0.5, "epoch": 3}, 7)
    made.finalize("success")
    found = events(tmp_path / "tensorboard")
    assert found.Tags()["scalars"] == ["loss/train"]
    (point,) = found.Scalars("loss/train")
    assert (point.step, point.value) == (7, 0.5)


def test_a_run_is_one_folder_with_event_files_only(tmp_path):
    made = board(tmp_path)
    made.log_metrics({"loss/train": 0.5}, 1)
    made.finalize("success")  # as the trainer does
    made.log_table({"model": "UNet", "optimizer.lr": 0.1}, {"hp/dice": 0.75}, 9)
    assert [path.name for path in tmp_path.iterdir()] == ["tensorboard"]
    assert all(path.name.startswith("events.out") for path in (tmp_path / "tensorboard").iterdir())


def test_a_row_of_the_table_is_written_once_and_leaves_the_columns_open(tmp_path):
    made = board(tmp_path)
    made.finalize("success")
    made.log_table({"model": "UNet", "optimizer.lr": 0.25}, {"hp/dice": 0.75, "hp/iou": 0.5}, 9)
    found = events(tmp_path / "tensorboard")
    assert [(point.step, point.value) for point in found.Scalars("hp/dice")] == [(9, 0.75)]
    tags = {tag: content for run in [found.summary_metadata] for tag, content in run.items() if tag.startswith("_hparams_")}
    assert set(tags) == {metadata.SESSION_START_INFO_TAG, metadata.SESSION_END_INFO_TAG}  # no list of columns
    content = tags[metadata.SESSION_START_INFO_TAG].plugin_data.content
    row = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
    assert (row["model"].string_value, row["optimizer.lr"].number_value) == ("UNet", 0.25)


CONFIG = {
    "model": {"_target_": "segexp.models.UNet", "width": 8, "up": "bilinear"},
    "data": {"name": "liver", "root": "/somewhere", "image": "{id}.png", "classes": {"a": 0}, "crop": None, "size": [64, 96]},
    "augment": {"transforms": [{"name": "HorizontalFlip", "p": 0.5}, {"name": "Affine", "rotate": [-9, 9]}]},
    "loss": {
        "_target_": "segexp.losses.WeightedSum",
        "terms": {"ce": {"weight": 1.0, "loss": {"_target_": "a.b.CrossEntropy"}}},
    },
    "optimizer": {"_target_": "torch.optim.Adam", "_partial_": True, "lr": 1e-3},
    "trainer": {"compile": False, "minutes": None, "gpus": [0, 1]},
    "seed": 3,
    "callbacks": {"pictures": 4},
    "logger": {"tensorboard": True},
    "run_dir": "/runs/x",
    "resume": None,
    "study": "s",
    "tags": None,
}
CHOICES = (
    *("name", "size", "crop", "spacing", "repeat", "foreground_crops", "normalize", "batch_size", "split_seed"),
    *("val_fraction", "test_fraction", "allow_leakage", "background", "orientation", "exif", "nodata"),
)
"""Keys of the data section that every run chooses."""


def test_a_row_holds_the_choices_in_short():
    row = logged_settings(train_config(CONFIG))
    common = {key: value for key, value in row.items() if not key.startswith(("data.", "trainer."))}
    assert common == {
        "model": "UNet",
        "model.width": 8,
        "model.up": "bilinear",
        "augment": "HorizontalFlip, Affine",
        "loss": "WeightedSum",
        "loss.terms.ce.weight": 1.0,
        "loss.terms.ce.loss": "CrossEntropy",
        "optimizer": "Adam",
        "optimizer.lr": 1e-3,
        "scheduler": "Constant",
        "seed": 3,
    }
    data = {key.removeprefix("data."): value for key, value in row.items() if key.startswith("data.")}
    trainer = {key.removeprefix("trainer."): value for key, value in row.items() if key.startswith("trainer.")}
    assert set(data) == set(CHOICES) < set(DataConfig.model_fields)
    assert [data[key] for key in ("name", "crop", "size", "batch_size")] == ["liver", "none", "[64, 96]", 8]
    assert set(trainer) == set(TrainerConfig.model_fields)
    assert [trainer[key] for key in ("compile", "minutes", "gpus", "max_epochs")] == ["false", "none", "[0, 1]", 100]


def test_no_augmentation_is_a_choice_too():
    assert logged_settings(train_config({"augment": {"transforms": []}}))["augment"] == "none"


def test_flat_values_are_numbers_or_text():
    nested = {"a": {"b": {"c": 1}, "d": 0.5, "e": True}, "f": None, "g": [1, 2], "h": "word", "i": {}}
    assert flatten_as_text(nested) == {"a.b.c": 1, "a.d": 0.5, "a.e": "true", "f": "none", "g": "[1, 2]", "h": "word"}
    assert flatten_as_text({"x": 1}, "model.") == {"model.x": 1}


def further(config):
    """What stands in the row of a run besides what each has."""
    usual = logged_settings(train_config())
    return {key: value for key, value in logged_settings(train_config(config)).items() if usual.get(key) != value}


def test_folds_are_a_choice_where_there_are_some():
    assert further({"data": {"folds": None, "fold": None, "size": 64}}) == {"data.size": 64}
    assert further({"data": {"folds": 5, "fold": 0}}) == {"data.folds": 5, "data.fold": 0}


def test_mixing_and_unlabelled_images_are_choices_where_there_are_some():
    pseudo = {"teacher": None, "confidence": 0.9}
    assert further({"data": {"name": "a", "unlabeled": None, "pseudo": pseudo}}) == {"data.name": "a"}
    assert further({"data": {"unlabeled": "more", "pseudo": pseudo}, "mix": {"_target_": "a.b.CutMix", "p": 0.5}}) == {
        "data.unlabeled": "more",
        "data.pseudo.teacher": "none",
        "data.pseudo.confidence": 0.9,
        "data.pseudo.share": 0.5,
        "data.pseudo.trust": "none",
        "mix": "CutMix",
        "mix.p": 0.5,
    }


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """MLflow and Weights & Biases write into the environment; it is as before afterwards."""
    before = dict(os.environ)
    monkeypatch.setattr(loggers, "MLFLOW_STORE", None)
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
    assert loggers.mlflow_name(name) == kept


@pytest.mark.parametrize("package", ["mlflow", "wandb"])
def test_a_missing_package_is_named_with_the_way_to_get_it(monkeypatch, tmp_path, package):
    def absent(**_):
        raise ModuleNotFoundError("Requirement not met", name=None)

    monkeypatch.setattr(loggers, "MlflowLogger", absent)
    monkeypatch.setattr(loggers.pl.loggers, "WandbLogger", absent)
    with pytest.raises(ConfigError) as caught:
        getattr(loggers, package)({}, tmp_path)
    text = str(caught.value)
    assert f"logger={package}" in text
    assert "not installed" in text
    assert f"pip install 'segexp[{package}]'" in text
    assert caught.value.exit_code == 2


def asked(monkeypatch, name, given, directory):
    """The arguments with which the logger would be made."""
    seen = {}
    monkeypatch.setattr(loggers, "MlflowLogger", lambda **more: seen.update(more))
    monkeypatch.setattr(loggers.pl.loggers, "WandbLogger", lambda **more: seen.update(more) or SimpleNamespace(_wandb_init={}))
    getattr(loggers, name)(given, directory)
    return seen


def test_mlflow_writes_below_the_run_directory_unless_told_otherwise(monkeypatch, tmp_path):
    run = tmp_path / "model-unet"
    assert asked(monkeypatch, "mlflow", {}, run) == {"tracking_uri": (run / "mlflow").as_uri(), "run_name": "model-unet"}
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    monkeypatch.setattr(loggers, "MLFLOW_STORE", "http://server")
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
    loggers.close_wandb()
    assert ended == [1]
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(run=None, finish=lambda: ended.append(2)))
    loggers.close_wandb()
    monkeypatch.delitem(sys.modules, "wandb")
    loggers.close_wandb()
    assert ended == [1]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of a package that need not be installed
def test_two_runs_in_mlflow_each_in_its_own_store(tmp_path, capfd):
    pytest.importorskip("mlflow", reason="MLflow is not installed: pip install 'segexp[mlflow]'")
    for name, dice in (("first", 0.25), ("second", 0.5)):
        logger = loggers.mlflow({"experiment_name": "liver"}, tmp_path / name)
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
        logger = loggers.wandb({"project": "segexp"}, tmp_path / name)
        logger.log_metrics({"val/dice": 0.5}, 1)
        logger.log_hyperparams({"model": "UNet"})
        assert logger.experiment.name == name
        loggers.close_wandb()
        assert len(list((tmp_path / name / "wandb").glob("offline-run-*/*.wandb"))) == 1
    assert "".join(capfd.readouterr()) == ""


SPEC = DataSpec("liver", ("background", "liver"), 1, ((0, 0, 0), (255, 0, 0)))


@pytest.fixture
def closed(monkeypatch):
    """The trackers, replaced: what was asked of them."""
    asked = []
    fakes = {
        name: lambda given, directory, name=name: asked.append((name, given, directory)) or name for name in ("mlflow", "wandb")
    }
    fakes["close_wandb"] = lambda: asked.append("closed")
    for name, fake in fakes.items():
        monkeypatch.setattr(loggers, name, fake)
    return asked


@pytest.mark.parametrize("chosen", [{}, {"csv": True}, {"csv": False}, {"tensorboard": False}])
def test_csv_is_always_written(tmp_path, chosen):
    (only,) = make_loggers(LoggerConfig(**chosen), tmp_path, SPEC)
    only.log_metrics({"loss/train": 0.5}, 1)
    only.save()
    assert (tmp_path / "csv" / "metrics.csv").read_text().split() == ["loss/train,step", "0.5,1"]


def test_each_switch_makes_its_logger(tmp_path, closed):
    mlflow = {"experiment_name": "a", "tracking_uri": None}
    made = make_loggers(LoggerConfig(tensorboard=True, mlflow=mlflow, wandb=True), tmp_path, SPEC)
    made[1].finalize("success")
    assert [type(made[0]), type(made[1]), *made[2:]] == [pl.loggers.CSVLogger, BoardLogger, "mlflow", "wandb"]
    assert closed == [("mlflow", {"experiment_name": "a"}, tmp_path), ("wandb", {}, tmp_path)]
    assert made[1].log_dir.rstrip("/") == str(tmp_path / "tensorboard")


def test_curves_of_before_a_resume_are_kept(tmp_path):
    silence_libraries()  # Lightning warns that it deletes them
    for n in range(3):
        (logger,) = make_loggers(LoggerConfig(), tmp_path, SPEC)
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
    made, tracker, tables = make_loggers(LoggerConfig(tensorboard=True), tmp_path, SPEC), Noted(), []
    monkeypatch.setattr(BoardLogger, "log_table", lambda self, *told: tables.append(told))
    made[1].finalize("success")
    scores = {"val/dice": 0.75, "val/iou": 0.6, "val/accuracy": 0.9, "test/dice": 0.5, "test/iou": math.nan}
    config = train_config({"seed": 3, "logger": {"csv": True}})
    log_outcome([*made, tracker], config, scores, 12)
    final = {"hp/dice": 0.75, "hp/iou": 0.6, "hp/test_dice": 0.5}
    row = logged_settings(config)
    assert row["seed"] == 3
    assert not any(key.startswith("logger") for key in row)
    assert tables == [(row, final, 12)]
    assert tracker.told == [row, (final, 12)]
    assert closed == ["closed"]
    assert not (tmp_path / "csv" / "hparams.yaml").exists()


def test_a_score_that_is_not_there_is_left_out(closed):
    tracker = Noted()
    log_outcome([tracker], train_config(), {"test/iou": 0.25}, 1)
    assert tracker.told[1] == ({"hp/test_iou": 0.25}, 1)
