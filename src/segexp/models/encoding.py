"""Identification of a network's encoder, for pretraining, freezing and a separate learning rate."""

import re

from torch import nn

from segexp.errors import ConfigError

COLUMN = re.compile(r"conv\d+_0")
"""The encoder blocks of UNet++: the first column of its grid."""


def encoder_of(network: nn.Module) -> list[nn.Module]:
    """Return the modules of a network's encoder in order; empty if there is no encoder.

    That is the attribute `encoder`, if any, else the contracting path of a U-Net: `stem` and `down`, or the first column of
    UNet++.
    """
    found = getattr(network, "encoder", None)
    if isinstance(found, nn.Module):
        return [found]
    parts = dict(network.named_children())
    if isinstance(parts.get("down"), nn.ModuleList):
        return [part for name, part in parts.items() if name in ("stem", "down")]
    return [part for name, part in parts.items() if COLUMN.fullmatch(name)]


def need_encoder(network: nn.Module, name: str, key: str, value: object) -> list[nn.Module]:
    """Return the modules of a network's encoder, required by a configuration key.

    Args:
        network: any network.
        name: of the network, for the message.
        key: that was set.
        value: of the key.

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
