"""Networks that do not keep the contract: the message names the part."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from segexp.errors import ConfigError
from segexp.models import UNet, UNetPlusPlus
from segexp.models.contract import check_network, head_sizes


class Base(nn.Module):
    """A sound network; what breaks it is a function around its parts."""

    def __init__(self, function=lambda net, image: net.body(image), classes=2):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, classes, 1))
        self.function = function

    def forward(self, image):
        return self.function(self, image)


def lower(net, image):
    return F.avg_pool2d(net.body(image), 2)


def unpadded(net, image):
    small = F.avg_pool2d(image, 2)
    return net.body(torch.cat([image, F.interpolate(small, scale_factor=2)], 1)[:, :3])


def rounded(net, image):
    return F.interpolate(F.avg_pool2d(net.body(image), 8), scale_factor=8)


def in_place(net, image):
    image -= image.mean()
    return net.body(image)


def mixing(net, image):
    return net.body(image) - net.body(image).mean(dim=0, keepdim=True)


def dropping(net, image):
    return F.dropout(net.body(image), 0.5, training=True)


BROKEN = {
    "tuple": (
        lambda net, image: (image, net.body(image)),
        "returns a tuple of 2 (a tensor (2, 3, 64, 64), a tensor (2, 2, 64, 64)). Expected one tensor of logits "
        "(2, 2, 64, 64). Return the entry [1] of it alone; further heads go into a method forward_scales(image), which returns "
        "a list of them, finest first, for deep_supervision=true.",
    ),
    "dict": (
        lambda net, image: {"out": net.body(image), "aux": None},
        "returns a dict (out: a tensor (2, 2, 64, 64), aux: nothing (forward has no return)). Expected one tensor of logits "
        "(2, 2, 64, 64). Return the entry ['out'] of it alone",
    ),
    "list": (lambda net, image: [lower(net, image)], "returns a list of 1 (a tensor (2, 2, 32, 32)). Expected one tensor"),
    "nothing": (lambda net, image: None, "returns nothing (forward has no return). Expected one tensor of logits"),
    "no_class_axis": (
        lambda net, image: net.body(image)[:, 0],
        "returns a tensor (2, 64, 64) for images (2, 3, 64, 64). Expected logits (2, 2, 64, 64). Keep all four axes.",
    ),
    "one_channel": (
        lambda net, image: net.body(image)[:, :1],
        "gives 1 channels for 2 classes. Expected one logit per class, the background too: two for a binary task, where a "
        "softmax stands for the sigmoid. Take their number from the argument num_classes, or name its own: "
        "'model.ARGUMENT=${data.num_classes}'.",
    ),
    "lower": (
        lower,
        "gives logits of 32x32 for an image of 64x64. Expected logits of the image's own height and width, odd ones too. "
        "Enlarge them at the end of forward: return functional.interpolate(logits, image.shape[2:], mode='bilinear').",
    ),
    "rounded": (rounded, "gives logits of 48x64 for an image of 49x67. Expected logits of the image's own height and width"),
    "unpadded": (
        unpadded,
        "fails on images (1, 3, 49, 67) in eval mode: RuntimeError: Sizes of tensors must match",
    ),
    "always": (
        lambda net, image: net.head(image),
        "fails on images (2, 3, 64, 64) in training mode: AttributeError: 'Base' obj",
    ),
    "classes": (
        lambda net, image: net.body(image).argmax(1, keepdim=True).repeat(1, 2, 1, 1),
        "returns torch.int64. Expected log",
    ),
    "not_finite": (lambda net, image: net.body(image) / 0, "gives logits that are not finite for images (2, 3, 64, 64)."),
    "softmax": (
        lambda net, image: net.body(image).softmax(1),
        "returns probabilities: the outputs of each pixel sum to 1. Expected logits; the loss takes the softmax itself. Leave",
    ),
    "detached": (lambda net, image: net.body(image).detach(), "returns logits without a gradient. Expected an output that"),
    "unused": (
        lambda net, image: image[:, :2] + 0 * net.body(image),
        "has no parameter that a gradient reaches. Expected an output that depends on its parameters.",
    ),
    "overwritten": (
        lambda net, image: net.body(image).sigmoid().log().mul_(2).exp_().add_(1).log().relu_().sqrt_().mul_(3),
        "fails in the backward pass: RuntimeError: one of the variables needed for gradient computation has been modified",
    ),
    "in_place": (in_place, "changes its input in place. Expected the image untouched, which is used again."),
    "mixing": (mixing, "mixes the batch in eval mode: the output of an image depends on the images beside it."),
    "chance": (dropping, "gives another output for the same image the second time in eval mode. Expected no chance outside of"),
}


@pytest.mark.parametrize("part", BROKEN)
def test_the_broken_part_is_named(part):
    function, text = BROKEN[part]
    with pytest.raises(ConfigError) as caught:
        check_network(Base(function), "my_nets.Net", 3, 2)
    assert str(caught.value).startswith("The network my_nets.Net ")
    assert text in str(caught.value)
    assert caught.value.do


def test_batch_statistics_in_eval_mode_are_mixing():
    network = Base()
    network.body[1] = nn.BatchNorm2d(4, track_running_stats=False)
    with pytest.raises(ConfigError, match=r"mixes the batch in eval mode.*track_running_stats=False"):
        check_network(network, "x", 3, 2)


@pytest.mark.parametrize(
    ("network", "text"),
    [
        (lambda image: image, "The network x is function. Expected a torch.nn.Module. Derive the class from torch.nn.Module."),
        (
            nn.Identity(),
            "The network x has no parameter to train. Expected layers that are attributes of the module. Keep lists",
        ),
        (Base().requires_grad_(False), "The network x has no parameter to train."),
    ],
)
def test_what_is_no_network_is_named(network, text):
    with pytest.raises(ConfigError) as caught:
        check_network(network, "x", 3, 2)
    assert text in str(caught.value)


def test_a_sound_network_passes_and_is_left_as_it_is():
    network = Base(classes=6).eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state = torch.get_rng_state()
    check_network(network, "x", 3, 6)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert not network.training
    assert all(parameter.grad is None for parameter in network.parameters())


def test_a_head_that_starts_at_zero_and_frozen_layers_are_no_fault():
    network = Base()
    nn.init.zeros_(network.body[3].weight)
    network.body[0].requires_grad_(False)
    check_network(network, "x", 3, 2)


def test_networks_of_segexp_keep_it():
    check_network(UNet(1, 3, width=2), "x", 1, 3)


class Heads(Base):
    """A network with two heads, as a user would write it."""

    deep_supervision = True

    def forward_scales(self, image):
        return self.scales(image)


def test_heads_are_counted():
    assert head_sizes(UNetPlusPlus(1, 2, width=2, depth=4, deep_supervision=True), "x", 1, 2) == [(64, 64)] * 3
    network = Heads()
    network.scales = lambda image: [network.body(image), lower(network, image)]
    assert head_sizes(network, "x", 3, 2) == [(64, 64), (32, 32)]


OFFERED = "Expected the attribute deep_supervision, true, and a method forward_scales(image) that returns logits (B, 2, h, w)."


def test_a_network_without_heads_says_so():
    for network in (UNetPlusPlus(1, 2, width=2, depth=3), Base()):
        with pytest.raises(ConfigError) as caught:
            head_sizes(network, "x", 1, 2)
        assert str(caught.value) == f"The network x has no heads for deep supervision. {OFFERED} Type deep_supervision=null."


@pytest.mark.parametrize(
    ("scales", "text"),
    [
        (lambda net, image: net.body(image), "gives a tensor (1, 2, 64, 64) by forward_scales. Expected a list of logits"),
        (lambda net, image: [], "gives a list of 0 () by forward_scales."),
        (lambda net, image: [image], "gives a list of 1 (a tensor (1, 3, 64, 64)) by forward_scales."),
        (
            lambda net, image: [lower(net, image), net.body(image)],
            "gives heads of 32x32, 64x64 by forward_scales. Expected the finest first. Turn the list round.",
        ),
    ],
)
def test_heads_that_are_none_are_named(scales, text):
    network = Heads()
    network.scales = lambda image: scales(network, image)
    with pytest.raises(ConfigError) as caught:
        head_sizes(network, "x", 3, 2)
    assert text in str(caught.value)
