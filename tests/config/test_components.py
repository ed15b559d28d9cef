"""A class named by `_target_` on the command line: what stays of the file that was written for another one."""

import sys

import pytest
import torch
from torch import nn

from segexp.cli.overrides import parse
from segexp.config.components import (
    MEASURES,
    check_measures,
    check_signature,
    check_targets,
    check_transforms,
    component_nodes,
    fit_to_targets,
    instantiate,
    locate,
    named_targets,
    needed_trust,
    without_weights,
)
from segexp.config.composition import compose, to_plain
from segexp.config.validation import validate
from segexp.errors import CheckpointError, ConfigError

TEXT = """
class Net:
    def __init__(self, in_channels: int, num_classes: int, width: int = 8, blocks: int = 1): ...

class Any:
    def __init__(self, name: str = "x", **rest): ...

class Loss:
    def __init__(self, margin: float = 1.0): ...
"""


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Compose what was typed, with the user's module `mine` importable."""
    (tmp_path / "mine.py").write_text(TEXT)
    monkeypatch.syspath_prepend(tmp_path)

    def compose_it(*words):
        typed = [word.lstrip("+~").partition("=")[0] for word in words]
        config = compose("train", parse(["data=liver", "data.root=x", *words]).overrides)
        fit_to_targets(config, typed)
        return to_plain(config)

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


UNET = "segexp.models.UNet"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Write a package `mine` of the user's own, importable; returns a function that writes its modules."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)

    def write(name, text):
        (folder / f"{name}.py").write_text(text)

    yield write
    for name in [n for n in sys.modules if n == "mine" or n.startswith("mine.")]:
        del sys.modules[name]


def problems(node, **kwargs):
    return list(check_signature("model", node, **kwargs))


def test_locate_walks_packages_modules_and_attributes(package):
    package("net", "class Net:\n    class Inner: pass\n")
    assert locate("torch.nn.ReLU") is nn.ReLU
    assert locate("mine.net.Net.Inner").__qualname__ == "Net.Inner"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("segexp.models.UNett", "segexp.models has no 'UNett'. Did you mean UNet"),
        ("segexp.modells.UNet", "segexp has no 'modells'. Did you mean models"),
        ("nosuchpackage.Net", "needs the package 'nosuchpackage', which is not found. Install it"),
        ("UNet", "is not a dotted path. Expected package.module.Name"),
        ("a..b", "is not a dotted path"),
    ],
)
def test_what_cannot_be_located_says_why(path, expected):
    with pytest.raises(ConfigError) as caught:
        locate(path)
    assert path in str(caught.value)
    assert expected in str(caught.value)


def test_a_missing_dependency_is_shown_as_itself(package):
    package("net", "import nosuchdependency\n")
    with pytest.raises(ConfigError) as caught:
        locate("mine.net.Net")
    text = str(caught.value)
    assert "its module 'mine.net' needs the package 'nosuchdependency'" in text
    assert text.endswith("Type: pip install nosuchdependency.")


def test_a_module_that_fails_shows_its_own_error(package):
    package("net", "1 / 0\n")
    with pytest.raises(ConfigError, match=r"'mine\.net' fails with ZeroDivisionError: division by zero"):
        locate("mine.net.Net")


def test_a_sound_node_has_no_problem():
    assert problems({"_target_": UNET, "in_channels": 3, "num_classes": 2}) == []


def test_all_problems_of_a_node_come_together():
    found = problems({"_target_": UNET, "in_channels": "three", "widht": 8})
    assert len(found) == 3
    assert found[0] == "model.in_channels is 'three' (text); expected a whole number"
    assert found[1].startswith(f"model.widht is not an argument of {UNET}. Did you mean width")
    assert found[2] == f"model lacks num_classes, which {UNET} needs. Add model.num_classes=VALUE"


def test_arguments_known_later_are_not_missing():
    node = {"_target_": "torch.optim.SGD", "lr": 0.1}
    assert problems(node) == ["model lacks params, which torch.optim.SGD needs. Add model.params=VALUE"]
    assert problems(node, supplied=("params",)) == []
    assert problems({**node, "_partial_": True}) == []


def test_a_target_that_is_no_callable_is_named():
    assert problems({"_target_": "torch.nn.modules"}) == [
        "model._target_ 'torch.nn.modules' is module, not a class or function."
    ]


