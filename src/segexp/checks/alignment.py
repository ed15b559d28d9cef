"""Misaligned masks: exchanged, inverted, shifted, mirrored.

A simple model fitted to the other cases predicts each mask. A mask is suspicious if another mask, or a transformed version of
it, fits the prediction much better. If the model cannot tell masks apart, nothing is reported.

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
"""Maximum shift as a share of the side."""

TURNS: dict[str, Callable[[Array], Array]] = {
    "mirrored left to right": lambda a: a[..., ::-1],
    "mirrored top to bottom": lambda a: a[..., ::-1, :],
    "turned by 180 degrees": lambda a: a[..., ::-1, ::-1],
    "turned by 90 degrees": lambda a: np.swapaxes(a, -1, -2)[..., ::-1],
    "turned by 270 degrees": lambda a: np.swapaxes(a, -1, -2)[..., ::-1, :],
    "mirrored along a diagonal": lambda a: np.swapaxes(a, -1, -2),
    "mirrored along the other diagonal": lambda a: np.swapaxes(a, -1, -2)[..., ::-1, ::-1],
}
"""Orientation changes that are tested, as functions of (…, G, G)."""


@dataclass(frozen=True)
class Agreement:
    """Correlations between predictions and masks, from -1 to 1.

    Attributes:
        inside: (N, N) of prediction i with mask j, each minus its own pixel mean.
        beyond: (N, N) of prediction i with mask j, each minus the mean over all cases.
        difference: (N, N) of prediction i - j with mask i - j; negative where exchanged masks would fit better.
        hit: (N,) share of the labelled pixels, weighted by the prediction, that agrees with the mask.
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
    """Compare predictions (N, K, G, G) with one-hot masks (N, K, G, G), 0 where ignored."""
    count = len(predictions)
    flat, mask = predictions.reshape(count, -1), truth.reshape(count, -1)
    inside = _unit(_centred(predictions).reshape(count, -1)) @ _unit(_centred(truth).reshape(count, -1)).T
    beyond = _unit(flat - flat.mean(axis=0)) @ _unit(mask - mask.mean(axis=0)).T
    products = flat @ mask.T
    diagonal = np.diag(products)
    apart = diagonal[:, None] + diagonal[None] - products - products.T
    lengths = np.sqrt(_squared_distances(flat) * _squared_distances(mask))
    hit = diagonal / np.maximum(mask.sum(axis=1), 1)
    return Agreement(inside, beyond, apart / np.maximum(lengths, 1e-3), hit)


def best_shift(prediction: Array, mask: Array) -> tuple[int, int, float, float]:
    """Find the shift of a mask (K, G, G) that best fits a prediction (K, G, G).

    Returns:
        Displacement (down, right) of the mask in grid pixels, and the correlation with and without undoing it, over the
        overlapping pixels.
    """
    side = mask.shape[-1]
    reach = int(REACH * side)
    span = np.arange(-reach, reach + 1)
    ones = np.ones((1, side, side), np.float32)

    def crossed(first: Array, second: Array) -> Array:
        """Return the cross-correlation of two maps for all displacements in reach."""
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


def turn_correlations(prediction: Array, mask: Array) -> dict[str, float]:
    """Return the correlation of prediction and mask for each of `TURNS`."""
    wanted = _unit(_centred(prediction).reshape(1, -1))[0]
    centred = _centred(mask)
    return {name: float(wanted @ _unit(turn(centred).reshape(1, -1))[0]) for name, turn in TURNS.items()}


def _centred(maps: Array) -> Array:
    return np.asarray(maps - maps.mean(axis=(-2, -1), keepdims=True))


def _unit(rows: Array) -> Array:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-3))


def _squared_distances(rows: Array) -> Array:
    """Return the squared distances between all rows."""
    products = rows @ rows.T
    diagonal = np.diag(products)
    return np.asarray(np.maximum(diagonal[:, None] + diagonal[None] - 2 * products, 0))


