"""From a checked config to parts: what is tried before any picture is read, and what only the pictures can tell."""

import sys

import pytest
import torch

from segexp.config.components import fit_to_targets
from segexp.config.composition import compose, to_plain
from segexp.config.overrides import CommandLine
from segexp.config.schema import TrainConfig
from segexp.config.validation import validate
from segexp.data.preprocessing import Preprocessing
from segexp.errors import ConfigError
from segexp.inference.segmenter import Segmenter
from segexp.losses import CrossEntropy
from segexp.losses.balance import balanced_weights
from segexp.models.checkpointing import checkpointed_blocks
from segexp.training import build
from segexp.training.callbacks.checkpoint import Checkpoints
from segexp.training.optimizers import make_optimizer
from segexp.types import DataSpec

SPEC = DataSpec("d", ("background", "liver"), 1, ((0, 0, 0), (230, 159, 0)))

MINE = """
from torch import nn

class Net(nn.Conv2d):
    def __init__(self, in_channels: int, num_classes: int, width: int = 8):
        super().__init__(in_channels, num_classes, 3, padding=1)

class Half(Net):
    def forward(self, image):
        return super().forward(image)[..., ::2, ::2]

class Headless(Net):
    def __init__(self, in_channels: int, num_classes: int, deep_supervision: bool = False):
        super().__init__(in_channels, num_classes)

class Deep(Headless):
    deep_supervision = True

    def forward_scales(self, image):
        return [self(image), self(image)[..., ::2, ::2]]

class Loss(nn.Module):
    def forward(self, logits, mask):
        return nn.functional.cross_entropy(logits, mask, ignore_index=255)
"""
SMALL = ["data=liver", "data.root=x", "trainer.gpus=0"]


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Return the validated config of what was typed, with a module `mine` of the user's own."""
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)

    def config(*words):
        composed = compose("train", CommandLine([*SMALL, *words]).expanded().overrides)
        fit_to_targets(composed, [word.partition("=")[0] for word in words])
        return validate(to_plain(composed))

    yield config
    sys.modules.pop("mine", None)


UNETPP = ["model=unetpp", "model.width=2", "model.depth=3"]


def test_weights_of_the_heads_reach_the_module(made):
    config = made(*UNETPP, "deep_supervision=[3,1]")
    parts = build.build_components(config)
    assert parts.network.deep_supervision
    assert len(parts.network.forward_scales(torch.zeros(1, 1, 16, 16))) == 2
    heads = [torch.full((1, 2, 4, 4), value) for value in (4.0, 8.0)]
    assert parts.scales_loss(lambda head, _: head.mean(), heads, torch.zeros(1, 4, 4)) == 5
    assert not build.build_components(made(*UNETPP)).network.deep_supervision


@pytest.mark.parametrize(
    ("weights", "text"),
    [
        (
            "[1]",
            "deep_supervision=[1] has 1 weights, and the network segexp.models.UNetPlusPlus has 2 heads. One weight per head, "
            "finest first; on an image of 64x64 they are 64x64, 64x64. Type 'deep_supervision=[1.0, 0.5]', or "
            "deep_supervision=true for all alike.",
        ),
        ("[1,2,3]", "deep_supervision=[1, 2, 3] has 3 weights, and the network segexp.models.UNetPlusPlus has 2 heads."),
    ],
)
def test_a_weight_for_each_head(made, weights, text):
    with pytest.raises(ConfigError) as caught:
        build.build_components(made(*UNETPP, f"deep_supervision={weights}"))
    assert text in str(caught.value)


def test_heads_of_ones_own_network(made):
    words = ["model._target_=mine.Deep", "model.deep_supervision=true"]
    assert build.build_components(made(*words, "deep_supervision=[1,0.5]")).network.deep_supervision
    with pytest.raises(ConfigError, match=r"the network mine\.Deep has 2 heads\. .* they are 64x64, 32x32\."):
        build.build_components(made(*words, "deep_supervision=[1]"))
    with pytest.raises(ConfigError, match=r"The network mine\.Headless has no heads for deep supervision"):
        build.build_components(made("model._target_=mine.Headless", "model.deep_supervision=true"))


def test_a_network_of_ones_own_is_tried(made):
    assert type(build.build_components(made("model._target_=mine.Net", "model.width=3")).network).__name__ == "Net"
    with pytest.raises(ConfigError, match=r"^The network mine\.Half gives logits of 32x32 for an image of 64x64\."):
        build.build_components(made("model._target_=mine.Half"))


@pytest.mark.parametrize("words", [["loss._target_=mine.Loss"], ["loss.terms.dice.loss._target_=mine.Loss"]])
def test_a_loss_of_ones_own_is_tried(made, words):
    key = words[0].partition("._target_")[0].replace(".", r"\.")
    with pytest.raises(ConfigError, match=rf"^The loss {key}=mine\.Loss is nan on a mask in which every pixel is ignored"):
        build.build_components(made(*words))


def test_networks_of_segexp_are_not_tried_again(made, monkeypatch):
    monkeypatch.setattr(build, "check_network", lambda *_: pytest.fail("tried"))
    build.build_components(made(*UNETPP))


