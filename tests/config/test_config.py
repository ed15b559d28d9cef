"""Where conf/ is, plain values, and the validation of a whole configuration."""

import shutil
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from segexp import config
from segexp.api.configuration import completed
from segexp.errors import ConfigError, DataError, DeviceError


def sound():
    """A configuration without a fault, as `plain` returns it."""
    return {
        "seed": 0,
        "resume": None,
        "data": {"name": "liver", "root": "x", "classes": {"background": 0, "liver": 255}, "channels": 1, "num_classes": 2},
        "model": {"_target_": "segexp.models.UNet", "in_channels": 1, "num_classes": 2},
        "loss": {"_target_": "segexp.losses.CrossEntropy", "class_weights": None},
        "optimizer": {"_target_": "torch.optim.AdamW", "lr": 1e-3},
        "scheduler": {"_target_": "segexp.optim.Poly", "warmup": 0.1},
        "trainer": {"gpus": 0, "batch_size": 4, "max_epochs": 3},
        "callbacks": {"pictures": 2},
        "logger": {"tensorboard": True},
        "metrics": {"boundary": {"_target_": "segexp.metrics.boundary.Boundary", "tolerance": 3}},
    }


def changed(**changes):
    """The sound configuration with `section__key=value` put in."""
    values = sound()
    for name, value in changes.items():
        *sections, key = name.split("__")
        node = values
        for section in sections:
            node = node[section]
        node[key] = value
    return values


def message(values):
    with pytest.raises(ConfigError) as caught:
        config.validate(values)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_conf_is_found_in_the_repository(conf):
    assert config.conf_dir() == conf


def test_conf_inside_the_package_comes_first_and_a_missing_one_is_an_error(tmp_path, monkeypatch, conf):
    package = tmp_path / "site" / "segexp"
    package.mkdir(parents=True)
    monkeypatch.setattr(config, "__file__", str(package / "config" / "__init__.py"))
    with pytest.raises(ConfigError, match=r"looked for conf/train\.yaml in .*site"):
        config.conf_dir()
    shutil.copytree(conf, package / "conf")
    assert config.conf_dir() == package / "conf"


def test_plain_resolves_everything():
    composed = OmegaConf.create(
        {
            "data": {"classes": {"a": 0, "b": 1, "c": 2}, "none": None, "n": "${segexp.count:${data.classes}}"},
            "unknown": "${segexp.count:${data.none}}",
            "list": [1, {"x": "${data.n}"}],
            "first": "${segexp.first:${data.none},here}",
        }
    )
    values = config.plain(composed)
    assert values["data"]["n"] == 3
    assert values["unknown"] is None
    assert values["list"] == [1, {"x": 3}]
    assert values["first"] == "here"
    assert type(values["data"]) is dict
    assert type(values["list"]) is list


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        ({"data": {"root": "???"}}, "data.root has no value. It has no default. Type data.root=…."),
        ({"a": "${data.root}", "data": {"root": "???"}}, "has no value"),
        ({"a": "${data.nothing}", "data": {}}, "a cannot be resolved: Interpolation key 'data.nothing' not found"),
    ],
)
def test_what_cannot_be_resolved_names_the_key(node, expected):
    with pytest.raises(ConfigError) as caught:
        config.plain(OmegaConf.create(node))
    assert expected in str(caught.value)


def test_a_sound_configuration_passes():
    config.validate(sound())


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"trainer__max_epoch": 3}, "trainer.max_epoch is not a key of trainer. Did you mean max_epochs?"),
        ({"sed": 3}, "sed is not a key of the configuration. Did you mean seed"),
        ({"trainer__batch_size": 0}, "trainer.batch_size is 0 (a whole number); expected auto or a whole number, 1 or more."),
        ({"trainer__batch_size": 2.5}, "trainer.batch_size is 2.5 (a number); expected auto or a whole number, 1 or more."),
        ({"trainer__precision": "fp8"}, "expected auto | 32 | bf16-mixed | 16-mixed."),
        ({"trainer__gpus": "all"}, "trainer.gpus is 'all' (text); expected auto or a whole number, 0 or more or a list"),
        ({"trainer__ema": 1}, "trainer.ema is 1 (a whole number); expected a number, strictly between 0 and 1 or null."),
        ({"trainer__minutes": -1}, "expected a number, above 0 or null."),
        ({"data__crop": [1, 2, 3]}, "data.crop is [1, 2, 3] (a list); expected a whole number, 1 or more or a list of 2"),
        ({"data__val_fraction": 1.5}, "expected a number, between 0 and 1 or null."),
        ({"data__cache": "disc"}, "expected auto | ram | disk | none."),
        ({"callbacks__pictures": -1}, "callbacks.pictures is -1"),
        ({"logger__tensorbord": True}, "logger.tensorbord is not a key of logger. Did you mean tensorboard"),
        ({"optimizer__lr": "fast"}, "optimizer.lr is 'fast' (text); expected a number"),
        ({"optimizer__momentom": 1}, "optimizer.momentom is not an argument of torch.optim.AdamW."),
        ({"model__width": "wide"}, "model.width is 'wide' (text); expected a whole number."),
        ({"model___target_": "segexp.models.Unet"}, "model: _target_ 'segexp.models.Unet' does not exist"),
        ({"loss__class_weights": [1.0, 2.0, 3.0]}, "loss.class_weights has 3 entries, but data liver has 2 classes."),
        ({"trainer__max_epochs": None}, "are both null, so training would never end. Type trainer.max_epochs=100."),
        ({"data__classes": None}, "data.classes is null. Name each class"),
        ({"metrics__boundary__tolerance": "wide"}, "metrics.boundary.tolerance is 'wide' (text); expected a number."),
        ({"metrics__boundary__bend": 1}, "metrics.boundary.bend is not an argument of segexp.metrics.boundary.Boundary."),
        (
            {"metrics__hd95": {"tolerance": 1}},
            "metrics.hd95 is {'tolerance': 1}, which is no measure. Leave it out ('~metrics.hd95')",
        ),
        (
            {"augment": {"_target_": "torch.nn.Identity"}},
            "augment._target_ names a class, and augment is not built from one. A transform of your own is named in its list: ",
        ),
        ({"metrics__boundary": None}, "metrics.boundary is None, which is no measure."),
        ({"data__channels": None}, "data.channels is null. Type data.channels=1 for gray"),
    ],
)
def test_one_problem_is_one_sentence_with_the_key(changes, expected):
    text = message(changed(**changes))
    assert expected in text
    assert "\n" not in text