STRIDE = 2
GRID = SIDE // STRIDE
"""G: side of the prediction grid in pixels."""
SCALES = (0, 1, 2, 4, 8, 16, 32)
"""Standard deviations of the Gaussian blurs, in thumbnail pixels."""
TEXTURE = (1, 2, 4)
"""Scales of edge and texture features."""
UNITS = 256
FOLDS = 10
SAMPLED, MOST_SAMPLED = 600, 200_000
"""Pixels that the model is fitted to: per case, and in total."""
RIDGE = 1e-3


def features(picture: Array) -> Array:
    """Return (G * G, F) float16 features of a thumbnail (SIDE, SIDE, C) uint8."""
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
    return pool(np.stack(maps)).reshape(len(maps), -1).T.astype(np.float16)


def pool(maps: Array) -> Array:
    """Return maps (…, SIDE, SIDE) averaged to (…, G, G)."""
    blocks = maps.reshape(*maps.shape[:-2], GRID, STRIDE, GRID, STRIDE)
    return np.asarray(blocks.mean(axis=(-3, -1)))


def grid_truth(labels: Array, classes: int) -> Array:
    """Return labels (N, SIDE, SIDE) as class shares (N, K, G, G) float32."""
    return np.stack([pool(one_hot(each, classes)) for each in labels])


