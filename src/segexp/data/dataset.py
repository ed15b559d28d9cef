"""Datasets, samplers and collation. Order and augmentation are pure functions of (seed, epoch, position).

Legend: B batch, C channels, H W pixels.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Protocol

import numpy as np
import torch
from torch.nn import functional
from torch.utils.data import Dataset, Sampler

from segexp.data.cache import Store
from segexp.data.labels.modes import MULTICLASS, LabelMode
from segexp.data.preprocessing import Preprocessing, resize_mask, to_unit
from segexp.data.transforms import Draw, Foreground
from segexp.types import IGNORE, Batch, Sample

Augmentation = Callable[..., tuple[np.ndarray, np.ndarray]]
TrainSample = tuple[torch.Tensor, torch.Tensor, int]
Key = tuple[int, ...]
"""Key of the random generator of a sample; begins with (seed, epoch)."""


class SampleSource(Protocol):
    """Training samples in two steps, drawing and normalisation, so that mixing can happen in between."""

    def __len__(self) -> int:
        """Return the number of samples per epoch."""

    def draw(self, position: int, key: Key) -> tuple[np.ndarray, np.ndarray, int]:
        """Return an augmented image (h, w, C), its mask (h, w) uint8 and the position of the case in the split."""

    def finish(self, image: np.ndarray, mask: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Return network input and target: (C, h, w) float32, normalised, and (h, w) int64."""


class TrainDataset(Dataset[TrainSample]):
    """Augmented training samples, indexed by (epoch, position), so that workers need no state."""

    def __init__(
        self,
        store: Store,
        members: Sequence[int],
        augment: Augmentation,
        preprocessing: Preprocessing,
        seed: int,
        repeat: int = 1,
        foreground_crops: float = 0.0,
        labelling: LabelMode = MULTICLASS,
    ) -> None:
        """Create the dataset.

        Args:
            store: all decoded cases.
            members: positions in the store of the training split.
            augment: maps (image (h, w, C), mask (h, w), key=(seed, epoch, position)) to the augmented pair.
            preprocessing: applied after augmentation.
            seed: of the run.
            repeat: samples per image and epoch.
            foreground_crops: probability of a crop around a foreground pixel; passed to `augment` as `around`.
            labelling: meaning of mask values.
        """
        self.store, self.members, self.augment = store, list(members), augment
        self.preprocessing, self.seed, self.repeat = preprocessing, seed, repeat
        self.foreground_crops, self.label_mode = foreground_crops, labelling
        self.foreground: dict[int, Foreground] = {}

    def __len__(self) -> int:
        return len(self.members) * self.repeat

    def __getitem__(self, key: tuple[int, int]) -> TrainSample:
        """Return image (C, h, w) float32, mask (h, w) int64 and the position of the case in the split."""
        epoch, position = key
        image, mask, member = self.draw(position, (self.seed, epoch, position))
        return *self.finish(image, mask), member

    def draw(self, position: int, key: Key) -> tuple[np.ndarray, np.ndarray, int]:
        """Return an augmented image (h, w, C) uint8 or float32 in [0, 1], its mask (h, w) and the case position."""
        member = position % len(self.members)
        picture = self.store[self.members[member]]
        image = picture.image
        if image.dtype != np.uint8:  # intensity transforms are defined on bytes and on the unit scale only
            image = to_unit(image, self.preprocessing.value_range).clip(0, 1)
        mask = resize_mask(picture.mask, image.shape[:2])
        more = {"around": self._around(member, mask)} if self.foreground_crops else {}
        image, mask = self.augment(image, mask, key=key, **more)
        return image, mask, member

    def finish(self, image: np.ndarray, mask: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Return image (C, h, w) float32, normalised, and mask (h, w) int64."""
        unit = to_unit(image, self.preprocessing.value_range) if image.dtype == np.uint8 else image
        return self.preprocessing.normalize(unit), torch.from_numpy(mask.astype(np.int64))

    def _around(self, member: int, mask: np.ndarray) -> Draw:
        """Return a function that draws the centre of a crop; foreground pixels are indexed once per process."""
        if member not in self.foreground:
            self.foreground[member] = Foreground(mask, self.label_mode)
        return partial(self.foreground[member].draw, mask, self.foreground_crops)


class ScoringCases(Protocol):
    """Cases to score: an `EvalDataset`, or cases predicted by an ensemble."""

    store: Store
    members: list[int]
    spacings: list[tuple[float, float] | None]

    def __len__(self) -> int:
        """Return the number of cases."""

    def __getitem__(self, position: int) -> Sample:
        """Return one case."""

    def spacing(self, position: int) -> tuple[float, float] | None:
        """Return the pixel size (row, column) of a case, None if unknown."""


class EvalDataset(Dataset[Sample]):
    """Cases without augmentation: the image at working size, the mask at its original size."""

    def __init__(
        self,
        store: Store,
        members: Sequence[int],
        preprocessing: Preprocessing,
        spacings: Sequence[tuple[float, float] | None] = (),
    ) -> None:
        """Create the dataset of some positions in the store; `spacings` are pixel sizes (row, column), None if unknown."""
        self.store, self.members, self.preprocessing = store, list(members), preprocessing
        self.spacings = list(spacings) or [None] * len(self.members)

    def __len__(self) -> int:
        return len(self.members)

    def __getitem__(self, position: int) -> Sample:
        picture = self.store[self.members[position]]
        unit = to_unit(picture.image, self.preprocessing.value_range)
        return Sample(position, self.preprocessing.normalize(unit), torch.from_numpy(np.array(picture.mask)))

    def spacing(self, position: int) -> tuple[float, float] | None:
        """Return the pixel size (row, column) of a case, None if unknown."""
        return self.spacings[position]


class EpochSampler(Sampler[tuple[int, int]]):
    """Yields (epoch, position) in an order seeded by (seed, epoch); each process takes every n-th."""

    def __init__(self, length: int, seed: int, epoch: Callable[[], int], rank: int = 0, world: int = 1) -> None:
        self.length, self.seed, self.epoch, self.rank, self.world = length, seed, epoch, rank, world

    def __len__(self) -> int:
        return self.length // self.world

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch = self.epoch()
        order = np.random.default_rng(np.random.SeedSequence([self.seed, epoch])).permutation(self.length)
        for position in order[self.rank : len(self) * self.world : self.world]:
            yield epoch, int(position)


class ShareSampler(Sampler[int]):
    """Splits the cases among processes without repeating any."""

    def __init__(self, length: int, rank: int = 0, world: int = 1) -> None:
        self.positions = range(rank, length, world)

    def __len__(self) -> int:
        return len(self.positions)

    def __iter__(self) -> Iterator[int]:
        return iter(self.positions)


def collate_train(drawn: Sequence[TrainSample]) -> Batch:
    """Stack samples; smaller ones are padded at the right and bottom with ignored pixels."""
    height = max(image.shape[-2] for image, _, _ in drawn)
    width = max(image.shape[-1] for image, _, _ in drawn)

    def padded(tensor: torch.Tensor, value: float) -> torch.Tensor:
        room = (0, width - tensor.shape[-1], 0, height - tensor.shape[-2])
        return functional.pad(tensor, room, value=value) if any(room) else tensor

    return Batch(
        image=torch.stack([padded(image, 0.0) for image, _, _ in drawn]),
        mask=torch.stack([padded(mask, IGNORE) for _, mask, _ in drawn]),
        index=[index for _, _, index in drawn],
    )


def collate_eval(samples: list[Sample]) -> list[Sample]:
    """Keep samples of different sizes in a list."""
    return samples
