"""Mixing augmentations: parts of other training pictures put into one, their masks with them.

Masks are copied, never blended: each pixel has the image and the label of one picture. What is drawn is a pure function of
(seed, epoch, position), as all augmentation is.

Legend: C channels, H W pixels.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Protocol

import numpy as np
from annotated_types import Interval
from torch.utils.data import Dataset

from segexp.data.dataset import Drawing, Drawn, Key
from segexp.data.labels.modes import MULTICLASS, LabelMode
from segexp.data.transforms import Array, cut
from segexp.types import IGNORE

Pair = tuple[Array, Array]
"""An image (H, W, C) uint8, or float32 from 0 to 1, and its mask (H, W) uint8 class index (or bit sets), 255 = ignore."""

Share = Annotated[float, Interval(ge=0, le=1)]


class Mix(Protocol):
    """A way to mix; `p` is the probability with which a sample is mixed, with `partners` other ones."""

    p: float
    partners: int

    def __call__(self, own: Pair, others: Sequence[Pair], labelling: LabelMode, rng: np.random.Generator) -> Pair:
        """Return a new pair of the size of `own`; the sizes of the others may differ."""


class CutMix:
    """A box of one picture is put into another at its own place (Yun et al. 2019).

    As French et al. (2020) do for segmentation, the box lies inside of the picture, covers a given share of it and has a random
    shape; labels are copied, so nothing is weighted.
    """

    partners = 1

    def __init__(self, p: Share = 0.5, area: Annotated[float, Interval(gt=0, lt=1)] = 0.5) -> None:
        """Choose how often, and the share of the picture that the box covers."""
        self.p, self.area = p, area

    def __call__(self, own: Pair, others: Sequence[Pair], labelling: LabelMode, rng: np.random.Generator) -> Pair:
        """Return `own` with a box of the other one."""
        image, mask = own[0].copy(), own[1].copy()
        height_share = math.exp(rng.random() * math.log(self.area))  # from area to 1, so that the width's is too
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
    """The pixels of half of the classes of one picture are put into another at their own place (Olsson et al. 2021).

    Half, rounded up, of the foreground classes that are there: of two classes, all of the foreground. The background stays, as
    do pixels that are ignored. Where labels overlap, a pixel comes with all of its classes.
    """

    partners = 1

    def __init__(self, p: Share = 0.5) -> None:
        """Choose how often; a sample whose partner has no foreground stays as it is."""
        self.p = p

    def __call__(self, own: Pair, others: Sequence[Pair], labelling: LabelMode, rng: np.random.Generator) -> Pair:
        """Return `own` with the chosen classes of the other one."""
        image, mask = own[0].copy(), own[1].copy()
        other, labels = _fitted(others[0], mask.shape, rng)
        classes = np.flatnonzero(labelling.pixels(labels, IGNORE)[1:]) + 1
        chosen = rng.permutation(classes)[: -(-len(classes) // 2)]
        pasted = np.zeros(mask.shape, bool)
        for k in chosen:
            pasted |= labelling.has(labels, int(k))
        image[pasted], mask[pasted] = other[pasted], labels[pasted]
        return image, mask


class Mosaic:
    """A window of each of four pictures, side by side around a random point (Bochkovskiy et al. 2020); nothing is resized."""

    partners = 3

    def __init__(self, p: Share = 0.5, margin: Annotated[float, Interval(ge=0, le=0.5)] = 0.25) -> None:
        """Choose how often, and the share of each side that the window of a picture has at least."""
        self.p, self.margin = p, margin

    def __call__(self, own: Pair, others: Sequence[Pair], labelling: LabelMode, rng: np.random.Generator) -> Pair:
        """Return a mosaic of `own` and the others, each at a random corner."""
        image, mask = np.empty_like(own[0]), np.empty_like(own[1])
        middle = [min(side - 1, max(1, round(side * rng.uniform(self.margin, 1 - self.margin)))) for side in mask.shape]
        rows, columns = ((slice(0, at), slice(at, side)) for at, side in zip(middle, mask.shape, strict=True))
        corners = [(down, across) for down in rows for across in columns]
        for number, pair in zip(rng.permutation(len(corners)), (own, *others), strict=True):
            place = corners[int(number)]
            image[place], mask[place] = cut(*pair, mask[place].shape, 0, rng)
        return image, mask


class Mixed(Dataset[Drawn]):
    """Training samples of which some are mixed; asked by (epoch, position), as those of one picture are."""

    def __init__(self, pictures: Drawing, mix: Mix, seed: int, labelling: LabelMode = MULTICLASS) -> None:
        """Take the samples and the way to mix.

        Args:
            pictures: samples of one picture each.
            mix: what makes one of several.
            seed: of the run.
            labelling: what the values of the masks mean.
        """
        self.pictures, self.mix, self.seed, self.label_mode = pictures, mix, seed, labelling

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, key: tuple[int, int]) -> Drawn:
        """Return image (C, h, w) float32, mask (h, w) int64 and the first picture's position in the split."""
        epoch, position = key
        whole: Key = (self.seed, epoch, position)
        rng = np.random.default_rng(np.random.SeedSequence((*whole, 1)))
        image, mask, member = self.pictures.draw(position, whole)
        if rng.random() < self.mix.p:
            others = [self._other(position, (*whole, 2 + n), rng) for n in range(self.mix.partners)]
            image, mask = self.mix((image, mask), others, self.label_mode, rng)
        return *self.pictures.finish(image, mask), member

    def _other(self, position: int, key: Key, rng: np.random.Generator) -> Pair:
        """Return another sample than that at `position`, where there is one, with an augmentation of its own."""
        away = int(rng.integers(1, max(2, len(self))))
        image, mask, _ = self.pictures.draw((position + away) % len(self), key)
        return image, mask


def _fitted(pair: Pair, size: Sequence[int], rng: np.random.Generator) -> Pair:
    """Return a pair of the given size: a random window of a larger one; a smaller one is mirrored, and ignored there."""
    return pair if pair[1].shape == tuple(size) else cut(*pair, size, 0, rng)