def test_all_problems_come_in_one_numbered_message():
    text = message(changed(trainer__batch_size=0, model__width="x", optimizer__lr=None))
    lines = text.splitlines()
    assert lines[0] == "The configuration has 3 problems:"
    assert [line.split()[:2] for line in lines[1:]] == [
        ["1.", "model.width"],
        ["2.", "optimizer.lr"],
        ["3.", "trainer.batch_size"],
    ]


def test_a_time_budget_may_stand_alone():
    config.validate(changed(trainer__max_epochs=None, trainer__minutes=0.5))


def test_a_missing_required_key_is_named():
    values = sound()
    del values["data"]["root"]
    assert message(values) == "data.root is missing; expected text. Add it to the file of the group."


def test_a_logger_that_is_not_installed_says_what_to_install(monkeypatch):
    monkeypatch.setattr(config, "find_spec", lambda name: None)
    text = message(changed(logger__wandb={"project": "p"}))
    assert text == "logger=wandb needs the package wandb, which is not installed. Type: pip install 'segexp[wandb]'."
    monkeypatch.setattr(config, "find_spec", lambda name: object())
    config.validate(changed(logger__wandb={"project": "p"}))


def test_heat_maps_without_captum_say_what_to_install(monkeypatch):
    monkeypatch.setattr(config, "find_spec", lambda name: None)
    text = message(changed(callbacks__explain=4))
    assert text == "callbacks.explain=4 needs Captum, which is not installed. Type: pip install 'segexp[explain]'."
    config.validate(changed(callbacks__explain=0))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"callbacks__explain_target": "livr"},
            "callbacks.explain_target=livr is of no use without heat maps. Type callbacks=",
        ),
        (
            {"callbacks__explain": 2, "callbacks__explain_target": "livr"},
            "callbacks.explain_target=livr is no class with a score of its own. Did you mean liver?",
        ),
        (
            {"callbacks__explain": 2, "callbacks__explain_target": 2},
            "callbacks.explain_target=2 is no class with a score of its own. Known names: background, liver.",
        ),
        (
            {"callbacks__explain": 2, "callbacks__explain_target": 0, "data__labels": "overlapping"},
            "callbacks.explain_target=0 is no class with a score of its own. Known names: liver.",
        ),
    ],
)
def test_a_class_that_cannot_be_explained(monkeypatch, changes, expected):
    monkeypatch.setattr(config, "find_spec", lambda name: object())
    assert expected in message(changed(**changes))


@pytest.mark.parametrize("target", [None, "liver", 1, "0"])
def test_a_class_that_can_be_explained(monkeypatch, target):
    monkeypatch.setattr(config, "find_spec", lambda name: object())
    config.validate(changed(callbacks__explain=2, callbacks__explain_target=target))


def test_more_gpus_than_there_are_is_a_device_error(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(DeviceError, match=r"trainer\.gpus=2 asks for 2 GPUs"):
        config.validate(changed(trainer__gpus=2))


def test_facts_about_the_data_reach_the_network(monkeypatch):
    found = {"image": "{id}.png", "mask": "{id}_mask.png", "classes": {"a": 0, "b": 1, "c": 2}, "channels": 3}
    monkeypatch.setattr("segexp.data.autoconfig.complete", lambda data: (found, f"looked at {data['root']}"))
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
    values, sentence = completed(composed)
    assert values["model"] == {"in_channels": 3, "num_classes": 3}
    assert values["data"]["classes"] == {"a": 0, "b": 1, "c": 2}
    assert sentence == "looked at here"


def test_a_wrong_data_key_is_reported_before_the_data_are_read():
    composed = OmegaConf.create({"data": {"name": "d", "root": 3, "image": None}})
    with pytest.raises(ConfigError, match=r"data\.root is 3 \(a whole number\); expected text"):
        completed(composed)


def test_a_missing_data_folder_is_a_data_error(tmp_path):
    composed = OmegaConf.create({"data": {"name": "d", "root": str(tmp_path / "nowhere"), "image": None}})
    with pytest.raises(DataError, match="nowhere"):
        completed(composed)


def test_resolvers_may_be_registered_again():
    config.register_resolvers()
    config.register_resolvers()
    assert OmegaConf.create({"a": "${segexp.slug:x/y}"}).a.startswith("x_y-")
    assert Path(OmegaConf.create({"o": ["seed=1"], "f": [], "a": "${segexp.job_name:${o},${f}}"}).a).name == "seed-1"
