"""From a prepared image to logits at the image's own size: whole, or in windows when it is large. Pure torch.

Legend: C channels, K classes, h w working size, H W own size.
"""

from collections.abc import Callable, Iterator

import torch
from torch.nn import functional

Network = Callable[[torch.Tensor], torch.Tensor]


def segment(network: Network, image: torch.Tensor, size: tuple[int, int], max_pixels: int | None = None) -> torch.Tensor:
    """Return the logits (K, H, W) float32 of one prepared image (C, h, w) at its own size (H, W).

    One image is one forward pass, so that a score never depends on which images share a batch.

    Args:
        network: maps (1, C, h, w) to logits (1, K, h, w).
        image: the prepared image.
        size: the own size (H, W) to which the logits are brought, bilinear.
        max_pixels: above this many working pixels the image is seen through overlapping windows.
    """
    if max_pixels is not None and image.shape[-2] * image.shape[-1] > max_pixels:
        logits = _windowed(network, image, int(max_pixels**0.5))
    else:
        logits = network(image[None]).float()[0]
    if tuple(logits.shape[-2:]) != tuple(size):
        logits = functional.interpolate(logits[None], size=tuple(size), mode="bilinear", align_corners=False)[0]
    return logits


def _windowed(network: Network, image: torch.Tensor, window: int) -> torch.Tensor:
    """Blend the logits of windows that overlap by an eighth, weighted by a tent so that no seam shows."""
    height, width = image.shape[-2:]
    tall, wide = min(window, height), min(window, width)
    weight = (_tent(tall, image.device)[:, None] * _tent(wide, image.device)[None]).clamp_min(1e-3)
    total = torch.zeros(1, height, width, device=image.device)
    logits: torch.Tensor | None = None
    for top in _starts(height, tall):
        for left in _starts(width, wide):
            here = (..., slice(top, top + tall), slice(left, left + wide))
            part = network(image[here][None]).float()[0]
            if logits is None:
                logits = torch.zeros(part.shape[0], height, width, device=image.device)
            logits[here] += part * weight
            total[here] += weight
    assert logits is not None, "an image has at least one window"
    return logits.div_(total)


def _tent(length: int, device: torch.device) -> torch.Tensor:
    ramp = torch.arange(1, length + 1, device=device, dtype=torch.float32)
    return torch.minimum(ramp, ramp.flip(0)).div_(max(1, length // 8)).clamp_max(1)


def _starts(length: int, window: int) -> Iterator[int]:
    step = max(1, window - window // 8)
    yield from range(0, length - window, step)
    yield length - window
