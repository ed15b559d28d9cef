"""Which layer is looked at: for every network in conf/model, for one of yours, by name, and what is refused in words."""

from pathlib import Path

import pytest
import torch
from hydra.utils import get_class
from omegaconf import OmegaConf
from torch import nn

from segexp.config.composition import register_resolvers
from segexp.errors import ConfigError
from segexp.explainability.target_layers import choose_layer, explainable
from segexp.models import EncoderDecoder, UNet, UNetPaper

FOLDER = Path(__file__).resolve().parents[2] / "conf" / "model"
SMALL = {"encoder": "tu-test_resnet", "depth": 5}
DEEPEST = {
    "attention_unet": "down.3",
    "deeplabv3": "encoder.16",
    "deeplabv3plus": "encoder.model.layer4",
    "dilated": "context",
    "fcn": "encoder.16",
    "fpn": "encoder.model.layer4",
    "linknet": "encoder.model.layer4",
    "manet": "encoder.model.layer4",
    "pspnet": "encoder.model.layer2",
    "resunet": "down.2",
    "segformer": "encoder.model.layer4",
    "unet": "down.3",
    "unet_encoder": "encoder.model.layer4",
    "unet_paper": "down.4",
    "unetpp": "conv4_0",
    "unetpp_encoder": "encoder.model.layer4",
}
"""What is looked at in the small edition of each network."""


def make(name, channels):
    register_resolvers()
    facts = {"data": {"channels": channels, "num_classes": 3}, "deep_supervision": None}
    config = OmegaConf.create({**facts, "model": OmegaConf.load(FOLDER / f"{name}.yaml")})
    arguments = OmegaConf.to_container(config.model, resolve=True)
    target = get_class(arguments.pop("_target_"))
    if "encoder" in arguments:
        big = arguments["architecture"] in ("deeplabv3", "fcn")
        arguments |= {"encoder": "mobilenet_v3_large"} if big else {**SMALL, "depth": arguments["depth"]}
    else:
        arguments |= {"width": 4}
    return target(**arguments)


def test_the_table_names_every_network():
    assert set(DEEPEST) == {path.stem for path in FOLDER.glob("*.yaml")}


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in ("deeplabv3", "fcn"))) for n in DEEPEST])
def test_the_deepest_map_of_every_network(name):
    network = make(name, 4).train()
    layer = choose_layer(network, 4)
    assert layer.name == DEEPEST[name]
    assert network.get_submodule(layer.name) is layer.module
    assert layer.pitch[0] == layer.pitch[1] >= 4
    assert all(module.training for module in network.modules()), "left in its mode"


@pytest.mark.slow
def test_an_encoder_that_rearranges_its_map_itself():
    network = EncoderDecoder(3, 2, "segformer", "mit_b0")
    layer = choose_layer(network, 3)
    assert (layer.name, layer.pitch) == ("decoder.mlp_stage.0", (32.0, 32.0)), "the first that goes on from the deepest map"


def test_a_network_of_yours_has_the_widest_of_the_coarsest_maps(known):
    layer = choose_layer(known(), 1)
    assert (layer.name, layer.pitch) == ("act", (1.0, 1.0))


def test_summaries_of_the_whole_image_say_not_where():
    network = nn.Sequential(nn.Conv2d(1, 4, 3, 2, padding=1), Squeeze(4), nn.Conv2d(4, 2, 1), nn.Upsample(scale_factor=2))
    assert choose_layer(network, 1).name == "1", "the attention's output, not the 1x1 map in it"


class Squeeze(nn.Module):
    """Channels weighted by what a 1x1 map of the whole image says."""

    def __init__(self, channels):
        super().__init__()
        self.pool, self.mix = nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, 8 * channels, 1)

    def forward(self, x):
        return x * self.mix(self.pool(x))[:, : x.shape[1]].sigmoid()


def test_any_module_can_be_named():
    network = UNet(1, 2, width=4, depth=3)
    layer = choose_layer(network, 1, "up.1.conv")
    assert (layer.module, layer.pitch) == (network.up[1].conv, (1.0, 1.0))


def test_the_statistics_and_chances_of_a_training_stay_as_they_are():
    network = UNet(1, 2, width=4, depth=3, dropout=0.5).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    choose_layer(network, 1)
    assert torch.equal(torch.rand(4), expected)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


