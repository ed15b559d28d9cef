"""Segmenter: the one object that turns an image into probabilities. Training scores with it, and so does everything after.

Legend: B batch, C channels, K classes, h w working size, H W own size.
"""

import warnings
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from segexp.data.labels.modes import LabelMode, label_mode
from segexp.data.preprocessing import Preprocessing
from segexp.errors import DataError
from segexp.inference import IDENTITY, SMALLEST, Read, View, segment
from segexp.inference.postprocessing import Postprocessing
from segexp.types import DataSpec

AUTOCAST = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


@dataclass
class Segmenter:
    """A network with the preprocessing and the class table it was trained with.

    Attributes:
        network: (B, C, h, w) to logits (B, K, h, w).
        preprocessing: image array to network input.
        spec: class names, channels, palette.
        max_pixels: larger working images are seen through windows of at most so many pixels; None never. It is halved when
            the GPU's memory does not suffice.
        precision: "32", "bf16-mixed" or "16-mixed".
        channels_last: memory format of the input, as in training.
        facts: what else the checkpoint knows (config, split hash, versions, scores).
        postprocessing: probabilities to classes.
    """

    network: nn.Module
    preprocessing: Preprocessing
    spec: DataSpec
    max_pixels: int | None = None
    precision: str = "32"
    channels_last: bool = True
    facts: dict[str, object] = field(default_factory=dict)
    postprocessing: Postprocessing = field(default_factory=Postprocessing)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.network.parameters()).device

    @property
    def labelling(self) -> LabelMode:
        """What logits and masks mean."""
        return label_mode(self.spec)

    def autocast(self) -> AbstractContextManager[None]:
        """Return the precision's context."""
        dtype = AUTOCAST.get(self.precision)
        return torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not None)

    def arrange(self, images: torch.Tensor) -> torch.Tensor:
        """Return images (B, C, h, w) in the memory format that the network is run in."""
        return images.contiguous(memory_format=torch.channels_last if self.channels_last else torch.contiguous_format)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the network's logits (B, K, h, w) of prepared images (B, C, h, w)."""
        logits: torch.Tensor = self.network(self.arrange(images))
        return logits

    def logits(self, image: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """Return logits (K, H, W) float32 of one prepared image (C, h, w) at its own size; the network is left in its mode."""
        working = (image.shape[-2], image.shape[-1])
        return self._segment(lambda rows, columns: image[:, rows, columns].to(self.device), working, size, IDENTITY)

    def probabilities(self, image: np.ndarray, view: View = IDENTITY) -> torch.Tensor:
        """Return probabilities (K, H, W) float32, see `LabelMode`, of an image array (H, W, C) uint8, uint16 or float32.

        They are where the weights are, or in main memory where a GPU has no room for them. A large image is prepared window
        by window.

        Args:
            image: the array.
            view: how the network is to see it.

        Raises:
            DataError: the image has another number of channels than the network takes.
        """
        if image.ndim != 3 or image.shape[2] != self.spec.channels:
            raise DataError(
                f"The image has {image.shape[2] if image.ndim == 3 else 'no axis for its'} channels, shape {image.shape}",
                f"The network takes {self.spec.channels}, as (height, width, {self.spec.channels})",
                f"Convert the image to {self.spec.channels} channels, or take a network that was trained on such images",
            )
        self.network.eval()
        working = self.preprocessing.resize(image)

        def read(rows: slice, columns: slice) -> torch.Tensor:
            return self.preprocessing.finish(working[rows, columns]).to(self.device)

        size = (image.shape[0], image.shape[1])
        return self.labelling.probabilities_(self._segment(read, (working.shape[0], working.shape[1]), size, view))

    def classes(self, image: np.ndarray) -> np.ndarray:
        """Return the class index (H, W) uint8 of each pixel of an image array (H, W, C); of overlapping labels, bit sets."""
        return self.labelling.decide(self.probabilities(image), self.postprocessing)

    def decide(self, logits: torch.Tensor) -> np.ndarray:
        """Return the mask (H, W) uint8 that logits (K, H, W) mean; they become probabilities in place."""
        return self.labelling.decide(self.labelling.probabilities_(logits), self.postprocessing)

    def to(self, device: str | torch.device) -> "Segmenter":
        """Move the weights; returns itself."""
        self.network.to(device)
        return self

    def _segment(self, read: Read, working: tuple[int, int], size: tuple[int, int], view: View) -> torch.Tensor:
        """Return logits (K, H, W) float32, with smaller windows from here on when the GPU's memory does not suffice."""
        network = view.around(self.forward)
        while True:
            try:
                with torch.no_grad(), self.autocast():
                    return segment(network, read, working, size, self.max_pixels)
            except torch.OutOfMemoryError:
                pixels = working[0] * working[1]
                budget = min(self.max_pixels or pixels, pixels) // 2
                if budget < SMALLEST:
                    raise
            self.max_pixels = budget
            warnings.warn(
                f"The GPU's memory does not suffice for {2 * budget} pixels at once. Large images are now seen through windows "
                f"of {budget} pixels; type max_pixels={budget} (data.max_pixels={budget} in training) to begin with those.",
                stacklevel=3,
            )
            torch.cuda.empty_cache()
