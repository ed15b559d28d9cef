"""The networks of segmentation_models_pytorch (smp): any of its decoders on any encoder of smp or timm.

smp requires sizes divisible by its stride and fails on a batch of one; this wrapper fulfils the contract of segexp.
"""

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from segexp.errors import ConfigError, SegexpError, listed, nearest
from segexp.models.blocks import check_choice, check_sizes, crop_to, pad_to
from segexp.models.encoders import check_encoder, load_weights
from segexp.models.trimming import accept_single_values, drop_unused

ARCHITECTURES = {
    "deeplabv3plus": "DeepLabV3Plus",
    "fpn": "FPN",
    "linknet": "Linknet",
    "manet": "MAnet",
    "pspnet": "PSPNet",
    "segformer": "Segformer",
    "unet": "Unet",
    "unetplusplus": "UnetPlusPlus",
}
"""Architecture names and their classes in smp."""

OURS = ("encoder_name", "encoder_depth", "encoder_weights", "in_channels", "classes", "activation", "upsampling", "aux_params")
"""Arguments of smp's classes set here; the others are decoder options."""


class EncoderDecoder(nn.Module):
    """An encoder with a decoder of smp, for images of any size from 16 up.

    Attributes:
        stride: images are padded to a multiple of it.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        architecture: str,
        encoder: str = "resnet34",
        weights: str = "none",
        depth: int = 5,
        decoder: Mapping[str, Any] | None = None,
    ) -> None:
        """Build the network.

        Args:
            in_channels: C.
            num_classes: K.
            architecture: one of `ARCHITECTURES`.
            encoder: a name of smp ("resnet34"), or "tu-" and a name of timm ("tu-convnext_tiny").
            weights: of the encoder: "none" (random), "imagenet" (downloaded once), or a file with its state dict.
            depth: number of encoder levels, 3 to 5; each halves the map.
            decoder: smp's decoder options, without the prefixes "decoder_", "psp_" or "encoder_" (`channels`,
                `attention_type`, `output_stride`); by default as in smp.

        Raises:
            ConfigError: an argument is out of its range, the encoder does not exist or does not work with this decoder, or the
                weights are not available or do not fit.
        """
        super().__init__()
        check_sizes(1, in_channels=in_channels)
        check_sizes(2, num_classes=num_classes)
        check_choice("architecture", architecture, tuple(ARCHITECTURES))
        check_depth(depth)
        check_encoder(encoder)
        decoder = decoder or {}
        options = smp_options(architecture, decoder, depth)
        with _problems_of(architecture, encoder, depth, decoder):
            made = _class(architecture)(
                encoder_name=encoder,
                encoder_depth=depth,
                encoder_weights=None,
                in_channels=in_channels,
                classes=num_classes,
                **options,
            )
        self.stride = int(made.encoder.output_stride)
        self.encoder, self.decoder, self.head = made.encoder, made.decoder, made.segmentation_head
        load_weights(self.encoder, encoder, weights, in_channels, depth)
        with _problems_of(architecture, encoder, depth, decoder):
            trial = torch.zeros(1, in_channels, self.stride, 2 * self.stride)
            logits = drop_unused(self, trial)
            if logits.shape != (1, num_classes, *trial.shape[2:]):
                raise RuntimeError(f"logits of shape {tuple(logits.shape)} for an image of shape {tuple(trial.shape)}")
        accept_single_values(self)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (B, K, H, W) for an image (B, C, H, W) of any size from 16 up."""
        logits: Tensor = self.head(self.decoder(self.encoder(pad_to(image, self.stride))))
        return crop_to(logits, image)


@contextmanager
def _problems_of(architecture: str, encoder: str, depth: int, decoder: Mapping[str, Any]) -> Iterator[None]:
    """Convert errors of smp and timm for an unsupported combination to ConfigError."""
    try:
        yield
    except SegexpError:
        raise
    except Exception as problem:
        lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
        known = options_of(architecture)
        settings = {"encoder": encoder, "depth": depth} | {
            f"decoder.{name}": value for name, value in decoder.items() if _listed(value) != _listed(known[name][1])
        }
        raise ConfigError(
            f"The network {architecture} cannot be made with {', '.join(f'model.{k}={v}' for k, v in settings.items())}: "
            f"{lines[0][:200] if lines else type(problem).__name__}",
            "An encoder whose maps halve from level to level and that takes images of any size, with options that the decoder "
            "knows",
            "Set another encoder, such as model.encoder=resnet34 or tu-convnext_tiny, or another network, such as "
            "model=unet_encoder, which works with most",
        ) from problem


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def check_depth(depth: int) -> None:
    """Validate the number of levels.

    Raises:
        ConfigError: it is not 3, 4 or 5.
    """
    if isinstance(depth, bool) or not isinstance(depth, int) or not 3 <= depth <= 5:
        raise ConfigError(f"model.depth is {depth!r}", "3, 4 or 5 levels of the encoder", "Set model.depth=5")


def options_of(architecture: str) -> dict[str, tuple[str, Any]]:
    """Return the options of an architecture's decoder: short name to smp's name and default."""
    found = {}
    for name, parameter in inspect.signature(_class(architecture).__init__).parameters.items():
        if name not in (*OURS, "self") and parameter.kind is not parameter.VAR_KEYWORD:
            short = name.removeprefix("decoder_").removeprefix("psp_").removeprefix("encoder_")
            found[short] = (name, parameter.default)
    return found


def smp_options(architecture: str, decoder: Mapping[str, Any], depth: int) -> dict[str, Any]:
    """Return smp's keyword arguments for decoder options.

    Raises:
        ConfigError: an unknown option, or a number of channels that differs from the number of levels.
    """
    known = options_of(architecture)
    for name in decoder:
        if name not in known:
            raise ConfigError(
                f"model.decoder.{name} is no option of {architecture}", f"One of {listed(known, 20)}", nearest(name, known)
            )
    chosen = {known[name][0]: value for name, value in decoder.items()}
    channels = {**dict(known.values()), **chosen}.get("decoder_channels")
    if isinstance(channels, list | tuple) and len(channels) != depth:
        fitting = [int(c) for c in [*channels, *[16] * depth][:depth]]
        raise ConfigError(
            f"model.decoder.channels has {len(channels)} entries and model.depth is {depth}",
            "One number of channels for each level, the deepest first",
            f"Set 'model.decoder.channels={str(fitting).replace(' ', '')}'",
        )
    if architecture == "fpn":
        chosen["upsampling"] = 2 ** (depth - 3)  # the pyramid ends two levels below the first level
    elif architecture == "pspnet":
        chosen["upsampling"] = 2**depth
    return chosen


def _class(architecture: str) -> Any:
    import segmentation_models_pytorch as smp

    return getattr(smp, ARCHITECTURES[architecture])
