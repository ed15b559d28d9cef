"""Pictures whose masks a network made: read, kept, and drawn beside the labelled ones.

Legend: C channels, H W own size, h w working size.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Dataset

from segexp.data.cache import DiskStore, RamStore, ReadingStore, Store, cache_folder, choose_cache, store_key
from segexp.data.dataset import Drawn, Key, TrainDataset
from segexp.data.io.images import read_image, read_mask
from segexp.data.preprocessing import Size, resize_image, working_size
from segexp.data.statistics import Picture, read_all
from segexp.types import Case


@dataclass(frozen=True)
class PseudoReader:
    """Decodes a case whose one mask holds class indices (or bit sets) as they are, 255 = ignore.

    Attributes:
        channels: C.
        size: working resolution.
    """

    channels: int
    size: Size = None

    def __call__(self, case: Case) -> Picture:
        """Read image (h, w, C) and mask (H, W) of one case.

        Raises:
            DataError: a file cannot be read.
        """
        image = read_image(case.image, self.channels)
        size = working_size(self.size, image.shape[:2], str(case.image))
        return Picture(resize_image(image, size), read_mask(case.masks[0]))


def keep(reader: PseudoReader, cases: Sequence[Case], cache: str) -> Store:
    """Return the pictures of all cases, kept as `data.cache` says."""
    few = [reader(case) for case in cases[:: max(1, len(cases) // 4)]] if cache == "auto" else []
    needed = sum(one.image.nbytes + one.mask.nbytes for one in few) * len(cases) // max(1, len(few))
    mode = choose_cache(cache, needed)
    if mode == "ram":
        return RamStore(read_all(reader, cases))
    if mode == "disk":
        folder = cache_folder() / store_key(cases, reader)
        return DiskStore(folder) if folder.is_dir() else DiskStore.write(folder, read_all(reader, cases))
    return ReadingStore(reader, cases)


class ConcatLabeledPseudo(Dataset[Drawn]):
    """Labelled samples, all of them in each epoch, and so many others that they are no more than a share of it.

    Which of the others an epoch has is drawn from (seed, epoch), without drawing one twice.
    """

    def __init__(self, labelled: TrainDataset, others: TrainDataset, share: float) -> None:
        """Take both; `share` is from 0 to below 1."""
        self.labelled, self.others = labelled, others
        self.count = min(len(others), int(len(labelled) * share / (1 - share) + 1e-9))
        self._order: tuple[Key, np.ndarray] = ((), np.zeros(0, np.int64))

    def __len__(self) -> int:
        return len(self.labelled) + self.count

    def __getitem__(self, key: tuple[int, int]) -> Drawn:
        """Return image (C, h, w) float32, mask (h, w) int64 and the picture's position, the labelled ones first."""
        epoch, position = key
        image, mask, member = self.draw(position, (self.labelled.seed, epoch, position))
        return *self.finish(image, mask), member

    def draw(self, position: int, key: Key) -> tuple[np.ndarray, np.ndarray, int]:
        """Return the sample at a position before normalisation, see `TrainingSet.draw`."""
        beyond = position - len(self.labelled)
        if beyond < 0:
            return self.labelled.draw(position, key)
        image, mask, member = self.others.draw(int(self._drawn(key[:2])[beyond]), key)
        return image, mask, len(self.labelled.members) + member

    def finish(self, image: np.ndarray, mask: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Return image (C, h, w) float32, normalised, and mask (h, w) int64 of what was drawn."""
        return self.labelled.finish(image, mask)

    def _drawn(self, epoch: Key) -> np.ndarray:
        """Return the order of the others in an epoch (seed, epoch); each process draws it once."""
        if self._order[0] != epoch:
            stream = np.random.SeedSequence((*epoch, 0, 0, 1))  # longer than the key of any sample
            self._order = (epoch, np.random.default_rng(stream).permutation(len(self.others)))
        return self._order[1]
