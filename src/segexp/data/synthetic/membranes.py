"""Cells separated by membranes, as in electron microscopy.

Legend: H W pixels; `unit` is the longer side of the image over 256, so that every size shows the same scene.
"""

import cv2
import numpy as np

from segexp.data.synthetic.shapes import Array, Point, Rng, blob, noise, places, soft, to_uint8


def membranes(rng: Rng, size: int) -> tuple[Array, Array]:
    """Draw cells separated by thin dark membranes.

    Returns:
        image (H, W) uint8, and label (H, W) uint8: 255 cell, 0 membrane.
    """
    unit, shape = size / 256, (size, size)
    cells = _cells(rng, size)
    edge = np.zeros(shape, np.uint8)
    edge[:, 1:] |= cells[:, 1:] != cells[:, :-1]
    edge[1:] |= cells[1:] != cells[:-1]
    rounding = 3.2 * unit  # morphological opening: round cells, thick corners
    core = cv2.distanceTransform(1 - edge, cv2.DIST_L2, 5) > rounding
    to_core = cv2.distanceTransform((~core).astype(np.uint8), cv2.DIST_L2, 5)
    membrane = to_core > rounding - unit * np.clip(1.1 + 0.35 * noise(rng, shape, 40 * unit), 0.6, 2.0)
    depth = cv2.distanceTransform((~membrane).astype(np.uint8), cv2.DIST_L2, 5) / unit

    image = 154 + rng.normal(0, 11, cells.max() + 1)[cells] + 15 * noise(rng, shape, 2.0 * unit)
    image += 9 * noise(rng, shape, 4.5 * unit)
    strength = np.clip(68 + 17 * noise(rng, shape, 20 * unit), 25, 100)  # obliquely cut membranes look faint
    image -= strength * cv2.GaussianBlur(membrane.astype(np.float32), (0, 0), 0.9 * unit)
    image -= _vesicles(rng, shape, places(rng, depth > 2.5, 380), unit)
    for x, y in places(rng, depth > 9, int(rng.integers(5, 12))):
        image -= _mitochondrion(rng, shape, (x, y), unit * min(depth[int(y), int(x)], 20), unit)
    for x, y in places(rng, membrane, 3):  # synaptic densities
        image -= 60 * soft(blob(rng, shape, (x, y), (6 * unit, 4 * unit), 0.3), 0.4)
    image = cv2.GaussianBlur(image, (0, 0), 0.4 * unit) + rng.normal(0, 18.5, shape)
    contrast, light = 1 + 0.12 * noise(rng, shape, 90 * unit), 8 * noise(rng, shape, 90 * unit)
    image = 128 + (image - 128) * contrast + light + rng.normal(0, 6)
    return to_uint8(image), np.where(membrane, 0, 255).astype(np.uint8)


def _cells(rng: Rng, size: int) -> Array:
    """Return a map (H, W) int of cells of very different sizes: warped Voronoi regions, some merged."""
    margin, unit = size // 4, size / 256
    wide = size + 2 * margin
    seeds = rng.uniform(0, wide - 1, (int(rng.integers(190, 280)), 2))
    owner = np.arange(len(seeds))
    for big in rng.choice(len(seeds), 22, replace=False):
        stretch = np.array([1.0, rng.uniform(0.6, 1.6)])
        owner[np.hypot(*((seeds - seeds[big]) * stretch).T) < rng.uniform(18, 40) * unit] = owner[big]
    dots = np.ones((wide, wide), np.uint8)
    rows, columns = seeds.astype(int).T
    dots[rows, columns] = 0
    _, region = cv2.distanceTransformWithLabels(dots, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    lookup = np.zeros(region.max() + 1, int)
    lookup[region[rows, columns]] = owner
    yx = np.mgrid[0:size, 0:size] + margin
    for axis in yx:
        axis[:] = axis + unit * (7 * noise(rng, (size, size), 60 * unit) + 1.6 * noise(rng, (size, size), 14 * unit))
    y, x = yx.clip(0, wide - 1)
    return np.asarray(lookup[region[y, x]])


def _vesicles(rng: Rng, shape: tuple[int, int], centres: list[Point], unit: float) -> Array:
    """Return the darkness (H, W) of small round vesicles."""
    canvas = np.zeros(shape, np.uint8)
    for x, y in centres:
        where, radius = (round(x * 16), round(y * 16)), round(rng.uniform(0.3, 2.4) * unit * 16)
        cv2.circle(canvas, where, radius, float(rng.uniform(25, 85)), max(1, round(unit)), cv2.LINE_AA, shift=4)
    return np.asarray(cv2.GaussianBlur(canvas.astype(np.float32), (0, 0), 0.5 * unit))


def _mitochondrion(rng: Rng, shape: tuple[int, int], centre: Point, radius: float, unit: float) -> Array:
    """Return the darkness (H, W) of a striped organelle that belongs to its cell."""
    field = blob(rng, shape, centre, (radius * rng.uniform(0.75, 1.0), radius * rng.uniform(0.45, 0.8)), 0.08)
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]] / (unit * rng.uniform(3.5, 6))
    angle = rng.uniform(0, np.pi)
    stripes = np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) + 1.5 * noise(rng, shape, 9 * unit))
    return np.asarray(soft(field, 0.06) * (46 + 16 * stripes) + 28 * np.exp(-(((field - 0.97) / 0.1) ** 2)))