def test_functions_that_take_anything_accept_any_key(package):
    package("net", "def build(width: int, **rest): ...\n")
    node = {"_target_": "mine.net.build", "width": "x", "other": 1}
    assert problems(node) == ["model.width is 'x' (text); expected a whole number"]


def test_nodes_finds_nested_targets_with_their_keys():
    config = {"a": {"_target_": "x.Y", "terms": [{"loss": {"_target_": "x.Z"}}]}, "b": 1}
    assert [(key, node["_target_"]) for key, node in component_nodes(config)] == [("a", "x.Y"), ("a.terms[0].loss", "x.Z")]


def test_instantiate_builds_nested_objects_from_plain_values():
    linear = {"_target_": "torch.nn.Linear", "in_features": 2, "out_features": 3}
    built = instantiate({"_target_": "torch.nn.Sequential", "_args_": [linear]})
    assert isinstance(built[0], nn.Linear)
    assert built[0].weight.shape == (3, 2)


def test_instantiate_hands_over_lists_and_what_is_extra():
    weight = nn.Parameter(torch.zeros(1))
    made = instantiate({"_target_": "torch.optim.Adam", "lr": 0.5, "betas": [0.8, 0.9]}, params=[weight])
    assert made.defaults["betas"] == (0.8, 0.9)
    assert made.param_groups[0]["params"][0] is weight
    assert type(instantiate({"_target_": "builtins.dict", "a": [1, {"b": 2}]})["a"]) is list


def test_a_constructor_that_refuses_keeps_its_own_words():
    with pytest.raises(ConfigError, match=r"torch\.optim\.SGD cannot be built: ValueError: Invalid learning rate: -1"):
        instantiate({"_target_": "torch.optim.SGD", "lr": -1}, params=[nn.Parameter(torch.zeros(1))])


def test_our_own_errors_pass_through_as_they_are():
    with pytest.raises(ConfigError, match=r"^model\.norm is 'bad'"):
        instantiate({"_target_": UNET, "in_channels": 1, "num_classes": 2, "norm": "bad"})


@pytest.mark.parametrize(
    "node",
    [
        {"_target_": UNET, "in_channels": 1, "num_classes": 2},
        {"_target_": "torch.nn.Sequential", "_args_": [{"_target_": "torch.nn.Conv2d"}]},
        {"_target_": "torchvision.models.segmentation.fcn_resnet50", "weights": None},
        {"_target_": "torchvision.models.segmentation.deeplabv3.DeepLabV3"},
    ],
)
def test_networks_of_known_packages_are_followed(node):
    check_targets(node)


@pytest.mark.parametrize(
    "path",
    [
        "os.system",
        "builtins.eval",
        "torch.hub.load",
        "torch.load",
        "torch.nn.init.kaiming_normal_",  # a function outside the builders
        "torch.nn.functional.relu",
        "torch.nn.Module.load_state_dict",
        "torch.nn.modules.module.warnings.warn",  # names imported into a trusted package
        "torch.nn.modules.module.functools.partial",
        "segexp.models.unet.torch.load",
        "torchvision.models.segmentation.fcn.partial",
        "torch.nnx.Net",
        "segexp.cli.train.main",
    ],
)
def test_everything_else_in_a_checkpoint_is_refused(path):
    with pytest.raises(CheckpointError) as caught:
        check_targets({"_target_": UNET, "encoder": [{"_target_": path}]})
    text = str(caught.value)
    assert path in text
    assert "encoder[0]._target_" in text or "cannot be found" in text


def test_the_refusal_says_what_to_type(package):
    package("net", "raise RuntimeError('run before it was trusted')\n")
    with pytest.raises(CheckpointError, match=r"The checkpoint asks to run mine\.net\.Net .* type 'trust=\[mine\]'"):
        check_targets({"_target_": "mine.net.Net"})


MISSING = (
    "The checkpoint's network is {path}, and the package {name} is not found. A checkpoint holds the weights of a network and "
    "not its code, which must be there under the name it had in training. Put the folder that holds {name} on PYTHONPATH, or "
    "install it with pip"
)


