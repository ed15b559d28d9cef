"""Masks that do not lie on their image: exchanged with another one, inverted, shifted, mirrored.

A simple model of the other cases says what each mask should look like. It need not be good: what counts is that another
mask, or the same one moved, fits its prediction much better. Where it cannot tell masks apart at all, nothing is said.

Legend: N cases, K classes, G side of the grid.
"""

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from segexp.checks.issues import Finding
from segexp.checks.scan import SIDE, CaseScan, one_hot
from segexp.errors import listed
from segexp.types import IGNORE

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


LEAST, MOST = 8, 1000
"""Fewer cases say nothing about each other; of more, evenly spread ones are looked at."""
CLASSES = 8
"""The most frequent classes are told apart."""
SKILL = 0.3
"""Median correlation of masks with what is predicted for them, less the mean as well, below which too little is known."""
SURE = 0.3
"""Gain in correlation from which a finding is an error."""

Named = tuple[str, float, str]
"""What is wrong with a case, by how much another explanation fits better, and the explanation in words."""


def check_alignment(looks: Sequence[CaseScan], *, seed: int = 0, threads: int = 4) -> list[Finding]:
    """Look for masks that do not lie on their image.

    Args:
        looks: cases; those without a readable mask are passed over.
        seed: of the model.
        threads: for its features.
    """
    known = [look for look in looks if look.labels is not None]
    if len(known) > MOST:
        known = [known[k] for k in np.linspace(0, len(known) - 1, MOST).astype(int)]
    if len(known) < LEAST:
        return []
    labels, classes = _frequent(np.stack([look.labels for look in known if look.labels is not None]))
    if classes < 2:
        return []
    channels = max(look.picture.shape[2] for look in known)
    pictures = [np.broadcast_to(look.picture, (*look.picture.shape[:2], channels)) for look in known]
    truth = grid_truth(labels, classes)
    found = judge(predicted(pictures, labels, classes, seed=seed, threads=threads), truth)
    if 0 < len(found) <= len(known) / 2:  # what is wrong has misled the model about cases like it: ask again without
        found = judge(predicted(pictures, labels, classes, doubted=found, seed=seed, threads=threads), truth)
    return described(known, found)


def judge(predictions: Array, truth: Array) -> dict[int, Named]:
    """Return what is wrong with which case.

    Args:
        predictions: (N, K, G, G), see `predicted`.
        truth: (N, K, G, G) masks, see `grid_truth`.

    Returns:
        Position of the case to kind, gain and words; both cases of an exchange are in it, the words being the position of
        the other one.
    """
    fit = agreement(predictions, truth)
    shaped = np.flatnonzero(truth.reshape(len(truth), truth.shape[1], -1).max(axis=2).sum(axis=1) > 1)
    if len(shaped) < LEAST or min(np.median(fit.own[shaped]), np.median(np.diag(fit.beyond)[shaped])) < SKILL:
        return {}
    found: dict[int, Named] = {}
    for first, second, gain in exchanged(fit, shaped):
        found[first], found[second] = ("swapped", gain, str(second)), ("swapped", gain, str(first))
    usual, low = float(np.median(fit.own[shaped])), float(np.percentile(fit.own[shaped], 25))
    for n in (int(n) for n in shaped if n not in found):
        if truth.shape[1] == 2 and fit.own[n] <= -0.2 and fit.hit[n] <= 0.4:
            found[n] = ("inverted", -2 * float(fit.own[n]), "inverted: what should be one class is the other")
        elif moved := _moved(predictions[n], truth[n], usual, low):
            found[n] = moved
    return found


