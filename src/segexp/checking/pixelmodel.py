"""What the other cases say that the mask of a case should be: a pixel classifier that is fitted in seconds.

Ridge regression from many simple features of a pixel (intensity, blurs, edges, texture, place), widened by random units as
in Huang et al. (2006), Extreme learning machine, Neurocomputing 70. Its normal equations are sums over cases, so that
leaving some out costs one small solve: every case is predicted by a model that has not seen it.

Legend: N cases, K classes, C channels, G side of the grid on which is predicted, F features.
"""

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from segexp.checking.small import SIDE, one_hot

Array = np.ndarray[Any, np.dtype[Any]]

STRIDE = 2
GRID = SIDE // STRIDE
"""G: pixels of a side of what is predicted."""
SCALES = (0, 1, 2, 4, 8, 16, 32)
"""Standard deviations of the blurs, in pixels of the small picture."""
TEXTURE = (1, 2, 4)
"""Scales of edges and texture."""
UNITS = 256
FOLDS = 10
SAMPLED = 600
"""Pixels of each case that the model is fitted to, and how many of all cases at most."""
MOST_SAMPLED = 200_000
RIDGE = 1e-3


def features(picture: Array) -> Array:
    """Return (G * G, F) float16 features of a small picture (SIDE, SIDE, C) uint8."""
    image = picture.astype(np.float32) / 255
    mean, deviation = image.mean(axis=(0, 1)), image.std(axis=(0, 1)) + 1e-3
    standard = (image - mean) / deviation
    level = standard.mean(axis=2)
    maps = list(np.moveaxis(image, 2, 0))
    for scale in SCALES:
        blurred = _blurred(standard, scale)
        maps += list(np.moveaxis(blurred, 2, 0))
        if scale in TEXTURE:
            smooth = blurred.mean(axis=2)
            edges = np.hypot(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1))
            spread = _blurred((level - smooth) ** 2, 2 * scale)
            maps += [edges, _blurred(edges, 2 * scale), cv2.Laplacian(smooth, cv2.CV_32F), np.sqrt(np.maximum(spread, 0))]
    down, right = np.mgrid[:SIDE, :SIDE].astype(np.float32) / (SIDE - 1) * 2 - 1
    maps += [right, down, right**2, down**2, right * down]
    maps += [np.full_like(level, value) for value in (*mean, *deviation)]
    return pooled(np.stack(maps)).reshape(len(maps), -1).T.astype(np.float16)


def pooled(maps: Array) -> Array:
    """Return (…, SIDE, SIDE) maps averaged to (…, G, G)."""
    blocks = maps.reshape(*maps.shape[:-2], GRID, STRIDE, GRID, STRIDE)
    return np.asarray(blocks.mean(axis=(-3, -1)))


def grid_truth(labels: Array, classes: int) -> Array:
    """Return (N, SIDE, SIDE) labels as (N, K, G, G) float32: the share of each class in each pixel of the grid."""
    return np.stack([pooled(one_hot(each, classes)) for each in labels])


def predicted(
    pictures: Sequence[Array],
    labels: Array,
    classes: int,
    *,
    doubted: Collection[int] = (),
    seed: int = 0,
    threads: int = 4,
) -> Array:
    """Return what the other cases say about each case: (N, K, G, G) float32, about the probability of each class.

    Args:
        pictures: small pictures (SIDE, SIDE, C) uint8, all with the same C.
        labels: (N, SIDE, SIDE) uint8 class index, 255 = ignore.
        classes: K.
        doubted: positions of cases that the model is not fitted to, though they are predicted.
        seed: of the random units, the sampled pixels and the folds.
        threads: for the features.
    """
    with ThreadPoolExecutor(threads) as pool:
        seen = list(pool.map(features, pictures))
    rng = np.random.default_rng(seed)
    wide = _Wide.drawn(seen, rng)
    truth = grid_truth(labels, classes).reshape(len(seen), classes, -1)
    fold = rng.permutation(len(seen)) % min(FOLDS, len(seen))
    grams = np.zeros((fold.max() + 1, wide.size, wide.size), np.float64)
    answers = np.zeros((fold.max() + 1, wide.size, classes), np.float64)
    count = min(SAMPLED, MOST_SAMPLED // len(seen))
    for n, (rows, mask, k) in enumerate(zip(seen, truth, fold, strict=True)):
        known = np.flatnonzero(mask.any(axis=0)) if n not in doubted else np.arange(0)
        chosen = rng.choice(known, min(count, len(known)), replace=False)
        inputs = wide(rows[chosen])
        grams[k] += inputs.T @ inputs
        answers[k] += inputs.T @ mask[:, chosen].T
    out = np.empty((len(seen), classes, GRID * GRID), np.float32)
    weights = [
        _solved(grams.sum(axis=0) - gram, answers.sum(axis=0) - answer) for gram, answer in zip(grams, answers, strict=True)
    ]
    for n, (rows, k) in enumerate(zip(seen, fold, strict=True)):
        out[n] = np.clip(wide(rows) @ weights[k], 0, 1).T
    return out.reshape(-1, classes, GRID, GRID)


@dataclass(frozen=True)
class _Wide:
    """Standardised features, a constant, and random rectified units of them."""

    mean: Array
    deviation: Array
    weights: Array
    bias: Array

    @classmethod
    def drawn(cls, seen: Sequence[Array], rng: np.random.Generator) -> "_Wide":
        """Draw the units."""
        few = np.concatenate([rows[::61] for rows in seen]).astype(np.float32)
        count = few.shape[1]
        weights = rng.normal(size=(count, UNITS)).astype(np.float32) / np.float32(np.sqrt(count))
        bias = 0.5 * rng.normal(size=UNITS).astype(np.float32)
        return cls(few.mean(axis=0), few.std(axis=0) + 1e-3, weights, bias)

    @property
    def size(self) -> int:
        """Inputs of the regression."""
        return 1 + len(self.mean) + UNITS

    def __call__(self, rows: Array) -> Array:
        plain = np.clip((rows.astype(np.float32) - self.mean) / self.deviation, -5, 5)
        return np.concatenate(
            [np.ones((len(plain), 1), np.float32), plain, np.maximum(plain @ self.weights + self.bias, 0)], axis=1
        )


def _blurred(image: Array, scale: float) -> Array:
    if not scale:
        return image
    return np.asarray(cv2.GaussianBlur(image, (0, 0), scale, borderType=cv2.BORDER_REFLECT)).reshape(image.shape)


def _solved(gram: Array, answer: Array) -> Array:
    ridge = RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
    return np.asarray(np.linalg.solve(gram + ridge, answer).astype(np.float32))