@pytest.mark.parametrize(
    ("path", "trust", "then"),
    [
        ("my_nets.Tiny", (), "; then, if you trust where it comes from, type 'trust=[my_nets]'."),
        ("my_nets.Tiny", ("my_nets",), "."),
        ("segmentation_models_pytorch.Unet", (), "."),
    ],
)
def test_a_network_whose_code_is_missing_says_how_to_get_it(path, trust, then, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.delitem(sys.modules, "segmentation_models_pytorch", raising=False)
    with pytest.raises(CheckpointError) as caught:
        check_targets({"_target_": path}, trust)
    assert str(caught.value) == MISSING.format(path=path, name=path.partition(".")[0]) + then


def test_what_trusted_code_needs_itself_is_shown_as_itself(package):
    package("net", "import nosuchdependency\n")
    with pytest.raises(CheckpointError) as caught:
        check_targets({"_target_": "mine.net.Net"}, trust=["mine"])
    assert str(caught.value) == (
        "The checkpoint's network cannot be found: _target_ 'mine.net.Net' cannot be imported: its module 'mine.net' needs the "
        "package 'nosuchdependency', which is not found. Type: pip install nosuchdependency."
    )


def test_trusted_packages_are_followed(package):
    package("net", "class Net: pass\n")
    check_targets({"_target_": "mine.net.Net"}, trust=["mine"])
    with pytest.raises(CheckpointError, match="minelike"):
        check_targets({"_target_": "minelike.Net"}, trust=["mine"])


@pytest.mark.parametrize("trick", ["${oc.create:'{_target_: os.system}'}", "${oc.env:HOME}"])
def test_interpolations_in_a_checkpoint_are_refused(trick):
    with pytest.raises(CheckpointError, match="holds an interpolation"):
        check_targets({"_target_": UNET, "norm": [trick]})


@pytest.mark.parametrize("path", [3, None, ["os.system"], "segexp.models.\u0055\u00adNet"])
def test_a_target_that_is_no_path_is_refused(path):
    with pytest.raises(CheckpointError, match="not a dotted path"):
        check_targets({"_target_": path})


def test_an_unknown_network_of_a_known_package_names_the_nearest():
    with pytest.raises(CheckpointError, match=r"cannot be found: .*Did you mean UNet"):
        check_targets({"_target_": "segexp.models.UNett"})


def test_stored_measures_of_segexp_are_built_without_asking():
    check_measures({str(n): {"_target_": path, "bins": 3} for n, path in enumerate(MEASURES)})
    for path in MEASURES:
        assert instantiate({"_target_": path}).columns


@pytest.mark.parametrize(
    "node",
    [
        {"_target_": "os.system", "command": "true"},
        {"_target_": "segexp.metrics.cases.write_cases", "path": "x", "rows": []},
        {"_target_": "segexp.metrics.boundary.Boundary", "unit": {"_target_": "os.getcwd"}},
        {"_target_": ["segexp.metrics.boundary.Boundary"]},
    ],
)
def test_other_stored_measures_need_trust(node):
    with pytest.raises(CheckpointError, match="which is no measure of segexp"):
        check_measures({"mine": node})


def test_stored_measures_of_a_trusted_package(package):
    package("measures", "class Mine: pass\n")
    check_measures({"mine": {"_target_": "mine.measures.Mine"}}, trust=["mine"])
    with pytest.raises(CheckpointError, match="interpolation"):
        check_measures({"mine": {"_target_": "${oc.env:HOME}"}}, trust=["mine"])


SYSTEM = {"_target_": "os.system", "command": "true"}
FUNCTIONS = {
    *("os.system", "subprocess.run", "builtins.eval", "functools.partial", "torch.load", "torch.hub.load", "numpy.load"),
    *("torch.utils.collect_env.run", "hydra.utils.call", "hydra.utils.get_method", "segexp.models.pretrained.hub_file"),
}


@pytest.mark.parametrize("trust", [True, ["torch", "numpy", "os", "builtins", "hydra", "functools", "segexp", "smp"]])
@pytest.mark.parametrize("path", sorted(FUNCTIONS))
def test_no_trust_extends_to_libraries(path, trust):
    with pytest.raises(CheckpointError, match=r"Do not use this file.* no 'trust=\[PACKAGE\]' allows it"):
        check_targets({"_target_": "torch.nn.Sequential", "_args_": [{"_target_": path, "_partial_": True}]}, trust)


def test_a_trusted_package_gives_what_it_defines_and_not_what_it_imports(package):
    imports = "import os, functools\nfrom os import system\nfrom torch import load\nfrom torch.nn import Identity\n"
    package("net", f"{imports}class Net: pass\ndef build(): pass\nsmall = functools.partial(Net)\n")
    for name in ("Net", "build", "small", "Identity"):
        check_targets({"_target_": f"mine.net.{name}"}, ["mine"])
        check_targets({"_target_": f"mine.net.{name}"}, True)
    for name in ("system", "os.system", "os", "load", "functools.partial"):
        with pytest.raises(CheckpointError, match=rf"asks to run mine\.net\.{name} "):
            check_targets({"_target_": f"mine.net.{name}"}, ["mine"])


def test_what_a_run_just_wrote_itself_is_trusted_by_its_whole_path():
    own = {"_target_": "timm.create_model", "model_name": "resnet18"}
    assert named_targets({"model": own}) == ["timm.create_model"]
    check_targets(own, named_targets(own))


@pytest.mark.parametrize(
    ("group", "good", "bad"),
    [
        ("loss", "segexp.losses.Dice", "segexp.losses.base.check_range"),
        ("loss", "torch.nn.CrossEntropyLoss", "torch.nn.functional.cross_entropy"),
        ("optimizer", "torch.optim.AdamW", "torch.optim.lr_scheduler.StepLR"),
        ("scheduler", "segexp.optim.Cosine", "segexp.optim.parameter_groups"),
        ("mix", "segexp.data.mixing.CutMix", "segexp.models.UNet"),
        ("model", "segmentation_models_pytorch.Unet", "segmentation_models_pytorch.encoders.get_encoder"),
        ("model", "segexp.models.UNet", "segmentation_models_pytorch.encoders.TimmUniversalEncoder"),
    ],
)
def test_each_group_has_its_own_kind_of_component(group, good, bad):
    check_targets({"_target_": good, "_partial_": True}, group=group)
    with pytest.raises(CheckpointError, match=r"The run asks to run .* could run code of a stranger"):
        check_targets([{"_target_": bad}], group=group, source="The run")


@pytest.mark.parametrize("group", ["callbacks", "logger", "data", "trainer"])
def test_a_group_without_components_takes_none(group):
    with pytest.raises(CheckpointError, match=rf"os\.system \({group}\.mine\._target_\), which is no part of a run"):
        check_targets({"mine": SYSTEM}, group=group)


def test_transforms_of_a_stranger():
    check_transforms({"transforms": [{"name": "HorizontalFlip"}, {"name": "albumentations.Blur"}]}, (), "RUN")
    nested = {"transforms": [{"name": "OneOf", "transforms": [{"name": "mine.Stripes"}]}]}
    check_transforms(nested, ["mine"], "RUN")
    with pytest.raises(CheckpointError, match=r"RUN asks to run mine\.Stripes .* type 'trust=\[mine\]'"):
        check_transforms(nested, (), "RUN")
    with pytest.raises(CheckpointError, match=r"no 'trust=\[PACKAGE\]' allows it"):
        check_transforms({"transforms": [{"name": "os.system"}]}, True, "RUN")


def test_a_checkpoint_asks_no_server_for_an_encoder():
    smp = {"_target_": "segmentation_models_pytorch.Unet", "encoder_name": "tu-hf-hub:evil/net"}
    with pytest.raises(
        CheckpointError, match=r"model\._args_\[0\]\.encoder_name is 'tu-hf-hub:evil/net', which names a server"
    ):
        check_targets({"_target_": "torch.nn.Sequential", "_args_": [smp]})


def test_what_a_run_needs_to_be_resumed():
    known = {
        "model": {"_target_": UNET},
        "optimizer": {"_target_": "torch.optim.SGD"},
        "mix": None,
        "augment": {"transforms": []},
    }
    assert needed_trust(known) == ""
    own = {
        "loss": {"_target_": "mine.Loss", "inner": {"_target_": "segexp.losses.Dice"}},
        "model": {"_target_": "timm.create_model"},
    }
    augment = {"transforms": [{"name": "Blur"}, {"name": "other.Stripes"}]}
    assert needed_trust(known | own | {"augment": augment}) == "'trust=[timm.create_model,mine,other]'"


def test_no_weights_are_loaded_at_any_depth():
    own = {"_target_": "mine.Net", "encoder": {"_target_": "segmentation_models_pytorch.Unet", "encoder_weights": "imagenet"}}
    inner = {"_target_": "segexp.models.EncoderDecoder", "weights": "/etc/passwd", "encoder": "resnet18"}
    found = without_weights({"_target_": "torch.nn.Sequential", "_args_": [inner, own]})
    assert found["_args_"][0] == inner | {"weights": "none"}
    assert found["_args_"][1]["encoder"]["encoder_weights"] is None
