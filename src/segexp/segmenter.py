"""Segmenter: the one object that turns an image into probabilities. Training scores with it, and so does everything after.

Legend: C channels, K classes, h w working size, H W own size.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from segexp.inference import segment
from segexp.preprocessing import Preprocessing
from segexp.types import DataSpec

AUTOCAST = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


@dataclass
class Segmenter:
    """A network with the preprocessing and the class table it was trained with.

    Attributes:
        network: (1, C, h, w) to logits (1, K, h, w).
        preprocessing: image array to network input.
        spec: class names, channels, palette.
        max_pixels: larger working images are seen through windows; None never.
        precision: "32", "bf16-mixed" or "16-mixed".
        channels_last: memory format of the input, as in training.
        facts: what else the checkpoint knows (config, split hash, versions, scores).
    """

    network: nn.Module
    preprocessing: Preprocessing
    spec: DataSpec
    max_pixels: int | None = None
    precision: str = "32"
    channels_last: bool = True
    facts: dict[str, object] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.network.parameters()).device

    def autocast(self) -> AbstractContextManager[None]:
        """Return the precision's context."""
        dtype = AUTOCAST.get(self.precision)
        return torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not None)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the network's logits (B, K, h, w) of prepared images (B, C, h, w)."""
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        logits: torch.Tensor = self.network(images.contiguous(memory_format=layout))
        return logits

    def logits(self, image: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """Return logits (K, H, W) float32 of one prepared image (C, h, w) at its own size; the network is left in its mode."""
        with torch.no_grad(), self.autocast():
            return segment(self.forward, image.to(self.device), size, self.max_pixels)

    def probabilities(self, image: np.ndarray) -> torch.Tensor:
        """Return probabilities (K, H, W) float32, summing to 1, of an image array (H, W, C) uint8, uint16 or float32."""
        self.network.eval()
        return self.logits(self.preprocessing.prepare(image), (image.shape[0], image.shape[1])).softmax(dim=0)

    def classes(self, image: np.ndarray) -> np.ndarray:
        """Return the class index (H, W) uint8 of each pixel of an image array (H, W, C)."""
        return self.probabilities(image).argmax(dim=0).to(torch.uint8).cpu().numpy()

    def to(self, device: str | torch.device) -> "Segmenter":
        """Move the weights; returns itself."""
        self.network.to(device)
        return self
