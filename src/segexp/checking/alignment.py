"""Masks that do not lie on their image: exchanged with another one, inverted, shifted, mirrored.

A simple model of the other cases says what each mask should look like. It need not be good: what counts is that another
mask, or the same one moved, fits its prediction much better. Where it cannot tell masks apart at all, nothing is said.

Legend: N cases, K classes, G side of the grid.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from segexp.checking.agreement import REACH, Agreement, agreement, best_shift, turned
from segexp.checking.findings import Finding
from segexp.checking.pixelmodel import GRID, grid_truth, predicted
from segexp.checking.survey import Look
from segexp.errors import listed
from segexp.types import IGNORE

Array = np.ndarray[Any, np.dtype[Any]]

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


def check_alignment(looks: Sequence[Look], *, seed: int = 0, threads: int = 4) -> list[Finding]:
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


def described(looks: Sequence[Look], found: dict[int, Named]) -> list[Finding]:
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
