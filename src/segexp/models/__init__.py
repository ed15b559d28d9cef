"""Networks: pure torch modules from an image (B, C, H, W) to logits (B, K, H, W) of the same height and width."""

from segexp.models.dilated import DilatedNet
from segexp.models.encoder_decoder import EncoderDecoder
from segexp.models.resunet import ResUNet
from segexp.models.torchvision_net import TorchvisionNet
from segexp.models.unet import UNet
from segexp.models.unet_paper import UNetPaper
from segexp.models.unetpp import UNetPlusPlus

__all__ = ["DilatedNet", "EncoderDecoder", "ResUNet", "TorchvisionNet", "UNet", "UNetPaper", "UNetPlusPlus"]
