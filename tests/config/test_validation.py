"""The check of a whole configuration: one sentence per problem, all in one message."""

import pytest

from fixtures.configs import train_config
from segexp.config import validation
from segexp.config.composition import conf_dir, options_with_key
from segexp.config.validation import averaging_problems, deep_supervision_problems, validate
from segexp.errors import ConfigError


def sound():
    """A configuration without a fault, as `plain` returns it."""
    return {
        "seed": 0,
        "resume": None,
        "data": {"name": "liver", "root": "x", "classes": {"background": 0, "liver": 255}, "channels": 1},
        "model": {"_target_": "segexp.models.UNet", "in_channels": 1, "num_classes": 2},
        "loss": {"_target_": "segexp.losses.CrossEntropy", "class_weights": None},
        "optimizer": {"_target_": "torch.optim.AdamW", "lr": 1e-3},
        "scheduler": {"_target_": "segexp.optim.Poly", "warmup": 0.1},
        "trainer": {"gpus": 0, "max_epochs": 3},
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
        validate(values)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_a_sound_configuration_passes():
    validate(sound())


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"trainer__max_epoch": 3},
            "trainer.max_epoch is neither a key of segexp nor an argument of Lightning's Trainer. Did you mean max_epochs",
        ),
        ({"sed": 3}, "sed is not a key of the configuration. Did you mean seed"),
        ({"data__batch_size": 0}, "data.batch_size is 0 (a whole number); expected auto, or a whole number, 1 or more."),
        ({"data__batch_size": 2.5}, "data.batch_size is 2.5 (a number); expected auto, or a whole number, 1 or more."),
        ({"trainer__precision": "fp8"}, "expected auto | 32 | bf16-mixed | 16-mixed."),
        ({"trainer__gpus": "all"}, "trainer.gpus is 'all' (text); expected auto, or a whole number, 0 or more, or a list"),
        ({"trainer__ema": 1}, "trainer.ema is 1 (a whole number); expected a number, strictly between 0 and 1, or null."),
        ({"trainer__minutes": -1}, "expected a number, above 0, or null."),
        ({"data__crop": [1, 2, 3]}, "data.crop is [1, 2, 3] (a list); expected a whole number, 1 or more, or a list of 2"),
        ({"data__val_fraction": 1.5}, "expected a number, between 0 and 1, or null."),
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
    text = message(changed(data__batch_size=0, model__width="x", optimizer__lr=None))
    lines = text.splitlines()
    assert lines[0] == "The configuration has 3 problems:"
    assert [line.split()[:2] for line in lines[1:]] == [
        ["1.", "data.batch_size"],
        ["2.", "model.width"],
        ["3.", "optimizer.lr"],
    ]


def test_a_time_budget_may_stand_alone():
    validate(changed(trainer__max_epochs=None, trainer__minutes=0.5))


def test_a_missing_required_key_is_named():
    values = sound()
    del values["data"]["root"]
    assert message(values) == "data.root is missing; expected text. Add it to the file of the group."


def test_a_logger_that_is_not_installed_says_what_to_install(monkeypatch):
    monkeypatch.setattr(validation, "find_spec", lambda name: None)
    text = message(changed(logger__wandb={"project": "p"}))
    assert text == "logger=wandb needs the package wandb, which is not installed. Type: pip install 'segexp[wandb]'."
    monkeypatch.setattr(validation, "find_spec", lambda name: object())
    validate(changed(logger__wandb={"project": "p"}))


def test_heat_maps_without_captum_say_what_to_install(monkeypatch):
    monkeypatch.setattr(validation, "find_spec", lambda name: None)
    text = message(changed(callbacks__explain=4))
    assert text == "callbacks.explain=4 needs Captum, which is not installed. Type: pip install 'segexp[explain]'."
    validate(changed(callbacks__explain=0))


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
    monkeypatch.setattr(validation, "find_spec", lambda name: object())
    assert expected in message(changed(**changes))


