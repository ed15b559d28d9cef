"""Networks: pure torch modules from an image (B, C, H, W) to logits (B, K, H, W) of the same height and width.

Each network is imported when it is used, so that a command loads only the libraries of the network it was given.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segexp.models.dilated import DilatedNet
    from segexp.models.encoder_decoder import EncoderDecoder
    from segexp.models.resunet import ResUNet
    from segexp.models.torchvision_net import TorchvisionNet
    from segexp.models.unet import UNet
    from segexp.models.unet_paper import UNetPaper
    from segexp.models.unetpp import UNetPlusPlus

__all__ = ["DilatedNet", "EncoderDecoder", "ResUNet", "TorchvisionNet", "UNet", "UNetPaper", "UNetPlusPlus"]

_MODULES = {
    "DilatedNet": "dilated",
    "EncoderDecoder": "encoder_decoder",
    "ResUNet": "resunet",
    "TorchvisionNet": "torchvision_net",
    "UNet": "unet",
    "UNetPaper": "unet_paper",
    "UNetPlusPlus": "unetpp",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
