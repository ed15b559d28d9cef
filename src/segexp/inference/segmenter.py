"""Segmenter: from an image to probabilities, used by validation, evaluation and prediction.

Shapes: B batch, C channels, K classes, h w working size, H W original size.
"""

import os
import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from segexp.config.schema import TrainConfig
from segexp.data.io.images import fill_nodata, fit_channels, read_image_and_valid
from segexp.data.labels.modes import LabelMode, label_mode
from segexp.data.preprocessing import Preprocessing
from segexp.errors import CheckpointError, DataError
from segexp.inference import IDENTITY, SMALLEST, Read, View, segment
from segexp.inference.postprocessing import Postprocessing
from segexp.types import DataSpec, Source

Image = np.ndarray | str | os.PathLike[str] | Any
"""An array (H, W) or (H, W, C), a path, or a PIL image."""

SHOWN = {"1": "L", "P": "RGB", "PA": "RGB", "RGBA": "RGB", "LA": "L", "CMYK": "RGB"}
"""PIL modes that must be converted before their values can be used, with the target mode."""

AUTOCAST = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


class NotFiniteError(DataError):
    """A network gives logits of which no probabilities follow: NaN, or infinity."""


def require_finite(probabilities: torch.Tensor, name: object = "this image") -> torch.Tensor:
    """Return probabilities as they are.

    Args:
        probabilities: of any shape.
        name: of the image, for the message.

    Raises:
        NotFiniteError: some are not a number.
    """
    if not has_finite_sum(probabilities):
        raise not_finite(name)
    return probabilities


def not_finite(name: object) -> NotFiniteError:
    """Return the error about the logits of an image."""
    return NotFiniteError(
        f"The network gives values for {name} that are not finite numbers",
        "Finite numbers were expected: others mean no class",
        "Look at the image: it may hold NaN or extreme values. If it does not, train again with a lower optimizer.lr",
    )


def has_finite_sum(tensor: torch.Tensor) -> bool:
    """Return whether the sum is finite: a fast test that only finite numbers pass. A sum of them can overflow and fail it."""
    return bool(torch.isfinite(tensor.sum()))


@dataclass(frozen=True)
class Provenance:
    """Origin of a trained network.

    Attributes:
        file: a checkpoint or an exported file.
        config: of the run that trained it.
        split_hash: of the split that it was trained on; see `data.splits.split_hash`.
        fingerprint: of the training images, see `types.Fingerprint`.
        tuned: whether the file stores a post-processing.
        held_out: ids of its val and test cases; empty where they follow from the seed.
    """

    file: Path
    config: TrainConfig
    split_hash: str | None = None
    fingerprint: Mapping[str, Any] = field(default_factory=dict)
    tuned: bool = False
    held_out: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def run(self) -> Path:
        """The run directory of a checkpoint."""
        return self.file.resolve().parent.parent


