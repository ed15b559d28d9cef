"""Mixing augmentations: parts of other training images and their masks are pasted into one.

Masks are copied, never blended. Randomness is a pure function of (seed, epoch, position).

Legend: C channels, H W pixels.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Protocol

import numpy as np
from annotated_types import Interval
from torch.utils.data import Dataset

from segexp.data.dataset import Key, SampleSource, TrainSample
from segexp.data.labels.modes import MULTICLASS, LabelMode
from segexp.data.transforms import Array, random_crop

Pair = tuple[Array, Array]
"""Image (H, W, C) uint8 or float32 in [0, 1], and mask (H, W) uint8 class index or bit set, 255 = ignore."""

Share = Annotated[float, Interval(ge=0, le=1)]


class Mix(Protocol):
    """A mixing augmentation, applied with probability `p` to a sample and `partners` others."""

    p: float
    partners: int

    def __call__(self, own: Pair, others: Sequence[Pair], labelling: LabelMode, rng: np.random.Generator) -> Pair:
        """Return a new pair of the size of `own`; the others may have different sizes."""


class CutMix:
    """Paste a box of another image at the same position (Yun et al. 2019).

    As in French et al. (2020) for segmentation, the box lies inside the image, covers a fixed share of it and has a random
    shape.
    """

    partners = 1

    def __init__(self, p: Share = 0.5, area: Annotated[float, Interval(gt=0, lt=1)] = 0.5) -> None:
        """Set the probability and the area share of the box."""
        self.p, self.area = p, area

    def __call__(self, own: Pair, others: Sequence[Pair], labelling: LabelMode, rng: np.random.Generator) -> Pair:
        """Return `own` with a box of the other sample."""
        image, mask = own[0].copy(), own[1].copy()
        height_share = math.exp(rng.random() * math.log(self.area))  # both shares lie in [area, 1]
        places = []
        for side, share in zip(mask.shape, (height_share, self.area / height_share), strict=True):
            length = max(1, min(side, round(side * share)))
            start = int(rng.integers(side - length + 1))
            places.append(slice(start, start + length))
        rows, columns = places
        other, labels = _fitted(others[0], mask.shape, rng)
        image[rows, columns], mask[rows, columns] = other[rows, columns], labels[rows, columns]
        return image, mask


class ClassMix:
    """Paste the pixels of half of the foreground classes of another image at the same position (Olsson et al. 2021).

    Half is rounded up. Background and ignored pixels are never pasted; overlapping labels are pasted with all classes of a
    pixel.
    """

    partners = 1

    def __init__(self, p: Share = 0.5) -> None:
        """Set the probability; samples whose partner has no foreground stay unchanged."""
        self.p = p

    def __call__(self, own: Pair, others: Sequence[Pair], labelling: LabelMode, rng: np.random.Generator) -> Pair:
        """Return `own` with the chosen classes of the other sample."""
        image, mask = own[0].copy(), own[1].copy()
        other, labels = _fitted(others[0], mask.shape, rng)
        classes = labelling.present(labels)
        chosen = rng.permutation(classes)[: -(-len(classes) // 2)]
        pasted = np.zeros(mask.shape, bool)
        for k in chosen:
            pasted |= labelling.has(labels, int(k))
        image[pasted], mask[pasted] = other[pasted], labels[pasted]
        return image, mask


class Mosaic:
    """Join windows of four images at a random point (Bochkovskiy et al. 2020), without resizing."""

    partners = 3

    def __init__(self, p: Share = 0.5, margin: Annotated[float, Interval(ge=0, le=0.5)] = 0.25) -> None:
        """Set the probability and the minimum share of each side per window."""
        self.p, self.margin = p, margin

    def __call__(self, own: Pair, others: Sequence[Pair], labelling: LabelMode, rng: np.random.Generator) -> Pair:
        """Return a mosaic of `own` and the others, each in a random corner."""
        image, mask = np.empty_like(own[0]), np.empty_like(own[1])
        middle = [min(side - 1, max(1, round(side * rng.uniform(self.margin, 1 - self.margin)))) for side in mask.shape]
        rows, columns = ((slice(0, at), slice(at, side)) for at, side in zip(middle, mask.shape, strict=True))
        corners = [(down, across) for down in rows for across in columns]
        for number, pair in zip(rng.permutation(len(corners)), (own, *others), strict=True):
            place = corners[int(number)]
            image[place], mask[place] = random_crop(*pair, mask[place].shape, 0, rng)
        return image, mask


class Mixed(Dataset[TrainSample]):
    """Training samples with mixing, indexed by (epoch, position)."""

    def __init__(self, pictures: SampleSource, mix: Mix, seed: int, labelling: LabelMode = MULTICLASS) -> None:
        """Mix samples of single images; `labelling` is the meaning of mask values."""
        self.pictures, self.mix, self.seed, self.label_mode = pictures, mix, seed, labelling

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, key: tuple[int, int]) -> TrainSample:
        """Return image (C, h, w) float32, mask (h, w) int64 and the position of the first case in the split."""
        epoch, position = key
        whole: Key = (self.seed, epoch, position)
        rng = np.random.default_rng(np.random.SeedSequence((*whole, 1)))
        image, mask, member = self.pictures.draw(position, whole)
        if rng.random() < self.mix.p:
            others = [self._other(position, (*whole, 2 + n), rng) for n in range(self.mix.partners)]
            image, mask = self.mix((image, mask), others, self.label_mode, rng)
        return *self.pictures.finish(image, mask), member

    def _other(self, position: int, key: Key, rng: np.random.Generator) -> Pair:
        """Draw another sample than the one at `position`, with its own augmentation."""
        away = int(rng.integers(1, max(2, len(self))))
        image, mask, _ = self.pictures.draw((position + away) % len(self), key)
        return image, mask


def _fitted(pair: Pair, size: Sequence[int], rng: np.random.Generator) -> Pair:
    """Return a pair cropped at random, or padded by mirroring (ignored in the mask), to a size."""
    return pair if pair[1].shape == tuple(size) else random_crop(*pair, size, 0, rng)
