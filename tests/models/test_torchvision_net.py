import pytest
import torch
import torchvision
from torch import nn

from segexp.errors import ConfigError
from segexp.models import TorchvisionNet
from segexp.models.fitting import adapt_channels
from segexp.models.torchvision_net import imagenet_url

SMALL = "mobilenet_v3_large"


@pytest.mark.parametrize(("architecture", "millions"), [("deeplabv3", 39.63), ("fcn", 32.95)])
def test_parameter_count(architecture, millions):
    with torch.device("meta"):
        net = TorchvisionNet(3, 2, architecture)
    assert sum(p.numel() for p in net.parameters()) == pytest.approx(millions * 1e6, rel=1e-3)


def test_it_is_the_network_of_torchvision():
    theirs = torchvision.models.segmentation.deeplabv3_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=4
    ).eval()
    ours = TorchvisionNet(3, 4, "deeplabv3", SMALL).eval()
    ours.encoder.load_state_dict(theirs.backbone.state_dict())
    ours.head.load_state_dict(theirs.classifier.state_dict())
    image = torch.randn(1, 3, 64, 96)
    torch.testing.assert_close(ours(image), theirs(image)["out"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("architecture", ["deeplabv3", "fcn"])
def test_deep_supervision_is_a_second_head(architecture):
    net = TorchvisionNet(1, 3, architecture, SMALL, deep_supervision=True).eval()
    image = torch.randn(1, 1, 33, 50)
    main, early = net.forward_scales(image)
    assert torch.equal(main, net(image))
    assert main.shape == early.shape == (1, 3, 33, 50)
    early.sum().backward()
    assert all(p.grad is None for p in net.head.parameters())
    assert all(p.grad is not None for p in net.early_head.parameters())
    assert len(TorchvisionNet(1, 3, architecture, SMALL).forward_scales(image)) == 1


def test_resnet_at_stride_8_for_any_channels():
    net = TorchvisionNet(5, 2, "fcn", "resnet50").eval()
    assert net.stride == 8
    assert net.encoder.conv1.in_channels == 5
    maps = []
    net.encoder.register_forward_hook(lambda _, __, out: maps.append(out["out"].shape))
    with torch.no_grad():
        assert net(torch.randn(1, 5, 33, 40)).shape == (1, 2, 33, 40)
    assert maps == [(1, 2048, 5, 5)]


@pytest.mark.parametrize("channels", [1, 3])
def test_weights_from_the_folder_of_torch(channels, tmp_path, monkeypatch):
    whole = torchvision.models.mobilenet_v3_large().state_dict()
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(whole, folder / imagenet_url(SMALL).rpartition("/")[2])
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    net = TorchvisionNet(channels, 2, "deeplabv3", SMALL, "imagenet")
    for name, value in net.encoder.state_dict().items():
        expected = whole[f"features.{name}"]
        torch.testing.assert_close(value, adapt_channels(expected, channels) if name == "0.0.weight" else expected)


def test_published_addresses():
    assert imagenet_url("resnet50") == "https://download.pytorch.org/models/resnet50-0676ba61.pth"
    assert imagenet_url("resnet101") == "https://download.pytorch.org/models/resnet101-63fe2227.pth"


def test_a_batch_of_one_trains():
    net = TorchvisionNet(3, 2, "deeplabv3", SMALL).train()
    net(torch.randn(1, 3, 32, 48)).sum().backward()
    assert all(p.grad.isfinite().all() for p in net.parameters())
    assert all(m.training for m in net.modules() if isinstance(m, nn.BatchNorm2d))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"architecture": "deeplab"}, "model.architecture is 'deeplab'. one of deeplabv3, fcn. Did you mean deeplabv3?"),
        ({"encoder": "resnet34"}, "model.encoder is 'resnet34'. one of mobilenet_v3_large, resnet101, resnet50. Did you mean"),
        ({"weights": "gone.pth"}, "model.weights=gone.pth does not exist."),
    ],
)
def test_nonsense_is_refused(arguments, text):
    with pytest.raises(ConfigError) as caught:
        TorchvisionNet(3, 2, **{"architecture": "fcn", "encoder": SMALL, **arguments})
    assert str(caught.value).startswith(text)


def test_weights_of_another_encoder_are_refused(tmp_path):
    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / "a.pth")
    with pytest.raises(ConfigError, match=r"do not fit the encoder mobilenet_v3_large: .* are missing \(0\.0\.weight, "):
        TorchvisionNet(3, 2, "fcn", SMALL, str(tmp_path / "a.pth"))
