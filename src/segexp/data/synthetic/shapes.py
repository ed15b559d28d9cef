"""Building blocks of the scenes: smooth noise, deformed ellipses, soft borders.

Legend: H W pixels; `unit` is the longer side of the image over 256, so that every size shows the same scene.
"""

from typing import Any

import cv2
import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Rng = np.random.Generator
Point = tuple[float, float]
"""x, y in pixels."""


def noise(rng: Rng, shape: tuple[int, int], scale: float) -> Array:
    """Return smooth noise (H, W) with mean near 0, deviation near 1 and a correlation length of about `scale` pixels."""
    grid = rng.normal(size=tuple(int(np.ceil(side / scale)) + 3 for side in shape)).astype(np.float32)
    wide = tuple(max(side, round(cells * scale)) for side, cells in zip(shape, grid.shape, strict=True))
    smooth = cv2.resize(grid, wide[::-1], interpolation=cv2.INTER_CUBIC)
    return np.asarray(1.35 * smooth[: shape[0], : shape[1]])


def distance(shape: tuple[int, int], centre: Point) -> Array:
    """Return the distance (H, W) of each pixel to a point (x, y)."""
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]]
    return np.asarray(np.hypot(x - centre[0], y - centre[1]))


def blob(rng: Rng, shape: tuple[int, int], centre: Point, radii: Point, rough: float, turn: float | None = None) -> Array:
    """Return the field (H, W) of a deformed ellipse: below 1 inside, 1 on the border, above 1 outside.

    Args:
        rng: draws the deformation, and the angle if `turn` is None.
        shape: H, W.
        centre: x, y in pixels.
        radii: half axes in pixels.
        rough: deviation of the border relative to the radius.
        turn: angle of the first axis in radians.
    """
    angle = rng.uniform(0, np.pi) if turn is None else turn
    waves = bends(rng, rough)
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]]
    y, x = y - centre[1], x - centre[0]
    u, v = (x * np.cos(angle) + y * np.sin(angle)) / radii[0], (y * np.cos(angle) - x * np.sin(angle)) / radii[1]
    return np.asarray(np.hypot(u, v) / border_radius(np.arctan2(v, u), waves))


def bends(rng: Rng, rough: float) -> tuple[Array, Array]:
    """Draw amplitude and phase of the harmonics 2 to 6 of a closed border."""
    return rng.normal(0, rough, 5) / np.arange(1, 6) ** 0.7, rng.uniform(0, 2 * np.pi, 5)


def border_radius(theta: Array, waves: tuple[Array, Array]) -> Array:
    """Return the radius at each angle, 1 on average."""
    cosines = [s * np.cos(k * theta + p) for k, s, p in zip(range(2, 7), *waves, strict=True)]
    return np.asarray(np.maximum(1 + np.sum(cosines, axis=0), 0.3))


def soft(field: Array, width: float) -> Array:
    """Return 1 inside and 0 outside of a blob, with a border of the given width."""
    return np.asarray(1 / (1 + np.exp(np.clip((field - 1) / width, -30, 30))))


def to_uint8(image: Array) -> Array:
    """Return the image rounded and clipped to 0-255."""
    return np.asarray(np.clip(np.rint(image), 0, 255).astype(np.uint8))


def places(rng: Rng, where: Array, count: int) -> list[Point]:
    """Return `count` points (x, y) drawn from the true pixels; none if there are none."""
    rows, columns = np.nonzero(where)
    if not len(rows):
        return []
    return [(float(columns[k]), float(rows[k])) for k in rng.integers(0, len(rows), count)]
