"""A class named by `_target_` on the command line: what stays of the file that was written for another one."""

import sys

import pytest
from hydra import compose, initialize_config_dir

from segexp.cli.overrides import parse
from segexp.config import plain, register_resolvers, validate
from segexp.config.own import fit_to_targets
from segexp.errors import ConfigError

TEXT = """
class Net:
    def __init__(self, in_channels: int, num_classes: int, width: int = 8, blocks: int = 1): ...

class Any:
    def __init__(self, name: str = "x", **rest): ...

class Loss:
    def __init__(self, margin: float = 1.0): ...
"""


@pytest.fixture
def made(tmp_path, monkeypatch, conf):
    """Compose what was typed, with the user's module `mine` importable."""
    (tmp_path / "mine.py").write_text(TEXT)
    monkeypatch.syspath_prepend(tmp_path)
    register_resolvers()

    def compose_it(*words):
        typed = [word.lstrip("+~").partition("=")[0] for word in words]
        with initialize_config_dir(str(conf), version_base="1.3"):
            config = compose("train", overrides=parse(["data=liver", "data.root=x", *words]).overrides)
        fit_to_targets(config, typed)
        return plain(config)

    yield compose_it
    sys.modules.pop("mine", None)


def problem(values):
    with pytest.raises(ConfigError) as caught:
        validate(values)
    return str(caught.value)


def test_only_what_the_class_takes_is_left(made):
    values = made("model._target_=mine.Net", "model.width=32")
    assert values["model"] == {"_target_": "mine.Net", "in_channels": 1, "num_classes": 2, "width": 32}
    validate(values)


@pytest.mark.parametrize("model", ["unet", "unetpp", "dilated"])
def test_whatever_the_file_was(made, model):
    values = made(f"model={model}", "model._target_=mine.Net", "model.blocks=3")
    assert set(values["model"]) == {"_target_", "in_channels", "num_classes", "width", "blocks"}
    assert values["model"]["blocks"] == 3
    validate(values)


@pytest.mark.parametrize("sign", ["", "+", "++"])
def test_arguments_that_the_file_does_not_have_need_no_sign(made, sign):
    assert made("model._target_=mine.Net", f"{sign}model.blocks=3")["model"]["blocks"] == 3


def test_what_was_typed_and_is_no_argument_is_an_error(made):
    text = problem(made("model._target_=mine.Net", "model.widht=32", "model.depth=4"))
    assert "model.widht is not an argument of mine.Net. Did you mean width?" in text
    assert "model.depth is not an argument of mine.Net." in text


def test_a_class_that_takes_anything_gets_the_facts_and_what_was_typed(made):
    values = made("model._target_=mine.Any", "model.depth=7")
    assert values["model"] == {"_target_": "mine.Any", "in_channels": 1, "num_classes": 2, "depth": 7}
    validate(values)


def test_losses_terms_of_them_and_optimizers(made):
    assert made("loss._target_=mine.Loss")["loss"] == {"_target_": "mine.Loss"}
    values = made(
        "loss.terms.dice.loss._target_=mine.Loss", "loss.terms.dice.loss.margin=2", "optimizer._target_=torch.optim.SGD"
    )
    assert values["loss"]["terms"]["dice"] == {"weight": 1.0, "loss": {"_target_": "mine.Loss", "margin": 2}}
    assert values["loss"]["terms"]["ce"]["loss"]["label_smoothing"] == 0.0
    assert values["optimizer"] == {"_target_": "torch.optim.SGD", "_partial_": True, "lr": 1e-3, "weight_decay": 1e-4}
    validate(values)


def test_a_key_below_one_that_the_class_does_not_take(made):
    assert "loss.terms is not an argument of mine.Loss" in problem(made("loss._target_=mine.Loss", "loss.terms.ce.weight=2"))


@pytest.mark.parametrize("target", ["mine.Nett", "nowhere.Net", "mine", "torch.nn.functional"])
def test_a_target_that_is_none_is_left_to_the_validation(made, target):
    values = made(f"model._target_={target}", "model.width=8")
    assert values["model"]["depth"] == 5
    assert "_target_" in problem(values)


def test_without_a_typed_target_nothing_is_left_out(made):
    values = made("model.width=8")
    assert {"depth", "norm", "up"} <= set(values["model"])
    assert values == made("++model.width=8")
