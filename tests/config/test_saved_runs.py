"""What Hydra kept of a run, and the defaults that it is compared with."""

from pathlib import Path

import pytest
import yaml

from segexp.config.overrides import CommandLine
from segexp.config.saved_runs import (
    LARGEST,
    as_yaml,
    check_run,
    config_of_choices,
    foreign_interpolation,
    load_yaml,
    read_saved_config,
    read_saved_run,
    read_yaml,
    resolve_own,
    study_command,
    study_overrides,
)
from segexp.errors import CheckpointError


@pytest.fixture
def kept(tmp_path):
    """Write .hydra/ files; returns the run directory."""

    def kept(**files):
        (tmp_path / ".hydra").mkdir()
        for name, content in files.items():
            text = content if isinstance(content, str) else yaml.safe_dump(content)
            (tmp_path / ".hydra" / f"{name}.yaml").write_text(text)
        return tmp_path

    return kept


def runtime(**values):
    return {"hydra": {"runtime": values, "job": {"id": "???", "name": "${hydra.job.id}"}}}


def test_what_was_typed_chosen_and_from_where(kept):
    sources = [
        {"path": "hydra.conf", "schema": "pkg", "provider": "hydra"},
        {"path": "/site/segexp/conf", "schema": "file", "provider": "main"},
        {"path": "/home/me/conf", "schema": "file", "provider": "command-line"},
    ]
    choices = {"model": "tiny", "experiment": None, "hydra/launcher": "basic"}
    found = read_saved_run(
        kept(overrides=["model=tiny", "seed=1"], hydra=runtime(choices=choices, config_sources=sources, cwd="/home/me"))
    )
    assert found.overrides == ("model=tiny", "seed=1")
    assert found.choices == {"model": "tiny"}
    assert found.folders == (Path("/home/me/conf"),)
    assert found.cwd == "/home/me"


def test_what_is_missing_is_empty(kept, tmp_path):
    assert read_saved_run(tmp_path) is None
    found = read_saved_run(kept(overrides=["seed=1"], hydra="[broken"))
    assert found == type(found)(("seed=1",), {}, (), "")


def test_broken_overrides_are_none(kept):
    assert read_saved_run(kept(overrides="a: [")) is None


def test_words_of_a_study(tmp_path):
    assert study_overrides(tmp_path) == ()
    (tmp_path / "multirun.yaml").write_text(yaml.safe_dump({"hydra": {"overrides": {"task": ["seed=1,2"]}}}))
    assert study_overrides(tmp_path) == ("seed=1,2",)


def test_the_command_that_goes_on_with_a_study(tmp_path):
    study = tmp_path / "runs" / "studies" / "mine"
    assert study_command(study) == ("", "")
    (study / "job" / ".hydra").mkdir(parents=True)
    (study / "multirun.yaml").write_text(yaml.safe_dump({"hydra": {"overrides": {"task": ["seed=1,2", "study=mine"]}}}))
    assert study_command(study) == (f"python -m segexp.train -m seed=1,2 study=mine hydra.sweep.dir={study}", "")
    sources = [{"path": "/my conf", "schema": "file", "provider": "command-line"}]
    for name, content in (("overrides", []), ("hydra", runtime(cwd=str(tmp_path), config_sources=sources))):
        (study / "job" / ".hydra" / f"{name}.yaml").write_text(yaml.safe_dump(content))
    own = "python -m segexp.train -m '--config-dir=/my conf' seed=1,2 study=mine"
    assert study_command(study) == (own, str(tmp_path))
    assert study_command(study, lambda word: word.replace("1,2", "range(3)")) == (
        own.replace("seed=1,2", "'seed=range(3)'"),
        str(tmp_path),
    )
    moved = study.rename(tmp_path / "mine")
    assert study_command(moved)[0] == f"{own} hydra.sweep.dir={moved}"
    assert study_command(moved.rename(tmp_path / "a, b"))[0] == f"{own} 'hydra.sweep.dir=\"{tmp_path / 'a, b'}\"'"


def test_defaults_are_those_of_the_chosen_options():
    found = config_of_choices({"model": "unetpp", "optimizer": "sgd", "experiment": "liver"})
    assert found["model"]["_target_"] == "segexp.models.UNetPlusPlus"
    assert found["optimizer"]["_target_"] == "torch.optim.SGD"
    assert found["data"]["name"] == "demo", "an experiment is left out"


def test_options_of_the_user_are_found(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "tiny.yaml").write_text("_target_: my_nets.Tiny\nwidth: 8\n")
    assert config_of_choices({"model": "tiny"}, [tmp_path])["model"]["width"] == 8
    assert config_of_choices({"model": "tiny"}) is None


def test_composing_leaves_a_running_hydra_alone():
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    from segexp.config.composition import conf_dir, suspend_hydra

    with initialize_config_dir(version_base="1.3", config_dir=str(conf_dir())):
        running = GlobalHydra.instance().hydra
        assert config_of_choices({"model": "unet"})["model"]["_target_"] == "segexp.models.UNet"
        assert GlobalHydra.instance().hydra is running
        with pytest.raises(RuntimeError), suspend_hydra():
            raise RuntimeError
        assert GlobalHydra.instance().hydra is running
    assert not GlobalHydra.instance().is_initialized()


