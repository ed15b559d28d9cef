import pytest
import torch
import torch.nn.functional as F
from torch import nn

from segexp.errors import ConfigError
from segexp.models.blocks import (
    NORMS,
    ConvNormAct,
    DoubleConv,
    GroupNorm,
    check_choice,
    check_share,
    check_sizes,
    crop_to,
    init_weights,
    mirror,
    norm_layer,
    pad_to,
)


@pytest.mark.parametrize(("height", "width", "stride"), [(97, 131, 32), (64, 64, 16), (33, 40, 16), (17, 31, 8)])
def test_padding_agrees_with_torch(height, width, stride):
    image = torch.randn(2, 3, height, width)
    tall, wide = -height % stride, -width % stride
    expected = F.pad(image, (wide // 2, wide - wide // 2, tall // 2, tall - tall // 2), mode="reflect")
    assert torch.equal(pad_to(image, stride), expected)


def test_padding_that_fits_changes_nothing():
    image = torch.randn(1, 2, 32, 48)
    assert torch.equal(pad_to(image, 16), image)


def test_padding_wider_than_the_image_bounces_to_and_fro():
    row = torch.tensor([0.0, 1.0, 2.0]).view(1, 1, 1, 3).expand(1, 1, 2, 3)
    padded = pad_to(row, 16)
    assert padded.shape == (1, 1, 16, 16)
    assert padded[0, 0, 0].tolist() == [2, 1, 0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2, 1, 0, 1]
    assert torch.equal(crop_to(padded, row), row)


@pytest.mark.parametrize("size", [(16, 16), (16, 17), (31, 33), (97, 131)])
@pytest.mark.parametrize("stride", [1, 2, 16, 32, 128])
def test_cropping_undoes_padding(size, stride):
    image = torch.randn(1, 1, *size)
    padded = pad_to(image, stride)
    assert all(p % stride == 0 and 0 <= p - s < stride for p, s in zip(padded.shape[2:], size, strict=True))
    assert torch.equal(crop_to(padded, image), image)


@pytest.mark.parametrize(("norm", "kind"), [("batch", nn.BatchNorm2d), ("instance", GroupNorm), ("group", GroupNorm)])
def test_norms(norm, kind):
    layer = norm_layer(norm, 12)
    assert isinstance(layer, kind)
    assert sum(p.numel() for p in layer.parameters()) == 24
    out = layer(torch.randn(4, 12, 8, 8) * 3 + 5)
    assert out.mean().item() == pytest.approx(0, abs=1e-5)
    assert out.std().item() == pytest.approx(1, abs=1e-2)


def test_instance_norm_agrees_with_torch():
    x = torch.randn(2, 6, 5, 5)
    torch.testing.assert_close(norm_layer("instance", 6)(x), nn.InstanceNorm2d(6)(x))


@pytest.mark.parametrize(("channels", "groups"), [(64, 32), (48, 16), (12, 4), (7, 1)])
def test_groups_divide_the_channels(channels, groups):
    layer = norm_layer("group", channels)
    assert layer.num_groups == groups


def test_group_norm_takes_a_single_pixel():
    out = norm_layer("instance", 4)(torch.randn(1, 4, 1, 1))
    torch.testing.assert_close(out, torch.zeros(1, 4, 1, 1), rtol=0, atol=1e-3)


@pytest.mark.parametrize("norm", NORMS)
def test_bias_only_without_a_norm(norm):
    convolutions = [m for m in DoubleConv(3, 8, norm).modules() if isinstance(m, nn.Conv2d)]
    assert [c.bias is not None for c in convolutions] == [norm == "none"] * 2
    assert [(c.in_channels, c.out_channels) for c in convolutions] == [(3, 8), (8, 8)]


def test_rate_and_stride():
    block = ConvNormAct(1, 1, "none", rate=4)
    with torch.no_grad():
        block[0].weight.fill_(1)
        block[0].bias.zero_()
        spot = torch.zeros(1, 1, 17, 17)
        spot[0, 0, 8, 8] = 1
        rows, columns = block(spot)[0, 0].nonzero(as_tuple=True)
    assert set(zip(rows.tolist(), columns.tolist(), strict=True)) == {(r, c) for r in (4, 8, 12) for c in (4, 8, 12)}
    assert ConvNormAct(1, 2, "batch", stride=2)(torch.randn(2, 1, 32, 64)).shape == (2, 2, 16, 32)


@pytest.mark.parametrize("start", [-40, -3, 0, 5, 90])
def test_mirrored_pixels_go_to_and_fro_without_end(start):
    row = torch.arange(5.0).view(1, 1, 1, 5)
    period = [0, 1, 2, 3, 4, 3, 2, 1]
    assert mirror(row, 3, start, 21).flatten().tolist() == [period[(start + n) % 8] for n in range(21)]


def test_batch_norm_takes_a_single_value():
    layer, plain = norm_layer("batch", 4), nn.BatchNorm2d(4)
    x = torch.randn(2, 4, 5, 5) + 3
    assert torch.equal(layer(x), plain(x)), "anything else as torch does"
    assert layer.state_dict().keys() == plain.state_dict().keys()
    state = {key: value.clone() for key, value in layer.state_dict().items()}
    single = torch.randn(1, 4, 1, 1)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        plain(single)
    assert torch.equal(layer(single), plain.eval()(single))
    assert all(torch.equal(value, state[key]) for key, value in layer.state_dict().items())


def test_weights_keep_the_variance_of_relu_networks():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(64, 128, 3), nn.Conv2d(32, 256, 1), nn.ConvTranspose2d(128, 64, 2, 2))
    init_weights(net)
    assert [layer.weight.std().item() ** 2 for layer in net] == pytest.approx([2 / 576, 2 / 32, 2 / 128], rel=0.03)
    assert all(layer.bias.abs().max() == 0 for layer in net)


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (lambda: check_sizes(1, width=0), "model.width is 0. an integer of at least 1. Set model.width=1 or more."),
        (
            lambda: check_sizes(2, num_classes=1),
            "model.num_classes is 1. an integer of at least 2. Set data.num_classes=2 or more.",
        ),
        (lambda: check_sizes(1, in_channels=2.5), "model.in_channels is 2.5. an integer of at least 1. Set data.channels=1"),
        (lambda: check_sizes(1, width=True), "model.width is True."),
        (lambda: check_choice("norm", "bach", NORMS), "model.norm is 'bach'. one of batch, instance, group, none. Did you"),
        (lambda: check_choice("norm", "bach", NORMS), "Did you mean batch?"),
        (lambda: check_share("dropout", 1.0), "model.dropout is 1.0. a share from 0 to below 1. Set model.dropout=0.0."),
    ],
)
def test_nonsense_is_refused(check, text):
    with pytest.raises(ConfigError) as error:
        check()
    assert text in str(error.value)
