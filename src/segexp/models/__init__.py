"""Networks: pure torch modules from an image (B, C, H, W) to logits (B, K, H, W) of the same height and width."""

from segexp.models.dilated import DilatedNet
from segexp.models.unet import UNet
from segexp.models.unetpp import UNetPlusPlus

__all__ = ["DilatedNet", "UNet", "UNetPlusPlus"]
