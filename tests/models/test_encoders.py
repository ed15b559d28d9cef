"""Pretrained weights from files that are made here; nothing is fetched."""

import re

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save_file
from segmentation_models_pytorch.encoders import encoders, get_encoder

from segexp.errors import ConfigError
from segexp.models import EncoderDecoder
from segexp.models.encoders import check_encoder, load_file, load_weights
from segexp.models.fitting import adapt_channels


@pytest.fixture(autouse=True)
def offline(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def cached(tmp_path, repository, revision, state):
    """Put weights where the hub's cache keeps them."""
    folder = tmp_path / "hub" / f"models--{repository.replace('/', '--')}" / "snapshots" / revision
    folder.mkdir(parents=True)
    save_file({name: value.contiguous() for name, value in state.items()}, folder / "model.safetensors")


def equal_but_first(encoder, state, first, channels):
    """Whether an encoder has these weights, the first convolution adapted."""
    for name, value in encoder.state_dict().items():
        expected = adapt_channels(state[name], channels) if name == first else state[name]
        torch.testing.assert_close(value, expected)


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_imagenet_for_an_encoder_of_smp(channels, tmp_path):
    state = get_encoder("mobilenet_v2").state_dict()
    settings = encoders["mobilenet_v2"]["pretrained_settings"]["imagenet"]
    cached(tmp_path, settings["repo_id"], settings["revision"], state)
    net = EncoderDecoder(channels, 2, "linknet", "mobilenet_v2", "imagenet")
    equal_but_first(net.encoder, state, "features.0.0.weight", channels)
    assert net(torch.randn(1, channels, 33, 40)).shape == (1, 2, 33, 40)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_imagenet_for_an_encoder_of_timm(channels, tmp_path):
    whole = timm.create_model("test_resnet").state_dict()
    cached(tmp_path, "timm/test_resnet.r160_in1k", "main", whole)
    net = EncoderDecoder(channels, 2, "linknet", "tu-test_resnet", "imagenet")
    equal_but_first(net.encoder.model, whole, "conv1.0.weight", channels)


def test_with_one_channel_the_libraries_say_the_same(tmp_path):
    whole = timm.create_model("test_convnext")
    cached(tmp_path, "timm/test_convnext.r160_in1k", "main", whole.state_dict())
    save_file(whole.state_dict(), tmp_path / "a.safetensors")
    theirs = timm.create_model(
        "test_convnext",
        features_only=True,
        pretrained=True,
        in_chans=1,
        pretrained_cfg_overlay={"file": str(tmp_path / "a.safetensors")},
    )
    ours = EncoderDecoder(1, 2, "segformer", "tu-test_convnext", "imagenet")
    for name, value in ours.encoder.model.state_dict().items():
        torch.testing.assert_close(value, theirs.state_dict()[name])


def test_names_that_a_library_has_changed_since_are_its_own_to_read(tmp_path):
    whole = timm.create_model("test_convnext").state_dict()
    old = {}
    for name, value in whole.items():
        name = name.replace("stem.", "downsample_layers.0.").replace("conv_dw", "dwconv").replace("mlp.fc", "pwconv")
        name = re.sub(r"stages.(\d).blocks", r"stages.\1", name)
        name = re.sub(r"stages.(\d).downsample", r"downsample_layers.\1", name)
        old[name.replace("head.norm", "norm").replace("head.fc", "head")] = value
    torch.save(old, tmp_path / "original.pth")
    net = EncoderDecoder(3, 2, "segformer", "tu-test_convnext", str(tmp_path / "original.pth"))
    assert torch.equal(net.encoder.model.state_dict()["stages_1.downsample.1.weight"], whole["stages.1.downsample.1.weight"])
    dense = get_encoder("densenet121", depth=3)
    state = {re.sub(r"(denselayer\d+\.)(norm|conv)(\d)", r"\1\2.\3", name): value for name, value in dense.state_dict().items()}
    torch.save({name: value + 1 for name, value in state.items() if not name.endswith("tracked")}, tmp_path / "dense.pth")
    before = {name: value.clone() for name, value in dense.state_dict().items()}
    load_weights(dense, "densenet121", str(tmp_path / "dense.pth"), 3)
    name = "features.denseblock1.denselayer1.norm1.weight"
    assert torch.equal(dense.state_dict()[name], before[name] + 1)


def test_a_file_is_the_encoder_of_another_network_too(tmp_path):
    trained = EncoderDecoder(3, 6, "linknet", "tu-test_resnet")
    torch.save({"state_dict": {f"network.{name}": value for name, value in trained.state_dict().items()}}, tmp_path / "a.ckpt")
    net = EncoderDecoder(1, 2, "unet", "tu-test_resnet", str(tmp_path / "a.ckpt"))
    equal_but_first(net.encoder, trained.encoder.state_dict(), "model.conv1.0.weight", 1)


@pytest.mark.parametrize("depth", [3, 5])
def test_fewer_levels_take_the_weights_of_all(depth, tmp_path):
    torch.save(whole := timm.create_model("test_byobnet").state_dict(), tmp_path / "a.pth")
    channels = {"channels": [8] * depth}
    net = EncoderDecoder(3, 2, "unet", "tu-test_byobnet", str(tmp_path / "a.pth"), depth, channels)
    assert torch.equal(net.encoder.model.state_dict()["stem.conv.weight"], whole["stem.conv.weight"])


def refused(call):
    with pytest.raises(ConfigError) as caught:
        call()
    return str(caught.value)


def test_weights_of_another_encoder_are_refused(tmp_path):
    torch.save(timm.create_model("test_byobnet").state_dict(), tmp_path / "a.pth")
    text = refused(lambda: EncoderDecoder(3, 2, "unet", "tu-test_resnet", str(tmp_path / "a.pth")))
    assert re.match(
        rf"The weights in {tmp_path}/a\.pth do not fit the encoder tu-test_resnet: (\d+) of the encoder's \1 weights are "
        r"missing \(conv1\.0\.weight, .* and \d+ more\)\. ",
        text,
    ), text
    assert "Set model.encoder to the encoder that the file is for" in text


def test_a_deeper_encoder_of_the_same_kind_is_refused(tmp_path):
    torch.save(get_encoder("resnet34").state_dict(), tmp_path / "a.pth")
    text = refused(lambda: load_weights(get_encoder("resnet18"), "resnet18", str(tmp_path / "a.pth"), 3))
    assert "of the file are unexpected (layer1.2.conv1.weight, " in text
    assert "missing" not in text


def test_a_smaller_one_on_its_own(tmp_path):
    torch.save({"conv.weight": torch.zeros(2, 3, 1, 1)}, tmp_path / "a.pth")
    module = torch.nn.Sequential()
    module.conv = torch.nn.Conv2d(1, 2, 1)
    assert "1 of the encoder's 2 weights are missing (conv.bias)" in refused(
        lambda: load_file(module, "tiny", tmp_path / "a.pth", 1)
    )


@pytest.mark.parametrize(
    ("encoder", "weights", "text"),
    [
        (
            "resnext101_32x16d",
            "imagenet",
            "model.weights=imagenet, and none of that name are published for the encoder resnext101_32x16d. One of instagram, "
            "ssl, swsl, none, or a file. Set model.weights=instagram, or another model.encoder.",
        ),
        ("resnet34", "imagnet", "model.weights=imagnet does not exist. imagenet, none, or a file with the state dict of the"),
    ],
)
def test_weights_that_do_not_exist(encoder, weights, text):
    assert refused(lambda: load_weights(torch.nn.Identity(), encoder, weights, 3)).startswith(text)


def test_a_network_of_timm_without_weights():
    name = next(n for n in timm.list_models() if not timm.models.is_model_pretrained(n))
    text = refused(lambda: load_weights(torch.nn.Identity(), f"tu-{name}", "imagenet", 3))
    assert "Nothing is published for it: none, or a file. Set model.weights=none, or another model.encoder." in text


@pytest.mark.parametrize("name", ["resnet34", "mit_b0", "tu-convnext_tiny", "tu-resnet18.a1_in1k"])
def test_names_that_exist(name):
    check_encoder(name)


@pytest.mark.parametrize(
    ("name", "do"),
    [
        ("resnet43", "Did you mean resnet34, "),
        ("tu-convnxt_tiny", "Did you mean tu-convnext_tiny"),
        ("convnext_tiny", "convnext_tiny is a network of timm: set model.encoder=tu-convnext_tiny"),
    ],
)
def test_names_that_do_not_exist(name, do):
    with pytest.raises(ConfigError) as caught:
        check_encoder(name)
    assert caught.value.found == f"model.encoder is {name!r}, which does not exist"
    assert caught.value.expected == (
        f"One of the {len(encoders)} encoders of segmentation_models_pytorch, such as resnet34 and mit_b0, or one of the "
        f"{len(timm.list_models())} networks of timm with tu- before its name, such as tu-convnext_tiny"
    )
    assert caught.value.do.startswith(do)


def test_a_tag_that_does_not_exist():
    assert refused(lambda: check_encoder("tu-resnet18.a4_in1k")).startswith(
        "model.encoder is 'tu-resnet18.a4_in1k', and timm has no weights 'a4_in1k' for resnet18. One of the tags "
    )
