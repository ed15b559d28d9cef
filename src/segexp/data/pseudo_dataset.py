"""Pseudo-labelled cases: reading, caching, and mixing with labelled ones.

Legend: C channels, H W original size, h w working size.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Dataset

from segexp.data.dataset import Key, TrainDataset, TrainSample
from segexp.data.io.images import read_image, read_mask
from segexp.data.preprocessing import Size, resize_image, working_size
from segexp.data.statistics import DecodedCase
from segexp.types import Case


@dataclass(frozen=True)
class PseudoReader:
    """Decodes cases with one mask of class indices or bit sets, 255 = ignore.

    Attributes:
        channels: C.
        size: working resolution.
    """

    channels: int
    size: Size = None

    def __call__(self, case: Case) -> DecodedCase:
        """Read image (h, w, C) and mask (H, W) of a case.

        Raises:
            DataError: a file cannot be read.
        """
        image = read_image(case.image, self.channels)
        size = working_size(self.size, image.shape[:2], str(case.image))
        return DecodedCase(resize_image(image, size), read_mask(case.masks[0]))


class ConcatLabeledPseudo(Dataset[TrainSample]):
    """All labelled samples of an epoch, plus pseudo-labelled ones up to a share of the epoch.

    The latter are drawn without replacement from (seed, epoch).
    """

    def __init__(self, labelled: TrainDataset, others: TrainDataset, share: float) -> None:
        """Combine both; `share` is from 0 to below 1."""
        self.labelled, self.others = labelled, others
        self.count = min(len(others), int(len(labelled) * share / (1 - share) + 1e-9))
        self._order: tuple[Key, np.ndarray] = ((), np.zeros(0, np.int64))

    def __len__(self) -> int:
        return len(self.labelled) + self.count

    def __getitem__(self, key: tuple[int, int]) -> TrainSample:
        """Return image (C, h, w) float32, mask (h, w) int64 and the case position, labelled cases first."""
        epoch, position = key
        image, mask, member = self.draw(position, (self.labelled.seed, epoch, position))
        return *self.finish(image, mask), member

    def draw(self, position: int, key: Key) -> tuple[np.ndarray, np.ndarray, int]:
        """Return the sample at a position before normalisation, see `TrainDataset.draw`."""
        beyond = position - len(self.labelled)
        if beyond < 0:
            return self.labelled.draw(position, key)
        image, mask, member = self.others.draw(int(self._drawn(key[:2])[beyond]), key)
        return image, mask, len(self.labelled.members) + member

    def finish(self, image: np.ndarray, mask: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Return image (C, h, w) float32, normalised, and mask (h, w) int64."""
        return self.labelled.finish(image, mask)

    def _drawn(self, epoch: Key) -> np.ndarray:
        """Return the order of the pseudo-labelled samples in an epoch (seed, epoch), cached."""
        if self._order[0] != epoch:
            stream = np.random.SeedSequence((*epoch, 0, 0, 1))  # longer than any sample key, so streams differ
            self._order = (epoch, np.random.default_rng(stream).permutation(len(self.others)))
        return self._order[1]