@pytest.mark.parametrize("target", [None, "liver", 1, "0"])
def test_a_class_that_can_be_explained(monkeypatch, target):
    monkeypatch.setattr(validation, "find_spec", lambda name: object())
    validate(changed(callbacks__explain=2, callbacks__explain_target=target))


def heads(asked, **model):
    config = train_config({"deep_supervision": asked, "model": {"_target_": "x.Net", **model}})
    return list(deep_supervision_problems(config))


@pytest.mark.parametrize(
    ("asked", "told"), [(None, False), (None, True), (False, False), (True, True), ([1, 0.5], True), ([0, 1], True)]
)
def test_what_goes_together(asked, told):
    assert heads(asked, deep_supervision=told) == []
    assert heads(None) == heads(False) == []


@pytest.mark.parametrize("asked", [True, [1, 2]])
def test_a_network_without_heads_names_those_that_have(asked):
    (text,) = heads(asked)
    assert text.startswith(
        f"deep_supervision={str(asked).lower()}, and the network x.Net has no heads for it. Networks that have: "
    )
    assert "model=unetpp" in text
    assert text.endswith(
        ". A network of your own needs the argument deep_supervision and the method forward_scales; then type "
        "model.deep_supervision=true"
    )


def test_the_networks_with_heads_are_those_whose_file_says_so():
    files = list((conf_dir() / "model").glob("*.yaml"))
    found = options_with_key("model", "deep_supervision")
    assert found == sorted(f"model={file.stem}" for file in files if "\ndeep_supervision:" in file.read_text(encoding="utf-8"))
    assert "model=unetpp" in found
    assert len(found) < len(files)


@pytest.mark.parametrize("asked", [[], [0, 0]])
def test_weights_of_nothing(asked):
    assert heads(asked, deep_supervision=True) == [
        f"deep_supervision={asked} has no weight above 0. Give one per head, finest first, or type deep_supervision=true"
    ]


@pytest.mark.parametrize(("asked", "told"), [(True, False), ([1, 2], False), (False, True)])
def test_contradictions(asked, told):
    assert heads(asked, deep_supervision=told) == [
        f"deep_supervision={str(asked).lower()} and model.deep_supervision={str(told).lower()} contradict each other. "
        "Leave model.deep_supervision out: it follows from the other"
    ]


def averages(**trainer):
    return list(averaging_problems(train_config({"trainer": trainer}).trainer))


@pytest.mark.parametrize(
    "trainer",
    [
        {},
        {"swa": None, "ema": 0.9, "freeze_encoder": 0, "minutes": 3},
        {"swa": "75%", "minutes": 3.0, "freeze_encoder": "20%"},
        {"swa": 60, "ema": None, "minutes": None, "freeze_encoder": 5},
    ],
)
def test_nothing_to_say(trainer):
    assert averages(**trainer) == []


def test_two_averages():
    assert averages(swa="75%", ema=0.99) == [
        "trainer.ema=0.99 and trainer.swa=75% are two averages of the weights, and one of them is what is scored and kept. "
        "Type trainer.ema=null or trainer.swa=null"
    ]


def test_epochs_of_an_open_number():
    assert averages(swa=60, minutes=10) == [
        "trainer.swa=60 counts epochs, and with trainer.minutes=10 their number is open. Type trainer.swa=75% for the last "
        "quarter of the time"
    ]


def test_no_moments():
    assert [text.partition(".")[2][:22] for text in averages(swa="60", freeze_encoder="x%")] == [
        "swa is '60'. an epoch ",
        "freeze_encoder is 'x%'",
    ]


def test_the_arguments_of_lightnings_trainer_are_known_without_it():
    import inspect

    import pytorch_lightning as pl

    from segexp.config.trainer_arguments import RESERVED_ARGUMENTS, TRAINER_ARGUMENTS

    assert set(inspect.signature(pl.Trainer).parameters) == TRAINER_ARGUMENTS
    assert RESERVED_ARGUMENTS.keys() < TRAINER_ARGUMENTS