def exchanged(fit: Agreement, shaped: Array) -> list[tuple[int, int, float]]:
    """Return pairs of cases whose masks fit much better the other way round, with the gain in correlation.

    Either the shapes fit so much better, or each mask is also the one that tells its new image best from all others.
    """
    own = np.diag(fit.beyond)
    gain = _least(fit.beyond - own[:, None])
    others = fit.beyond - np.where(np.eye(len(own), dtype=bool), np.inf, 0)
    nearest = _least(fit.beyond - others.max(axis=1, keepdims=True)) >= -0.1  # 0: no other mask fits better
    better = fit.inside - fit.own[:, None]
    fits = _least(fit.inside) / float(np.median(fit.own[shaped]))
    by_place = (gain >= 0.1) & nearest & (_least(better) >= 0.05) & (fits >= 0.5) & (fit.difference <= -0.15)
    by_shape = (better + better.T >= 0.4) & (_least(better) >= 0.12) & (fits >= 0.45) & (fit.difference <= -0.2)
    strength = np.maximum(np.where(by_place, gain, 0), np.where(by_shape, (better + better.T) / 2, 0))
    pairs: list[tuple[int, int, float]] = []
    taken: set[int] = set()
    for i, j in sorted(zip(*np.nonzero(np.triu(strength, 1)), strict=True), key=lambda at: -strength[at]):
        if not taken & {i, j}:
            taken |= {i, j}
            pairs.append((int(i), int(j), float(strength[i, j])))
    return pairs


def _least(pairs: Array) -> Array:
    """Return for each pair the smaller of what both sides say."""
    return np.asarray(np.minimum(pairs, pairs.T))


def described(looks: Sequence[CaseScan], found: dict[int, Named]) -> list[Finding]:
    """Put into words what `judge` returned, one finding per case or exchange."""
    findings = []
    for n, (kind, gain, words) in sorted(found.items()):
        case, level = looks[n].case, "error" if gain >= SURE else "warning"
        files = listed(case.masks)
        if kind == "swapped":
            other = looks[int(words)].case
            if n < int(words):
                text = f"The masks of {case.id} and {other.id} look exchanged: each fits the image of the other much better"
                do = f"Look at {case.image} and {other.image}; if so, exchange the names of {files} and {listed(other.masks)}"
                findings.append(Finding(level, kind, text, do, (case.id, other.id)))
            continue
        text = f"The mask of {case.id} looks {words}"
        do = f"Look at {files} over {case.image}, and make it again or take the pair out"
        if kind == "inverted":
            do = f"Look at {files} over {case.image}; if so, save it again with its two values exchanged"
        if kind == "shifted":
            (height, width), (down, right) = looks[n].facts.size, (int(word) for word in words.split())
            text = f"The mask of {case.id} looks shifted by about {_way(down * height, right * width)} against its image"
        findings.append(Finding(level, kind, text, do, (case.id,)))
    return findings


def _way(down: int, right: int) -> str:
    """Write a displacement, in pixels times `GRID`."""
    rows, columns = round(down / GRID), round(right / GRID)
    parts = [f"{abs(rows)} pixels {'down' if rows > 0 else 'up'}"] if rows else []
    parts += [f"{abs(columns)} pixels to the {'right' if columns > 0 else 'left'}"] if columns else []
    return " and ".join(parts)


def _moved(prediction: Array, mask: Array, usual: float, low: float) -> Named | None:
    """Tell whether a mask fits like those of other cases once it is moved or turned.

    Args:
        prediction: (K, G, G).
        mask: (K, G, G).
        usual: the median over all cases of how well a mask fits.
        low: the lower quartile of it.
    """
    down, right, peak, own = best_shift(prediction, mask)
    way = float(np.hypot(down, right)) / GRID
    far = way >= 0.03 and max(abs(down), abs(right)) < int(REACH * GRID)
    turn, fits = max(turned(prediction, mask).items(), key=lambda item: item[1])
    if fits - own >= 0.25 and fits >= low and fits > peak + 0.05:
        return "turned", fits - own, turn
    if far and ((peak - own >= 0.1 * max(1, 8 * way) and peak >= low) or (peak - own >= 0.25 and peak >= 0.6 * usual)):
        return "shifted", peak - own, f"{down} {right}"
    return None


def _frequent(labels: Array) -> tuple[Array, int]:
    """Return the labels with the most frequent classes alone, numbered from 0, and how many there are."""
    counts = np.bincount(labels.ravel(), minlength=256)[:IGNORE]
    kept = sorted(int(k) for k in np.argsort(-counts, kind="stable")[:CLASSES] if counts[k])
    lookup = np.full(256, IGNORE, np.uint8)
    lookup[kept] = np.arange(len(kept), dtype=np.uint8)
    return lookup[labels], len(kept)
