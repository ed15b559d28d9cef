"""Which part of a network is its encoder."""

import pytest
from torch import nn

from segexp.errors import ConfigError
from segexp.models import DilatedNet, EncoderDecoder, ResUNet, UNet, UNetPaper, UNetPlusPlus
from segexp.models.encoding import encoder_of, need_encoder


def names(network):
    parts = encoder_of(network)
    return [name for name, part in network.named_modules() if any(part is one for one in parts)]


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (UNet(1, 2, width=2, depth=3), ["stem", "down"]),
        (UNet(1, 2, width=2, depth=3, up="bilinear", attention="gate"), ["stem", "down"]),
        (ResUNet(1, 2, width=2, depth=3), ["stem", "down"]),
        (UNetPaper(1, 2, width=2, depth=3), ["down"]),
        (UNetPlusPlus(1, 2, width=2, depth=3), ["conv0_0", "conv1_0", "conv2_0"]),
        (EncoderDecoder(1, 2, "fpn", encoder="tu-test_resnet"), ["encoder"]),
        (DilatedNet(1, 2, width=2), []),
        (nn.Conv2d(1, 2, 1), []),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_parts(network, expected):
    assert names(network) == expected
    inside = {id(p) for part in encoder_of(network) for p in part.parameters()}
    assert len(inside) < len(list(network.parameters()))


def test_ones_own_network_says_it_by_an_attribute():
    class Mine(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.down, self.head = nn.Conv2d(1, 4, 1), nn.ModuleList(), nn.Conv2d(4, 2, 1)

    assert names(Mine()) == ["encoder"]


def test_a_network_without_one_is_named():
    with pytest.raises(ConfigError) as caught:
        need_encoder(DilatedNet(1, 2, width=2), "segexp.models.DilatedNet", "trainer.freeze_encoder", 5)
    assert str(caught.value) == (
        "trainer.freeze_encoder=5 is about the encoder, and the network segexp.models.DilatedNet has none. A network with a "
        "module `encoder` was expected, or a U-Net, whose encoder is its way down. Leave trainer.freeze_encoder out, or type "
        "model=unet_encoder for a network on any encoder."
    )
