"""The dilated networks of torchvision, DeepLabV3 and FCN, for any number of classes and channels."""

from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from segexp.models.blocks import check_choice, check_sizes, crop_to, pad_to
from segexp.models.encoders import load_file
from segexp.models.pretrained import torch_file
from segexp.models.trimming import accept_single_values

STRIDES = {"mobilenet_v3_large": 16, "resnet101": 8, "resnet50": 8}
"""The encoders and the ratio of the image size to their dilated maps."""


class TorchvisionNet(nn.Module):
    """DeepLabV3 (Chen et al. 2017) or FCN (Long et al. 2015) on a dilated encoder.

    Attributes:
        stride: ratio of the image size to the encoder's map.
        deep_supervision: whether there is an auxiliary head.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        architecture: str,
        encoder: str = "resnet50",
        weights: str = "none",
        deep_supervision: bool = False,
    ) -> None:
        """Build the network; with resnet50, DeepLabV3 has 39.6 million parameters and FCN 33.0.

        Args:
            in_channels: C.
            num_classes: K.
            architecture: "deeplabv3" or "fcn".
            encoder: "resnet50", "resnet101" or "mobilenet_v3_large".
            weights: of the encoder: "none" (random), "imagenet" (downloaded once), or a file with its state dict.
            deep_supervision: add an auxiliary head on an earlier map, for `forward_scales`.

        Raises:
            ConfigError: an argument is out of its range, or the weights are not available or do not fit.
        """
        super().__init__()
        check_sizes(1, in_channels=in_channels)
        check_sizes(2, num_classes=num_classes)
        check_choice("architecture", architecture, ("deeplabv3", "fcn"))
        check_choice("encoder", encoder, tuple(STRIDES))
        from torchvision.models import segmentation
        from torchvision.models.segmentation.fcn import FCNHead

        self.stride, self.deep_supervision = STRIDES[encoder], deep_supervision
        made = getattr(segmentation, f"deeplabv3_{encoder}")(
            weights=None, weights_backbone=None, num_classes=num_classes, aux_loss=deep_supervision
        )
        self.encoder: nn.Module = made.backbone
        set_in_channels(self.encoder, in_channels)
        deep = made.classifier[0].convs[0][0].in_channels
        self.head: nn.Module = made.classifier if architecture == "deeplabv3" else FCNHead(deep, num_classes)
        self.early_head: nn.Module | None = made.aux_classifier
        self.up = nn.Upsample(scale_factor=self.stride, mode="bilinear", align_corners=False)
        if weights != "none":
            path = torch_file(imagenet_url(encoder)) if weights == "imagenet" else Path(weights)
            load_file(self.encoder, encoder, path, in_channels)
        accept_single_values(self)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (B, K, H, W) for an image (B, C, H, W) of any size from 16 up."""
        maps = self.encoder(pad_to(image, self.stride))
        return crop_to(self.up(self.head(maps["out"])), image)

    def forward_scales(self, image: Tensor) -> list[Tensor]:
        """Return the logits (B, K, H, W) of the head and, with deep supervision, of the auxiliary head."""
        padded = pad_to(image, self.stride)
        maps = self.encoder(padded)
        logits = [self.up(self.head(maps["out"]))]
        if self.early_head is not None:
            logits.append(F.interpolate(self.early_head(maps["aux"]), padded.shape[2:], mode="bilinear", align_corners=False))
        return [crop_to(each, image) for each in logits]


def imagenet_url(encoder: str) -> str:
    """Return the URL of an encoder's ImageNet weights, as used by torchvision's segmentation networks."""
    from torchvision import models

    weights: Any = models.get_model_weights(encoder)
    return str(weights.IMAGENET1K_V1.url)


def set_in_channels(encoder: nn.Module, channels: int) -> None:
    """Replace the first convolution for another number of image channels, initialised as in torchvision."""
    name, first = next((name, layer) for name, layer in encoder.named_modules() if isinstance(layer, nn.Conv2d))
    if first.in_channels == channels:
        return
    size: Any = {"kernel_size": first.kernel_size, "stride": first.stride, "padding": first.padding}
    fresh = nn.Conv2d(channels, first.out_channels, bias=False, **size)
    nn.init.kaiming_normal_(fresh.weight, mode="fan_out", nonlinearity="relu")
    parent, _, last = name.rpartition(".")
    setattr(encoder.get_submodule(parent), last, fresh)
