"""Pictures to samples. Order and augmentation are pure functions of (seed, epoch, position), never of workers or resumes.

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
Drawn = tuple[torch.Tensor, torch.Tensor, int]
Key = tuple[int, ...]
"""What the chance of one sample depends on; it begins with (seed, epoch)."""


class Drawing(Protocol):
    """Training samples in two steps, so that something can happen in between: a `TrainDataset`, or several."""

    def __len__(self) -> int:
        """Return the number of samples of an epoch."""

    def draw(self, position: int, key: Key) -> tuple[np.ndarray, np.ndarray, int]:
        """Return an augmented image (h, w, C), its mask (h, w) uint8 and the picture's position in the split."""

    def finish(self, image: np.ndarray, mask: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what the network and the loss take: (C, h, w) float32, normalised, and (h, w) int64."""


class TrainDataset(Dataset[Drawn]):
    """Augmented training pictures; asked by (epoch, position), so that a worker needs no state."""

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
        """Choose the pictures.

        Args:
            store: all pictures.
            members: positions in the store that belong to the training split.
            augment: (image (h, w, C), mask (h, w), key=(seed, epoch, position)) to the augmented pair.
            preprocessing: what happens to the augmented image.
            seed: of the run.
            repeat: how often each picture is drawn per epoch, with other augmentation each time.
            foreground_crops: probability with which a crop lies around a foreground pixel; `augment` then takes `around`,
                which draws it from the sample's own generator.
            labelling: what the values of the masks mean.
        """
        self.store, self.members, self.augment = store, list(members), augment
        self.preprocessing, self.seed, self.repeat = preprocessing, seed, repeat
        self.foreground_crops, self.label_mode = foreground_crops, labelling
        self.foreground: dict[int, Foreground] = {}

    def __len__(self) -> int:
        return len(self.members) * self.repeat

    def __getitem__(self, key: tuple[int, int]) -> Drawn:
        """Return image (C, h, w) float32, mask (h, w) int64 and the picture's position in the split."""
        epoch, position = key
        image, mask, member = self.draw(position, (self.seed, epoch, position))
        return *self.finish(image, mask), member

    def draw(self, position: int, key: Key) -> tuple[np.ndarray, np.ndarray, int]:
        """Return a sample before normalisation: image (h, w, C) uint8, or float32 from 0 to 1, mask (h, w) and position."""
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
        """Return image (C, h, w) float32, normalised, and mask (h, w) int64 of what was drawn."""
        unit = to_unit(image, self.preprocessing.value_range) if image.dtype == np.uint8 else image
        return self.preprocessing.normalize(unit), torch.from_numpy(mask.astype(np.int64))

    def _around(self, member: int, mask: np.ndarray) -> Draw:
        """Return what draws the centre of a crop; each process counts a mask once, at its first draw."""
        if member not in self.foreground:
            self.foreground[member] = Foreground(mask, self.label_mode)
        return partial(self.foreground[member].draw, mask, self.foreground_crops)


class Prepared(Protocol):
    """Cases as they are scored: a `EvalDataset`, or cases that an ensemble predicts."""

    store: Store
    members: list[int]
    spacings: list[tuple[float, float] | None]

    def __len__(self) -> int:
        """Return the number of cases."""

    def __getitem__(self, position: int) -> Sample:
        """Return one case."""

    def spacing(self, position: int) -> tuple[float, float] | None:
        """Return the size of a pixel (row, column) of a picture, None where it is not known."""


class EvalDataset(Dataset[Sample]):
    """Pictures as they are: the image at the working size, the mask at its own."""

    def __init__(
        self,
        store: Store,
        members: Sequence[int],
        preprocessing: Preprocessing,
        spacings: Sequence[tuple[float, float] | None] = (),
    ) -> None:
        """Choose the pictures.

        Args:
            store: all pictures.
            members: positions in the store.
            preprocessing: what happens to an image.
            spacings: for each of the members the size of a pixel (row, column), None where it is not known; () where no
                member's is.
        """
        self.store, self.members, self.preprocessing = store, list(members), preprocessing
        self.spacings = list(spacings) or [None] * len(self.members)

    def __len__(self) -> int:
        return len(self.members)

    def __getitem__(self, position: int) -> Sample:
        picture = self.store[self.members[position]]
        unit = to_unit(picture.image, self.preprocessing.value_range)
        return Sample(position, self.preprocessing.normalize(unit), torch.from_numpy(np.array(picture.mask)))

    def spacing(self, position: int) -> tuple[float, float] | None:
        """Return the size of a pixel (row, column) of a picture, None where it is not known."""
        return self.spacings[position]


class EpochSampler(Sampler[tuple[int, int]]):
    """Yields (epoch, position) in an order drawn from (seed, epoch); each process takes every n-th."""

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
    """Each process scores its own share of the cases, none of them twice."""

    def __init__(self, length: int, rank: int = 0, world: int = 1) -> None:
        self.positions = range(rank, length, world)

    def __len__(self) -> int:
        return len(self.positions)

    def __iter__(self) -> Iterator[int]:
        return iter(self.positions)


def collate_train(drawn: Sequence[Drawn]) -> Batch:
    """Stack samples; smaller ones are padded at the right and bottom, and the padding is ignored by the loss."""
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
    """Keep samples of different sizes apart: each is scored by itself."""
    return samples