def cross_predict(
    pictures: Sequence[Array], labels: Array, classes: int, *, doubted: Collection[int] = (), seed: int = 0, threads: int = 4
) -> Array:
    """Return cross-validated predictions (N, K, G, G) float32, roughly class probabilities.

    Thumbnails are (SIDE, SIDE, C) uint8, labels (N, SIDE, SIDE) uint8 class indices with 255 = ignore; the model is not fitted
    to the cases at the `doubted` positions.
    """
    with ThreadPoolExecutor(threads) as pool:
        seen = list(pool.map(features, pictures))
    rng = np.random.default_rng(seed)
    expand = _RandomFeatures.drawn(seen, rng)
    truth = grid_truth(labels, classes).reshape(len(seen), classes, -1)
    fold = rng.permutation(len(seen)) % min(FOLDS, len(seen))
    grams = np.zeros((fold.max() + 1, expand.size, expand.size), np.float64)
    answers = np.zeros((fold.max() + 1, expand.size, classes), np.float64)
    count = min(SAMPLED, MOST_SAMPLED // len(seen))
    for n, (rows, mask, k) in enumerate(zip(seen, truth, fold, strict=True)):
        known = np.flatnonzero(mask.any(axis=0)) if n not in doubted else np.arange(0)
        chosen = rng.choice(known, min(count, len(known)), replace=False)
        inputs = expand(rows[chosen])
        grams[k] += inputs.T @ inputs
        answers[k] += inputs.T @ mask[:, chosen].T
    out = np.empty((len(seen), classes, GRID * GRID), np.float32)
    weights = [
        _solved(grams.sum(axis=0) - gram, answers.sum(axis=0) - answer) for gram, answer in zip(grams, answers, strict=True)
    ]
    for n, (rows, k) in enumerate(zip(seen, fold, strict=True)):
        out[n] = np.clip(expand(rows) @ weights[k], 0, 1).T
    return out.reshape(-1, classes, GRID, GRID)


@dataclass(frozen=True)
class _RandomFeatures:
    """Standardised features, a constant, and random rectified units of them."""

    mean: Array
    deviation: Array
    weights: Array
    bias: Array

    @classmethod
    def drawn(cls, seen: Sequence[Array], rng: np.random.Generator) -> "_RandomFeatures":
        """Draw the random units."""
        few = np.concatenate([rows[::61] for rows in seen]).astype(np.float32)
        count = few.shape[1]
        weights = rng.normal(size=(count, UNITS)).astype(np.float32) / np.float32(np.sqrt(count))
        bias = 0.5 * rng.normal(size=UNITS).astype(np.float32)
        return cls(few.mean(axis=0), few.std(axis=0) + 1e-3, weights, bias)

    @property
    def size(self) -> int:
        """Number of regression inputs."""
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
"""Minimum number of cases; of more than the maximum, evenly spaced ones are used."""
CLASSES = 8
"""Maximum number of classes; the most frequent ones are used."""
SKILL = 0.3
"""Minimum median correlation of masks and predictions for the model to be usable."""

Named = tuple[str, str]
"""Kind of problem and its description."""


def check_alignment(scans: Sequence[CaseScan], *, seed: int = 0, threads: int = 4) -> list[Finding]:
    """Return findings on masks that do not fit their image; cases without labels are skipped."""
    known = [scan for scan in scans if scan.labels is not None]
    if len(known) > MOST:
        known = [known[k] for k in np.linspace(0, len(known) - 1, MOST).astype(int)]
    if len(known) < LEAST:
        return []
    labels, classes = _frequent(np.stack([scan.labels for scan in known if scan.labels is not None]))
    if classes < 2:
        return []
    channels = max(scan.picture.shape[2] for scan in known)
    pictures = [np.broadcast_to(scan.picture, (*scan.picture.shape[:2], channels)) for scan in known]
    truth = grid_truth(labels, classes)
    found = find_misaligned(cross_predict(pictures, labels, classes, seed=seed, threads=threads), truth)
    if 0 < len(found) <= len(known) / 2:  # refit without the suspicious cases, which biased the model
        found = find_misaligned(cross_predict(pictures, labels, classes, doubted=found, seed=seed, threads=threads), truth)
    return misalignment_findings(known, found)


def find_misaligned(predictions: Array, truth: Array) -> dict[int, Named]:
    """Find misaligned masks, given predictions and true class shares, both (N, K, G, G).

    Returns:
        Kind and description by position of the case; for an exchange, the description is the position of the other case.
    """
    fit = agreement(predictions, truth)
    shaped = np.flatnonzero(truth.reshape(len(truth), truth.shape[1], -1).max(axis=2).sum(axis=1) > 1)
    if len(shaped) < LEAST or min(np.median(fit.own[shaped]), np.median(np.diag(fit.beyond)[shaped])) < SKILL:
        return {}
    found: dict[int, Named] = {}
    for first, second in find_exchanged(fit, shaped):
        found[first], found[second] = ("swapped", str(second)), ("swapped", str(first))
    usual, low = float(np.median(fit.own[shaped])), float(np.percentile(fit.own[shaped], 25))
    for n in (int(n) for n in shaped if n not in found):
        if truth.shape[1] == 2 and fit.own[n] <= -0.2 and fit.hit[n] <= 0.4:
            found[n] = ("inverted", "inverted: what should be one class is the other")
        elif moved := _best_transform(predictions[n], truth[n], usual, low):
            found[n] = moved
    return found


def find_exchanged(fit: Agreement, shaped: Array) -> list[tuple[int, int]]:
    """Return pairs of cases whose masks fit much better exchanged.

    Either the shapes fit much better, or each mask is also the best match of its new image among all masks.
    """
    own = np.diag(fit.beyond)
    gain = _both_ways(fit.beyond - own[:, None])
    others = fit.beyond - np.where(np.eye(len(own), dtype=bool), np.inf, 0)
    nearest = _both_ways(fit.beyond - others.max(axis=1, keepdims=True)) >= -0.1  # 0: no other mask fits better
    better = fit.inside - fit.own[:, None]
    fits = _both_ways(fit.inside) / float(np.median(fit.own[shaped]))
    by_place = (gain >= 0.1) & nearest & (_both_ways(better) >= 0.05) & (fits >= 0.5) & (fit.difference <= -0.15)
    by_shape = (better + better.T >= 0.4) & (_both_ways(better) >= 0.12) & (fits >= 0.45) & (fit.difference <= -0.2)
    strength = np.maximum(np.where(by_place, gain, 0), np.where(by_shape, (better + better.T) / 2, 0))
    pairs: list[tuple[int, int]] = []
    taken: set[int] = set()
    for i, j in sorted(zip(*np.nonzero(np.triu(strength, 1)), strict=True), key=lambda at: -strength[at]):
        if not taken & {i, j}:
            taken |= {i, j}
            pairs.append((int(i), int(j)))
    return pairs


def _both_ways(pairs: Array) -> Array:
    """Return the element-wise minimum of both directions of each pair."""
    return np.asarray(np.minimum(pairs, pairs.T))


def misalignment_findings(scans: Sequence[CaseScan], found: dict[int, Named]) -> list[Finding]:
    """Convert the result of `find_misaligned` to warnings, one per case or exchange."""
    findings = []
    for n, (kind, words) in sorted(found.items()):
        case = scans[n].case
        files = listed(case.masks)
        if kind == "swapped":
            other = scans[int(words)].case
            if n < int(words):
                text = f"The masks of {case.id} and {other.id} look exchanged: each fits the image of the other much better"
                do = f"Look at {case.image} and {other.image}; if so, exchange the names of {files} and {listed(other.masks)}"
                findings.append(Finding("warning", kind, text, do, (case.id, other.id)))
            continue
        text = f"The mask of {case.id} looks {words}"
        do = f"Look at {files} over {case.image}; if so, make it again or move the pair out of the data folder"
        if kind == "inverted":
            do = f"Look at {files} over {case.image}; if so, save it again with its two values exchanged"
        if kind == "shifted":
            (height, width), (down, right) = scans[n].facts.size, (int(word) for word in words.split())
            by = _displacement_text(down * height, right * width)
            do += "; if it is right, something there looks like an object and is not labelled"
            text = f"The mask of {case.id} looks shifted by about {by} against its image"
        findings.append(Finding("warning", kind, text, do, (case.id,)))
    return findings


def _displacement_text(down: int, right: int) -> str:
    """Format a displacement in pixels times `GRID`."""
    rows, columns = round(down / GRID), round(right / GRID)
    parts = [f"{abs(rows)} pixels {'down' if rows > 0 else 'up'}"] if rows else []
    parts += [f"{abs(columns)} pixels to the {'right' if columns > 0 else 'left'}"] if columns else []
    return " and ".join(parts)


def _best_transform(prediction: Array, mask: Array, usual: float, low: float) -> Named | None:
    """Return whether a mask (K, G, G) fits like those of other cases once it is shifted or turned.

    `usual` and `low` are median and lower quartile over all cases of how well a mask fits.
    """
    down, right, peak, own = best_shift(prediction, mask)
    way = float(np.hypot(down, right)) / GRID
    far = way >= 0.03 and max(abs(down), abs(right)) < int(REACH * GRID)
    turn, fits = max(turn_correlations(prediction, mask).items(), key=lambda item: item[1])
    if fits - own >= 0.25 and fits >= low and fits > peak + 0.05:
        return "turned", turn
    if far and ((peak - own >= 0.1 * max(1, 8 * way) and peak >= low) or (peak - own >= 0.25 and peak >= 0.6 * usual)):
        return "shifted", f"{down} {right}"
    return None


def _frequent(labels: Array) -> tuple[Array, int]:
    """Return labels restricted to the most frequent classes, renumbered from 0, and their number."""
    counts = np.bincount(labels.ravel(), minlength=256)[:IGNORE]
    kept = sorted(int(k) for k in np.argsort(-counts, kind="stable")[:CLASSES] if counts[k])
    lookup = np.full(256, IGNORE, np.uint8)
    lookup[kept] = np.arange(len(kept), dtype=np.uint8)
    return lookup[labels], len(kept)