REFUSED = [
    (
        "up.9",
        "layer=up.9 is no module of the network UNet, which has pool, drop, stem, down, up, head, coarse_heads. A dotted name "
        "of one of its ",
        "Type layer=auto. Did you mean up.1, up.0, ",
    ),
    ("zzz", "layer=zzz is no module of the network UNet, which has ", "Type layer=auto."),
    ("pool", "layer=pool is run 2 times in a pass, so it has no one map. A layer that gives one map (batch, ", "layer=auto"),
    ("up", "layer=up is not run by itself: it holds other layers, or is of use in training only.", "example layer=up.1"),
]


@pytest.mark.parametrize(("name", "found", "do"), REFUSED, ids=[name for name, _, _ in REFUSED])
def test_a_layer_that_is_refused(name, found, do):
    with pytest.raises(ConfigError) as refused:
        choose_layer(UNet(1, 2, width=4, depth=3), 1, name)
    assert str(refused.value).startswith(found)
    assert do in str(refused.value)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("encoder", "a list"), ("decoder.mlp_stage.0.linear", "a tensor of shape (1, 12, 256)")],
)
def test_a_layer_without_a_map_is_refused(name, kind):
    with pytest.raises(ConfigError, match="A layer that gives one map") as refused:
        choose_layer(EncoderDecoder(3, 2, "segformer", "tu-test_resnet"), 3, name)
    assert str(refused.value).startswith(f"layer={name} gives {kind}.")


def test_a_network_without_layers_is_sent_to_other_methods():
    with pytest.raises(ConfigError) as refused:
        choose_layer(nn.Conv2d(1, 2, 1), 1)
    assert str(refused.value) == (
        "No layer inside of the network Conv2d gives a map that Grad-CAM could look at. A module that is run once in a pass "
        "and gives one tensor (batch, channels, height, width) was expected. Type method=integrated_gradients or "
        "method=occlusion, which look at no layer."
    )


def test_tiles_are_seen_in_one_pass():
    network = UNetPaper(1, 2, width=4, depth=3, tile=100)
    assert choose_layer(network, 1).name == "down.2"
    assert network.tile == 100, "and left as they were"


class Odd(nn.Module):
    """A norm of channels that come last, a head of use in training only, and an encoder that keeps no gradient."""

    def __init__(self, frozen=False):
        super().__init__()
        self.conv, self.norm, self.aux, self.head = (
            nn.Conv2d(1, 4, 3, 2, 1),
            nn.LayerNorm(4),
            nn.Conv2d(4, 2, 1),
            nn.Conv2d(4, 2, 1),
        )
        self.frozen = frozen

    def forward(self, image):
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            found = self.norm(self.conv(image).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        self.aux(found)
        return nn.functional.interpolate(self.head(found), scale_factor=2)


def test_a_layer_whose_channels_come_last_has_no_map():
    with pytest.raises(ConfigError, match=r"layer=norm gives a tensor of shape \(1, 48, 64, 4\)\. A layer that gives one map"):
        choose_layer(Odd(), 1, "norm")
    assert choose_layer(Odd(), 1, "head").pitch == (2.0, 2.0)


@pytest.mark.parametrize(("frozen", "name"), [(False, "aux"), (True, "conv")])
def test_a_layer_without_a_gradient_is_refused(frozen, name):
    with pytest.raises(ConfigError) as refused:
        choose_layer(Odd(frozen), 1, name)
    assert str(refused.value) == (
        f"layer={name} has no gradient: the network Odd makes nothing of what it gives, or keeps none. A layer was "
        "expected whose map the result depends on. Type another layer, or method=occlusion, which needs no gradients."
    )


def test_frozen_weights_have_layers_too():
    network = UNet(1, 2, width=4, depth=3).requires_grad_(False)
    assert choose_layer(network, 1, "up.1.conv").module is network.up[1].conv


def test_modes_are_put_back_module_by_module():
    network = nn.Sequential(nn.BatchNorm2d(1), nn.Dropout(0.5)).train()
    network[0].eval()
    with explainable(network):
        assert not any(module.training for module in network.modules())
    assert [module.training for module in network.modules()] == [True, False, True]


def test_also_after_an_error():
    network = nn.Dropout(0.5).train()
    with pytest.raises(RuntimeError), explainable(network):
        raise RuntimeError
    assert network.training


@pytest.mark.parametrize("around", [torch.no_grad, torch.inference_mode])
def test_gradients_are_there_within_a_validation_step(around):
    network = nn.Conv2d(1, 1, 1)
    with around(), explainable(network):
        image = torch.ones(1, 1, 2, 2, requires_grad=True)
        (found,) = torch.autograd.grad(network(image).sum(), image)
    assert torch.allclose(found, network.weight.detach().expand_as(found))
