"""Every file in conf/ composes, resolves and passes the validation; the files are found by globbing."""

from collections import Counter
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from segexp.config.composition import compose, defaults_of, to_plain
from segexp.config.schema import COMMANDS, TrainConfig
from segexp.config.validation import validate

CONF = Path(__file__).resolve().parents[2] / "conf"
FILES = sorted(CONF.rglob("*.yaml"))
OPTIONS = [f for f in FILES if f.parent.parent == CONF and f.parent.name != "hydra" and not f.name.startswith("_")]
OPEN = {"root": "somewhere", "classes": "{background: 0, thing: 255}", "channels": "1"}
"""What a data option may leave to be found out, given here so that no data are read."""


def composed(*overrides, main="train"):
    named = main not in ("train", "check") or any(word.startswith(("data=", "experiment=")) for word in overrides)
    return compose(main, overrides if named else ["data=demo", *overrides])


def filled(*overrides):
    """A composed training configuration with the open facts about its data filled in."""
    config = composed(*overrides)
    for key, value in OPEN.items():
        if OmegaConf.is_missing(config.data, key) or config.data[key] is None:
            OmegaConf.update(config, f"data.{key}", OmegaConf.create(f"x: {value}").x)
    if "distill" in config and OmegaConf.is_missing(config.distill, "teacher"):
        config.distill.teacher = "somewhere"
    return to_plain(config)


def name_of(file):
    return f"{file.parent.name}={file.stem}"


@pytest.mark.parametrize("file", OPTIONS, ids=name_of)
def test_option_composes_and_validates(file, monkeypatch):
    monkeypatch.setattr("segexp.config.validation.find_spec", lambda _: object())  # optional loggers need not be installed
    values = filled(name_of(file))
    assert validate(values).plain().keys() == TrainConfig.model_fields.keys()
    if file.parent.name in ("distill", "mix"):
        assert (file.parent.name in values) == (file.stem != "none"), "what is off leaves the settings of a run as they were"
    elif file.parent.name not in ("data", "experiment"):
        assert values[file.parent.name] is not None


def test_the_glob_found_all():
    groups = {path.name for path in CONF.iterdir() if path.is_dir()} - {"hydra"}
    assert {f.parent.name for f in OPTIONS} == groups
    count = Counter(f.parent.name for f in OPTIONS)
    assert all(
        count[g] >= n for g, n in {"model": 3, "data": 8, "loss": 7, "optimizer": 4, "scheduler": 6, "experiment": 4}.items()
    )
    mains = [f for f in FILES if f.parent == CONF]
    hidden = [f for f in FILES if f.name.startswith("_") or "hydra" in f.relative_to(CONF).parts]
    assert len(OPTIONS) + len(mains) + len(hidden) == len(FILES)


@pytest.mark.parametrize("file", [f for f in FILES if f.parent == CONF], ids=lambda f: f.stem)
def test_main_configurations_compose(file):
    empty = {"distill", "mix"}
    assert set(COMMANDS[file.stem].model_fields) - empty <= set(composed(main=file.stem))


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(CONF)))
def test_files_are_short(file):
    assert len(file.read_text(encoding="utf-8").splitlines()) <= 27


def test_the_command_line_wins_over_the_experiment_and_that_over_the_groups(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /model: unetpp\n\n"
        "seed: 7\ntrainer:\n  max_epochs: 9\ndata:\n  batch_size: 3\n"
    )
    base = ["experiment=mine", "data=demo", f"hydra.searchpath=[file://{tmp_path}]"]
    config = composed(*base, "data.batch_size=5")
    assert config.model._target_.endswith("UNetPlusPlus")
    assert (config.seed, config.trainer.max_epochs, config.data.batch_size) == (7, 9, 5)
    assert composed(*base, "model=unet").model._target_.endswith("UNet")


def test_facts_about_the_data_are_said_once():
    values = filled("data.channels=4", "data.classes={a: 0, b: 1, c: 2}")
    assert values["data"]["num_classes"] == 3
    assert (values["model"]["in_channels"], values["model"]["num_classes"]) == (4, 3)


def test_several_loggers_at_once():
    assert set(composed("logger=[tensorboard,mlflow]").logger) == {"tensorboard", "mlflow"}


def test_debug_is_small_and_otherwise_the_default():
    debug, default = composed("trainer=debug").trainer, composed().trainer
    assert set(debug) == set(default)
    assert (debug.max_epochs, debug.limit_train_batches, debug.limit_val_batches) == (2, 2, 2)


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - {"train", "check"}))
def test_a_main_configuration_holds_the_keys_of_its_model_with_their_defaults(command):
    assert OmegaConf.to_container(composed(main=command)) == defaults_of(COMMANDS[command])
