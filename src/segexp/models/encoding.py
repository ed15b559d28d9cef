"""Which part of a network is its encoder: what is pre-trained, frozen or trained at a rate of its own."""

import re

from torch import nn

from segexp.errors import ConfigError

COLUMN = re.compile(r"conv\d+_0")
"""The blocks of UNet++ that its decoder is not made of: the first column of its grid."""


def encoder_of(network: nn.Module) -> list[nn.Module]:
    """Return the modules that make up the encoder of a network, in its own order; none where it has no such part.

    That is the attribute `encoder` if any (networks on the encoders of libraries, and your own), else the way
    down of a U-Net: `stem` and `down`, of UNet++ the first column.
    """
    found = getattr(network, "encoder", None)
    if isinstance(found, nn.Module):
        return [found]
    parts = dict(network.named_children())
    if isinstance(parts.get("down"), nn.ModuleList):
        return [part for name, part in parts.items() if name in ("stem", "down")]
    return [part for name, part in parts.items() if COLUMN.fullmatch(name)]


def need_encoder(network: nn.Module, name: str, key: str, value: object) -> list[nn.Module]:
    """Return what `encoder_of` returns, for a key that makes no sense without one.

    Args:
        network: any.
        name: of the network, for the message.
        key: that was set.
        value: to which.

    Raises:
        ConfigError: the network has no encoder.
    """
    found = encoder_of(network)
    if not found:
        raise ConfigError(
            f"{key}={value} is about the encoder, and the network {name} has none",
            "A network with a module `encoder` was expected, or a U-Net, whose encoder is its way down",
            f"Leave {key} out, or type model=unet_encoder for a network on any encoder",
        )
    return found
