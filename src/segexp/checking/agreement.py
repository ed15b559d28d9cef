"""How well masks fit what is predicted for images: their own, those of others, shifted and mirrored ones.

Legend: N cases, K classes, G side of the grid.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

REACH = 0.25
"""Shifts up to this share of the side are tried."""

TURNS: dict[str, Callable[[Array], Array]] = {
    "mirrored left to right": lambda a: a[..., ::-1],
    "mirrored top to bottom": lambda a: a[..., ::-1, :],
    "turned by 180 degrees": lambda a: a[..., ::-1, ::-1],
    "turned by 90 degrees": lambda a: np.swapaxes(a, -1, -2)[..., ::-1],
    "turned by 270 degrees": lambda a: np.swapaxes(a, -1, -2)[..., ::-1, :],
    "mirrored along a diagonal": lambda a: np.swapaxes(a, -1, -2),
    "mirrored along the other diagonal": lambda a: np.swapaxes(a, -1, -2)[..., ::-1, ::-1],
}
"""What may have happened to a mask, and how it is done to (…, G, G)."""


@dataclass(frozen=True)
class Agreement:
    """Correlations between predictions and masks, from -1 to 1.

    Attributes:
        inside: (N, N) of prediction i with mask j, each less its own mean over the pixels.
        beyond: (N, N) of prediction i with mask j, each less the mean over all cases: what tells cases apart.
        difference: (N, N) of the difference of predictions i and j with that of masks i and j; negative where the masks would
            fit better the other way round.
        hit: (N,) share of the labelled pixels, weighted by the prediction, that the mask agrees with.
        own: (N,) the diagonal of `inside`.
    """

    inside: Array
    beyond: Array
    difference: Array
    hit: Array

    @property
    def own(self) -> Array:
        """How well each mask fits its own image."""
        return np.diag(self.inside)


def agreement(predictions: Array, truth: Array) -> Agreement:
    """Compare predictions (N, K, G, G) with one-hot masks (N, K, G, G), 0 everywhere where ignored."""
    count = len(predictions)
    flat, mask = predictions.reshape(count, -1), truth.reshape(count, -1)
    inside = _unit(_centred(predictions).reshape(count, -1)) @ _unit(_centred(truth).reshape(count, -1)).T
    beyond = _unit(flat - flat.mean(axis=0)) @ _unit(mask - mask.mean(axis=0)).T
    products = flat @ mask.T
    diagonal = np.diag(products)
    apart = diagonal[:, None] + diagonal[None] - products - products.T
    lengths = np.sqrt(_squares(flat) * _squares(mask))
    hit = diagonal / np.maximum(mask.sum(axis=1), 1)
    return Agreement(inside, beyond, apart / np.maximum(lengths, 1e-3), hit)


def best_shift(prediction: Array, mask: Array) -> tuple[int, int, float, float]:
    """Find by how much a mask should be moved back.

    Args:
        prediction: (K, G, G).
        mask: (K, G, G), one-hot.

    Returns:
        Displacement (down, right) of the mask in grid pixels, the correlation with the mask moved back by it, and that
        without; over the pixels that overlap.
    """
    side = mask.shape[-1]
    reach = int(REACH * side)
    span = np.arange(-reach, reach + 1)
    ones = np.ones((1, side, side), np.float32)

    def crossed(first: Array, second: Array) -> Array:
        """Return the sum over x of first(x) second(x + d) for all displacements d in reach."""
        product = np.conj(np.fft.rfft2(first, (2 * side,) * 2)) * np.fft.rfft2(second, (2 * side,) * 2)
        return np.asarray(np.fft.irfft2(product, (2 * side,) * 2)[:, span][:, :, span].sum(axis=0))

    pixels = crossed(ones, ones)
    covariance = variance = other = np.zeros_like(pixels)
    for p, m in zip(prediction[:, None], mask[:, None], strict=True):
        sum_p, sum_m = crossed(p, ones), crossed(ones, m)
        covariance = covariance + crossed(p, m) - sum_p * sum_m / pixels
        variance = variance + crossed(p * p, ones) - sum_p**2 / pixels
        other = other + crossed(ones, m * m) - sum_m**2 / pixels
    found = covariance / np.sqrt(np.maximum(variance, 1e-2) * np.maximum(other, 1e-2))
    down, right = np.unravel_index(int(found.argmax()), found.shape)
    return int(span[down]), int(span[right]), float(found.max()), float(found[reach, reach])


def turned(prediction: Array, mask: Array) -> dict[str, float]:
    """Return the correlation inside one case for each of `TURNS`."""
    wanted = _unit(_centred(prediction).reshape(1, -1))[0]
    centred = _centred(mask)
    return {name: float(wanted @ _unit(turn(centred).reshape(1, -1))[0]) for name, turn in TURNS.items()}


def _centred(maps: Array) -> Array:
    return np.asarray(maps - maps.mean(axis=(-2, -1), keepdims=True))


def _unit(rows: Array) -> Array:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-3))


def _squares(rows: Array) -> Array:
    """Return the squared distances between all rows."""
    products = rows @ rows.T
    diagonal = np.diag(products)
    return np.asarray(np.maximum(diagonal[:, None] + diagonal[None] - 2 * products, 0))
