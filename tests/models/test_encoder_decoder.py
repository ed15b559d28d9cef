import pytest
import torch
from omegaconf import OmegaConf

from segexp.errors import ConfigError
from segexp.models import EncoderDecoder
from segexp.models.encoder_decoder import ARCHITECTURES, options_of

LEAN = {"unet", "unetplusplus", "manet"}


def make(architecture, encoder="tu-test_resnet", depth=5, **decoder):
    if architecture in LEAN:
        decoder.setdefault("channels", [8] * depth)
    return EncoderDecoder(2, 3, architecture, encoder, depth=depth, decoder=decoder)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_file_says_every_option_of_the_decoder(architecture, conf):
    files = [OmegaConf.load(path) for path in sorted((conf / "model").glob("*.yaml"))]
    (file,) = [f for f in files if f["_target_"].endswith("EncoderDecoder") and f.architecture == architecture]
    defaults = {name: list(v) if isinstance(v, tuple) else v for name, (_, v) in options_of(architecture).items()}
    assert OmegaConf.to_container(file.decoder) == defaults
    assert file.weights == "none"
    assert file.encoder == ("mit_b0" if architecture == "segformer" else "resnet34")
    assert file.depth == (3 if architecture == "pspnet" else 5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("depth", [3, 4])
def test_fewer_levels(architecture, depth):
    net = make(architecture, depth=depth)
    assert net.stride <= 2**depth
    assert net(torch.randn(2, 2, 37, 50)).shape == (2, 3, 37, 50)
    net(torch.randn(2, 2, 32, 32)).sum().backward()
    assert [name for name, p in net.named_parameters() if p.requires_grad and p.grad is None] == []


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("encoder", ["tu-test_convnext", "tu-test_efficientnet"])
def test_encoders_of_timm(architecture, encoder):
    net = make(architecture, encoder)
    assert net(torch.randn(1, 2, 40, 33)).shape == (1, 3, 40, 33)


@pytest.mark.parametrize("architecture", ["fpn", "manet", "pspnet", "segformer", "unet"])
def test_the_transformer_of_segformer(architecture):
    assert make(architecture, "mit_b0")(torch.randn(1, 2, 33, 70)).shape == (1, 3, 33, 70)


def test_levels_that_are_not_read_are_not_there():
    """ResNet-34 has 21.3 million weights, and nine tenths of them lie below the third level."""
    net = EncoderDecoder(3, 2, "pspnet", depth=3)
    assert 1.2e6 < sum(p.numel() for p in net.encoder.parameters()) < 1.5e6
    again = EncoderDecoder(3, 2, "pspnet", depth=3)
    again.load_state_dict(net.state_dict())


def test_options_reach_the_decoder():
    plain, attentive = make("unet"), make("unet", channels=[32, 32, 16, 16, 16], attention_type="scse")
    assert len(attentive.state_dict()) > len(plain.state_dict())
    bare = make("unet", use_norm="identity")
    assert not any(isinstance(layer, torch.nn.BatchNorm2d) for layer in bare.decoder.modules())
    assert make("deeplabv3plus", output_stride=8, channels=16).stride == 8
    assert make("deeplabv3plus").stride == 16


@pytest.mark.parametrize("architecture", ["deeplabv3plus", "pspnet", "unet"])
def test_a_batch_of_one_trains(architecture):
    net = make(architecture).train()
    optimizer = torch.optim.SGD(net.parameters(), 0.01)
    for size in ((16, 16), (64, 64)):
        net(torch.randn(1, 2, *size)).square().mean().backward()
        optimizer.step()
    assert all(p.isfinite().all() for p in net.parameters())
    assert all(layer.training for layer in net.modules())


def refused(call):
    with pytest.raises(ConfigError) as caught:
        call()
    return str(caught.value)


@pytest.mark.parametrize(
    ("architecture", "encoder", "reason"),
    [
        ("unetplusplus", "mit_b0", "UnetPlusPlus is not support encoder_name=mit_b0"),
        ("linknet", "mit_b0", "Encoder `mit_b0` is not supported for Linknet"),
        ("deeplabv3plus", "vgg11", "'VGG' models do not support dilated mode"),
        ("unet", "tu-test_vit", "Unsupported model downsampling pattern"),
    ],
)
def test_encoders_that_a_decoder_does_not_take(architecture, encoder, reason):
    text = refused(lambda: make(architecture, encoder))
    assert text.startswith(f"The network {architecture} cannot be made with model.encoder={encoder}, model.depth=5")
    assert f": {reason}" in text
    assert text.endswith(
        "An encoder whose maps halve from level to level and that takes images of any size, with options that the decoder "
        "knows. Set another encoder, such as model.encoder=resnet34 or tu-convnext_tiny, or another network, such as "
        "model=unet_encoder, which works with most."
    )


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"architecture": "unett"}, "model.architecture is 'unett'. one of deeplabv3plus, fpn, linknet, "),
        ({"encoder": "resnet43"}, "model.encoder is 'resnet43', which does not exist."),
        ({"depth": 6}, "model.depth is 6. 3, 4 or 5 levels of the encoder. Set model.depth=5."),
        ({"depth": 2}, "model.depth is 2."),
        (
            {"depth": 4},
            "model.decoder.channels has 5 entries and model.depth is 4. One number of channels for each level, the deepest "
            "first. Set 'model.decoder.channels=[256,128,64,32]'.",
        ),
        (
            {"decoder": {"chanels": [1]}},
            "model.decoder.chanels is no option of unet. One of use_norm, channels, attention_type, interpolation. Did you "
            "mean channels?",
        ),
        (
            {"decoder": {"attention_type": "se", "interpolation": "nearest"}},
            "The network unet cannot be made with model.encoder=tu-test_resnet, model.depth=5, model.decoder.attention_type=se",
        ),
        ({"weights": "gone.pth"}, "model.weights=gone.pth does not exist."),
    ],
)
def test_nonsense_is_refused(arguments, text):
    arguments = {"architecture": "unet", "encoder": "tu-test_resnet", **arguments}
    assert refused(lambda: EncoderDecoder(3, 2, **arguments)).startswith(text)