@dataclass
class Segmenter:
    """A network with its preprocessing and class table.

    Attributes:
        network: (B, C, h, w) to logits (B, K, h, w).
        preprocessing: image array to network input.
        spec: class names, channels, palette.
        max_pixels: larger images are processed in windows of at most this size; None for never. Halved if GPU memory is
            insufficient.
        precision: "32", "bf16-mixed" or "16-mixed".
        channels_last: memory format of the input, as in training.
        provenance: origin; None for a network that was not loaded from a file.
        postprocessing: probabilities to classes.
    """

    network: nn.Module
    preprocessing: Preprocessing
    spec: DataSpec
    max_pixels: int | None = None
    precision: str = "32"
    channels_last: bool = True
    provenance: Provenance | None = None
    postprocessing: Postprocessing = field(default_factory=Postprocessing)

    @property
    def origin(self) -> Provenance:
        """The provenance.

        Raises:
            CheckpointError: it was not loaded from a file.
        """
        if self.provenance is None:
            raise CheckpointError(
                "This network was not loaded from a file, so the data and settings that trained it are not known",
                "A segmenter of segexp.load was expected",
                "Save it, and load it again with segexp.load(FILE)",
            )
        return self.provenance

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.network.parameters()).device

    @property
    def label_mode(self) -> LabelMode:
        """Label mode of logits and masks."""
        return label_mode(self.spec)

    def autocast(self) -> AbstractContextManager[None]:
        """Return the autocast context of the precision."""
        dtype = AUTOCAST.get(self.precision)
        return torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not None)

    def arrange(self, images: torch.Tensor) -> torch.Tensor:
        """Return images (B, C, h, w) in the memory format of the network."""
        return images.contiguous(memory_format=torch.channels_last if self.channels_last else torch.contiguous_format)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the network's logits (B, K, h, w) of prepared images (B, C, h, w)."""
        logits: torch.Tensor = self.network(self.arrange(images))
        return logits

    def logits(self, image: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """Return logits (K, H, W) float32 of one prepared image (C, h, w) at original size, without changing the mode."""
        working = (image.shape[-2], image.shape[-1])
        return self._segment(lambda rows, columns: image[:, rows, columns].to(self.device), working, size, IDENTITY)

    def predict(self, image: Image) -> np.ndarray:
        """Return the class index (H, W) uint8 of each pixel of an image, at original size; of overlapping labels, bit sets.

        Pixels without data, of a file (see `data.nodata`) or of a masked array, are background, or 255 where no class is the
        background.

        Args:
            image: an array (H, W) or (H, W, C) of uint8, uint16 or float32, a PIL image, or the path of a file.

        Raises:
            DataError: the file cannot be read, the image has another number of channels than the network, or the network's
                values for it are not finite.

        Example:
            >>> mask = model.predict("scan.png")
        """
        return self.classes(image)

    def probabilities(self, image: Image, view: View = IDENTITY) -> torch.Tensor:
        """Return probabilities (K, H, W) float32 of an image at original size; see `LabelMode`.

        They are on the device of the weights, or in main memory if GPU memory is insufficient; 0 for pixels without data.

        Args:
            image: as in `predict`.
            view: test-time view.

        Raises:
            DataError: the image has another number of channels than the network, or its values for it are not finite.
        """
        probabilities, valid = self._probabilities(image, view)
        return probabilities if valid is None else probabilities * torch.from_numpy(valid).to(probabilities.device)

    def _probabilities(self, image: Image, view: View = IDENTITY) -> tuple[torch.Tensor, np.ndarray | None]:
        """Return `probabilities` as the network gives them, also for filled pixels, and which pixels hold data."""
        name = image if isinstance(image, str | os.PathLike) else "this image"
        image, valid = self.read_and_valid(image)
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
        logits = self._segment(read, (working.shape[0], working.shape[1]), size, view)
        return require_finite(self.label_mode.probabilities_(logits), name), valid

    def read(self, image: Image) -> np.ndarray:
        """Return an image as an array (H, W, C), see `read_and_valid`."""
        return self.read_and_valid(image)[0]

    def read_and_valid(self, image: Image) -> tuple[np.ndarray, np.ndarray | None]:
        """Return an image as an array (H, W, C), and which pixels of a file or masked array hold data, (H, W); None if all do.

        PIL images are converted; gray and colour become each other.

        Raises:
            DataError: the file cannot be read, or the channels of a file or a PIL image do not fit.
        """
        if isinstance(image, str | os.PathLike):
            source = Source(Path(image))
            if self.provenance:
                data = self.provenance.config.data
                source = replace(source, exif=data.exif == "apply", nodata=data.nodata)
            return read_image_and_valid(source, self.spec.channels)
        if not isinstance(image, np.ndarray):
            whole = image.mode in ("LA", "RGBA") and len(image.mode) == self.spec.channels
            array = np.asarray(image.convert(SHOWN[image.mode]) if image.mode in SHOWN and not whole else image)
            return fit_channels(array[..., None] if array.ndim == 2 else array, self.spec.channels, "The image"), None
        image, valid = image[..., None] if image.ndim == 2 else image, None
        if isinstance(image, np.ma.MaskedArray) and image.ndim == 3:
            image, valid = fill_nodata(image.data, np.ma.getmaskarray(image))
        swapped = image.ndim == 3 and {image.shape[2], self.spec.channels} == {1, 3}
        return (fit_channels(image, self.spec.channels, "The image") if swapped else image), valid

    def classes(self, image: Image) -> np.ndarray:
        """Return the class index (H, W) uint8 of each pixel of an image; of overlapping labels, bit sets."""
        probabilities, valid = self._probabilities(image)
        return self.spec.without_nodata(self.label_mode.decide(probabilities, self.postprocessing), valid)

    def decide(self, logits: torch.Tensor) -> np.ndarray:
        """Return the mask (H, W) uint8 of logits (K, H, W), which are modified in place."""
        return self.label_mode.decide(self.label_mode.probabilities_(logits), self.postprocessing)

    def to(self, device: str | torch.device) -> "Segmenter":
        """Move the weights and return itself."""
        self.network.to(device)
        return self

    def _segment(self, read: Read, working: tuple[int, int], size: tuple[int, int], view: View) -> torch.Tensor:
        """Return logits (K, H, W) float32; if GPU memory is insufficient, the windows become smaller permanently."""
        network = view.wrap(self.forward)
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