@pytest.mark.parametrize(
    ("words", "where"),
    [(["loss=ce", "loss.class_weights=auto"], ()), (["loss.terms.ce.loss.class_weights=auto"], ("terms", "ce", "loss"))],
)
def test_class_weights_come_from_the_shares_of_the_classes(made, words, where):
    config = made(*words)
    parts = build.build_components(config)
    weighed_config, weighed, told = build.apply_class_weights(config, parts, [0.9, 0.1])
    expected = balanced_weights([0.9, 0.1])
    node = weighed_config.plain()["loss"]
    for key in where:
        node = node[key]
    assert node["class_weights"] == expected
    (ce,) = [part for part in weighed.loss.modules() if isinstance(part, CrossEntropy)]
    assert ce.class_weights.tolist() == pytest.approx(expected)
    assert weighed.network is parts.network
    assert told == (
        f"class_weights=auto: background {expected[0]:g}, liver {expected[1]:g} "
        "(1 / ln(1.02 + share of the training pixels), scaled)"
    )
    again_config, again, told = build.apply_class_weights(weighed_config, weighed, [0.5, 0.5])
    assert (again_config, again, told) == (weighed_config, weighed, ""), "settled once and for all"


def test_typed_weights_stay(made):
    config = made("loss=ce", "loss.class_weights=[1,3]")
    parts = build.build_components(config)
    assert build.apply_class_weights(config, parts, [0.9, 0.1]) == (config, parts, "")


def test_auto_where_it_cannot_be_is_found_before_the_data_are_read(made):
    with pytest.raises(ConfigError, match="the focal loss has both alpha and class_weights"):
        build.build_components(made("loss=focal", "loss.alpha=0.25", "loss.class_weights=auto"))
    with pytest.raises(ConfigError, match=r"loss\.class_weights is not an argument of segexp\.losses\.Dice"):
        made("loss=dice", "+loss.class_weights=auto")


UNET = ["model=unet", "model.width=2", "model.depth=3"]


def test_the_encoder_learns_at_a_rate_of_its_own(made):
    config = made(*UNET, "trainer.encoder_lr_scale=0.1", "optimizer.lr=0.02")
    parts = build.build_components(config)
    optimizer = make_optimizer(config, parts.network)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.02, 0.02, 0.002, 0.002])
    inside = {id(p) for group in optimizer.param_groups[2:] for p in group["params"]}
    assert inside == {id(p) for part in (parts.network.stem, parts.network.down) for p in part.parameters()}
    usual = made(*UNET, "optimizer.lr=0.02")
    optimizer = make_optimizer(usual, build.build_components(usual).network)
    assert [group["lr"] for group in optimizer.param_groups] == [0.02, 0.02]


@pytest.mark.parametrize("word", ["trainer.encoder_lr_scale=0.1", "trainer.freeze_encoder=2", "trainer.freeze_encoder=30%"])
def test_a_network_without_an_encoder_is_refused_before_the_data_are_read(made, word):
    with pytest.raises(ConfigError, match=r"^trainer\.\w+=\S+ is about the encoder, and the network segexp\.models"):
        build.build_components(made("model=dilated", "model.width=2", word))


def test_what_is_on_becomes_a_callback(made, tmp_path):
    words = ["trainer.freeze_encoder=2", "trainer.swa=75%", "trainer.checkpoint_activations=true"]
    config = made(*UNET, "callbacks=none", *words)
    parts = build.build_components(config)
    assert checkpointed_blocks(parts.network)
    checkpoints = Checkpoints(tmp_path, "val/dice")
    chosen = build.build_callbacks(config, parts, checkpoints)
    assert [type(c).__name__ for c in chosen] == [
        "ValidateLastEpoch",
        "FreezeEncoder",
        "StochasticWeightAveraging",
        "Speed",
        "Checkpoints",
    ]
    assert parts.schedule.hold == 0.75
    timed = build.build_callbacks(made(*UNET, "callbacks=none", "trainer.minutes=2"), parts, checkpoints)
    assert [type(c).__name__ for c in timed] == ["TimeBudget", "ValidateLastEpoch", "Speed", "Checkpoints"]
    assert timed[0].minutes == 2
    plain_config = made(*UNET, "callbacks=none")
    usual_parts = build.build_components(plain_config)
    assert usual_parts.schedule.hold == 1
    usual = build.build_callbacks(plain_config, usual_parts, checkpoints)
    assert [type(c).__name__ for c in usual] == ["ValidateLastEpoch", "Speed", "Checkpoints"]


def test_heat_maps_are_a_callback_where_they_are_asked_for(made):
    config = made(*UNET, "callbacks=explain")
    whole = Segmenter(build.build_components(config).network, Preprocessing(1), SPEC)
    (found,) = build.build_explanations(config, whole)
    assert (found.cases, found.every) == (4, 5)
    assert (found.explainer.method, found.explainer.target) == ("seg_gradcam", 1)
    assert found.explainer.layer.name.startswith("down.")
    assert build.build_explanations(made(*UNET), whole) == []
    older = made(*UNET).plain()
    del older["callbacks"]["explain"], older["callbacks"]["explain_target"]
    assert build.build_explanations(TrainConfig.model_validate(older), whole) == [], "a run from before there was the key"


def test_a_network_without_layers_cannot_be_watched(made):
    config = made("callbacks=explain")
    with pytest.raises(ConfigError, match="No layer inside of the network Conv2d gives a map that Grad-CAM could look at"):
        build.build_explanations(config, Segmenter(torch.nn.Conv2d(1, 2, 1), Preprocessing(1), SPEC))


def test_two_averages_are_refused(made):
    with pytest.raises(ConfigError, match=r"trainer\.ema=0\.9 and trainer\.swa=75% are two averages of the weights"):
        made("trainer.ema=0.9", "trainer.swa=75%")