def test_the_composed_configuration_has_its_references_resolved(kept):
    assert read_saved_config(kept(config="a: 1\nb: ${a}\nc: {x: 0, y: 1}\nd: ${segexp.count:${c}}\n"))["d"] == 2


def test_a_configuration_that_cannot_be_read_is_empty(kept, tmp_path):
    assert read_saved_config(tmp_path) == {}
    assert read_saved_config(kept(config="a: ${gone}\n")) == {}


def test_yaml_is_plain():
    assert as_yaml({"a": [1, None], "b": {"c": "x"}}) == "a:\n- 1\n- null\nb:\n  c: x\n"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a ${data.channels} b", ""),
        ("${.name}[${x[0]}]", ""),
        ("${segexp.count:${data.classes}}", ""),
        ("${oc.env:HOME}", "${oc.env:HOME}"),
        ("x ${ oc.env : HOME}", "${ oc.env : HOME}"),
        ("${segexp.first:${oc.env:HOME}}", "${oc.env:HOME}"),
        ("${${name}.env:HOME}", "${${name}"),
        ("no ${", "${}"),
    ],
)
def test_an_interpolation_that_reaches_outside(text, found):
    assert foreign_interpolation(text) == found


def test_only_references_to_other_keys_are_resolved(monkeypatch):
    monkeypatch.setenv("SECRET", "s3cr3t")
    texts = ["${oc.env:SECRET}", r"\${oc.env:SECRET}", "${segexp.first:${oc.env:SECRET}}", "${oc.decode:'${oc.env:SECRET}'}"]
    found = resolve_own({"a": 3, "b": "${a}", "c": [*texts, {"d": "${segexp.count:${e}}"}], "e": {"x": 1, "y": 2}})
    assert found == {"a": 3, "b": 3, "c": [*texts, {"d": 2}], "e": {"x": 1, "y": 2}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("!!python/object/apply:os.system ['true']", "could not determine a constructor"),
        ("a: &a [x]\nb: [*a, *a]", "repeats parts of itself"),
        ("- " + "x" * LARGEST, "larger than 1 MiB"),
        ("[" * 9000, "recursion"),
        ("a: [", "expected"),
    ],
)
def test_yaml_of_a_stranger(tmp_path, text, message):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        load_yaml(tmp_path / "config.yaml")
    assert read_yaml(tmp_path / "config.yaml") is None


def test_yaml_with_a_star_in_a_text(tmp_path):
    (tmp_path / "config.yaml").write_text('image: "*.png"\nmask: "{id}_*x.png"\n')
    assert load_yaml(tmp_path / "config.yaml") == {"image": "*.png", "mask": "{id}_*x.png"}


def resumed(*words, conf=None):
    """The command that resumes a run with these overrides."""
    return CommandLine(["data=liver", "data.root=x", *words, "hydra.run.dir=run"], config_dir=conf).expanded()


def test_a_run_of_known_components_is_resumed():
    check_run(resumed("optimizer=sgd", "loss=cldice", "mix=cutmix", "metrics=membrane", "logger.tensorboard=true"), "RUN", [])


@pytest.mark.parametrize(
    ("words", "message", "allowed"),
    [
        (["loss._target_=torch.load"], r"RUN asks to run torch\.load \(loss\._target_\)", False),
        (["+callbacks.mine={_target_: os.system}"], r"RUN asks to run os\.system \(callbacks\.mine\._target_\)", False),
        (["data.root=${oc.env:HOME}"], r"RUN sets data\.root to \$\{oc\.env:HOME\}, .* trust=true", True),
        (["++logger.mlflow={tracking_uri: 'http://x'}"], r"RUN sets logger\.mlflow\.tracking_uri to http://x", True),
        (["augment.transforms=[{name: evil.Net}]"], r"RUN asks to run evil\.Net .* 'trust=\[evil\]", True),
    ],
)
def test_a_run_that_reaches_further_is_not(words, message, allowed):
    with pytest.raises(CheckpointError, match=message):
        check_run(resumed(*words), "RUN", [])
    if allowed:
        check_run(resumed(*words), "RUN", True)


def test_options_from_the_folder_of_a_run(tmp_path):
    (tmp_path / "loss").mkdir()
    (tmp_path / "loss" / "mine.yaml").write_text("_target_: my_losses_of_nobody.Plain\n")
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil" / "cb.yaml").write_text("# @package hydra.callbacks\nmine: {_target_: os.system}\n")
    with pytest.raises(CheckpointError, match=r"my_losses_of_nobody is not found.* 'trust=\[my_losses_of_nobody\]"):
        check_run(resumed("loss=mine", conf=tmp_path), "RUN", [])
    with pytest.raises(CheckpointError, match=r"RUN sets hydra\.callbacks, which reaches beyond the run"):
        check_run(resumed("+evil=cb", conf=tmp_path), "RUN", ["os"])
