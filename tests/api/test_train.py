"""`segexp.train`: what is found out and refused before anything is trained."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from segexp.api.train import resolve_data, train
from segexp.config.naming import AUTO_VALUES
from segexp.config.schema import TrainConfig
from segexp.errors import ConfigError, DataError, DeviceError
from segexp.locking import LockedError, folder_lock


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[TrainConfig]:
    """The configurations that training is asked to run; nothing is trained."""
    configs: list[TrainConfig] = []

    def run(config: TrainConfig, directory: Path) -> dict[str, float]:
        configs.append(config)
        return {}

    monkeypatch.setitem(sys.modules, "segexp.training.run", SimpleNamespace(run=run))
    return configs


def keys(folder: Path, **more: Any) -> dict[str, Any]:
    """What a training on the CPU is asked for with, whose run lies in a folder."""
    return {"run_dir": folder / "run", "trainer": {"gpus": 0}, **more}


def test_facts_about_the_data_reach_the_network(
    given: list[TrainConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {"image": "{id}.png", "mask": "{id}_mask.png", "classes": {"a": 0, "b": 1, "c": 2}, "channels": 3}
    monkeypatch.setattr("segexp.data.autoconfig.complete_keys", lambda data: (found, f"looked at {data.root}"))
    train(tmp_path / "here", **keys(tmp_path, loss="ce"))
    (config,) = given
    assert (config.model.arguments["in_channels"], config.model.arguments["num_classes"]) == (3, 3)
    assert config.data.classes == {"a": 0, "b": 1, "c": 2}
    assert (config.data.image, config.data.mask, config.data.channels) == ("{id}.png", "{id}_mask.png", 3)
    assert capsys.readouterr().out == f"looked at {tmp_path / 'here'}\n"


def test_facts_about_the_data_reach_whatever_refers_to_them(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"image": "{id}.png", "mask": "{id}_mask.png", "classes": {"a": 0, "b": 1, "c": 2}, "channels": 3}
    monkeypatch.setattr("segexp.data.autoconfig.complete_keys", lambda data: (found, f"looked at {data.root}"))
    composed = OmegaConf.create(
        {
            "data": {
                "name": "d",
                "root": "here",
                "classes": None,
                "channels": None,
                "num_classes": "${segexp.count:${data.classes}}",
            },
            "model": {"in_channels": "${data.channels}", "num_classes": "${data.num_classes}"},
        }
    )
    OmegaConf.set_struct(composed, True)
    values, sentence = resolve_data(SimpleNamespace(config=composed))
    assert values["model"] == {"in_channels": 3, "num_classes": 3}
    assert values["data"]["classes"] == {"a": 0, "b": 1, "c": 2}
    assert sentence == "looked at here"


def test_a_wrong_data_key_is_reported_before_the_data_are_read(given: list[TrainConfig], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.root is 3 \(a whole number\); expected text"):
        train("auto", **keys(tmp_path, overrides=["data.root=3"]))
    assert given == []
    assert not (tmp_path / "run").exists(), "a directory in which nothing lies is taken away again"


def test_a_missing_data_folder_is_a_data_error(given: list[TrainConfig], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        train(tmp_path / "nowhere", **keys(tmp_path))
    assert given == []
    assert not (tmp_path / "run").exists()


def test_more_gpus_than_there_are_is_a_device_error(
    given: list[TrainConfig], slices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(DeviceError, match=r"trainer\.gpus=2 asks for 2 GPUs"):
        train(slices, **keys(tmp_path, trainer={"gpus": 2}))
    assert given == []
    assert not (tmp_path / "run").exists()


def test_a_directory_in_use_is_refused_before_its_settings_are_replaced(
    given: list[TrainConfig], slices: Path, tmp_path: Path
) -> None:
    train(slices, **keys(tmp_path, seed=1))
    with folder_lock(tmp_path / "run", "run directory"), pytest.raises(LockedError) as caught:
        train(slices, **keys(tmp_path, seed=2))
    assert str(caught.value).startswith(f"The run directory {tmp_path / 'run'} is in use by process ")
    assert str(caught.value).endswith("a new run needs a directory of its own: run_dir=OTHER.")
    assert OmegaConf.load(tmp_path / "run" / ".hydra" / "config.yaml").seed == 1
    assert [config.seed for config in given] == [1]


@pytest.mark.parametrize(
    ("file", "held"),
    [
        ("checkpoints/last.ckpt", "a run"),
        ("teacher/checkpoints/last.ckpt", "a run"),
        ("checkpoints/best.ckpt", "a trained network"),
        ("multirun.yaml", "a study"),
        ("metrics.json", "scores"),
    ],
)
def test_a_new_run_does_not_mix_its_files_with_others(
    given: list[TrainConfig], slices: Path, tmp_path: Path, file: str, held: str
) -> None:
    (tmp_path / "run" / file).parent.mkdir(parents=True)
    (tmp_path / "run" / file).touch()
    with pytest.raises(ConfigError, match=f"run_dir=.*run already holds {held}. A new run needs a directory of its own"):
        train(slices, **keys(tmp_path))
    assert given == []
    assert not (tmp_path / "run" / ".hydra").exists()


def test_what_tuning_found_for_a_run_that_never_began_is_forgotten(
    given: list[TrainConfig], slices: Path, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / AUTO_VALUES).write_text('{"optimizer.lr": 3.0}')
    train(slices, **keys(tmp_path))
    assert not (tmp_path / "run" / AUTO_VALUES).exists()


@pytest.mark.slow
def test_a_run_is_trained_and_gone_on_with(small: list[str], tmp_path: Path) -> None:
    asked: dict[str, Any] = {"overrides": small, "run_dir": tmp_path / "run", "trainer": {"max_epochs": 1}}
    run = train(**asked)
    assert (run.directory, run.finished, run.metrics["epochs"]) == (tmp_path / "run", True, 1)
    assert 0 <= run.scores["val/dice"] <= 1
    assert (run.config.data.batch_size, run.config.trainer.max_epochs) == (2, 1)
    saved = OmegaConf.load(tmp_path / "run" / ".hydra" / "hydra.yaml").hydra
    assert (saved.runtime.output_dir, saved.runtime.choices.model) == (str(tmp_path / "run"), "unet")
    with pytest.raises(ConfigError, match="already holds a run"):
        train(**asked)
    assert run.resume(trainer={"max_epochs": 2}).metrics["epochs"] == 2


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"data": 3}, "data is 3 (a whole number); expected the name of an option, or a mapping of keys."),
        ({"model": 3}, "model is 3 (a whole number); expected the name of an option, or a mapping of keys."),
        ({"overrides": "model=unet"}, "overrides is 'model=unet'. A list of text was expected. Type overrides=['model=unet']."),
        ({"seed": 1.5}, "seed is 1.5 (a number); expected a whole number, 0 or more."),
        (
            {"trainer": {"max_epochs": "ten"}},
            "trainer.max_epochs is 'ten' (text); expected a whole number, 1 or more, or null.",
        ),
        ({"epochs": 3}, "It is called trainer.max_epochs. Type trainer.max_epochs=3."),
        ({"trainer": {"lr": 3}}, "It is called optimizer.lr. Type optimizer.lr=3."),
        ({"trainer": {"profiler": "simple"}}, "Type +trainer.profiler=simple."),
        ({"model": "unt"}, "model=unt does not exist. Did you mean unet,"),
        ({"data": {"size": 64}}, "No data are named."),
    ],
)
def test_a_wrong_argument_is_the_sentence_of_the_command_line(
    arguments: dict[str, Any], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        train(**{"data": "demo", **arguments})
    assert sentence in str(caught.value)
    files = [Path(frame.path).name for frame in caught.traceback]
    assert files == ["test_train.py", "calls.py"], "the frames of the user, and the one that raises"
    assert caught.value.__cause__ is None
    assert [path for path in (tmp_path / "runs").rglob("*") if path.is_file()] == []


def test_the_data_are_a_folder_an_option_or_keys(given: list[TrainConfig], tmp_path: Path) -> None:
    own = tmp_path / "conf" / "data"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text("defaults: [demo, _self_]\nname: mine\n")
    sized = {"size": 64, "root": str(tmp_path / "demo")}
    train("demo", **keys(tmp_path / "a", data=sized))
    train(**keys(tmp_path / "b", data="demo"), overrides=[f"data.root={tmp_path / 'demo'}", "data.size=64"])
    train("mine", **keys(tmp_path / "c", data=sized), config_dir=tmp_path / "conf")
    assert [config.data.size for config in given] == [64, 64, 64]
    assert [config.data.name for config in given] == ["demo", "demo", "mine"]
    with pytest.raises(ConfigError, match="data='demo' is given besides 'liver'"):
        train("liver", **keys(tmp_path / "d", data="demo"))
    with pytest.raises(
        ConfigError, match=r"data is 3 \(a whole number\). A folder or an option of the group data was expected"
    ):
        train(3, **keys(tmp_path / "e"))  # type: ignore[arg-type]
