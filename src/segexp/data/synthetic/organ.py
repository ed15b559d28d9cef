"""An abdominal slice, as in computed tomography.

Legend: H W pixels; `unit` is the longer side of the image over 256, so that every size shows the same scene.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from segexp.data.synthetic.shapes import Array, Point, Rng, bends, blob, border_radius, noise, to_uint8


@dataclass(frozen=True)
class _Body:
    """Coordinate frame of a patient: positions and radii from -1 to 1 across the body."""

    shape: tuple[int, int]
    middle: Point
    axes: Point
    tilt: float
    anatomy: Rng
    rng: Rng

    def part(self, x: float, y: float, rx: float, ry: float, rough: float = 0.07, turn: float = 0.0) -> Array:
        """Return the region (H, W) of a body part; position varies between patients, hardly between slices."""
        x, y = np.array([x, y]) + self.anatomy.normal(0, 0.025, 2) + self.rng.normal(0, 0.006, 2)
        a, b = self.axes
        centre = (self.middle[0] + a * x - b * y * np.sin(self.tilt), self.middle[1] + b * y + a * x * np.sin(self.tilt))
        scale = self.anatomy.uniform(0.9, 1.1)
        waves = bends(self.anatomy, rough)
        theta = np.linspace(0, 2 * np.pi, 96, endpoint=False)
        u, v = np.stack([a * rx * np.cos(theta), b * ry * np.sin(theta)]) * scale * border_radius(theta, waves)
        turn += self.tilt
        outline = np.stack([u * np.cos(turn) - v * np.sin(turn), u * np.sin(turn) + v * np.cos(turn)], 1) + centre
        mask = np.zeros(self.shape, np.uint8)
        cv2.fillPoly(mask, [np.round(outline * 16).astype(np.int32)], 1, shift=4)
        return mask > 0


def organ(anatomy: Rng, rng: Rng, size: int, depth: float) -> tuple[Array, Array]:
    """Draw a CT slice shown upside down: spine above, the organ on the left.

    Args:
        anatomy: generator of the patient: the same state gives the same body.
        rng: generator of this slice: noise and small movements.
        size: H = W.
        depth: position of the slice, -1 (top of the organ) to 1 (lower tip).

    Returns:
        image (H, W) uint8, and label (H, W) uint8: 255 organ, 0 elsewhere.
    """
    shape, unit = (size, size), size / 256
    middle = (size * anatomy.uniform(0.47, 0.53), size * anatomy.uniform(0.46, 0.54))
    axes = (size * anatomy.uniform(0.40, 0.46), size * anatomy.uniform(0.28, 0.36))
    body = _Body(shape, middle, axes, anatomy.uniform(-0.08, 0.08), anatomy, rng)
    gray, grain, fat = anatomy.uniform(82, 116), anatomy.uniform(9, 15), anatomy.uniform(0.02, 0.09)
    skin = blob(anatomy, shape, middle, axes, 0.02, body.tilt)
    cavity = skin < 0.82 - fat
    layers = [(skin < 1, gray - 32), ((skin < 0.975) & (skin > 0.97 - fat), 22.0), (cavity, 24.0)]
    layers += [(region & cavity, value) for region, value in _gut(body, gray, depth)]
    first = len(layers)
    layers += [(region & cavity, value) for region, value in _organs(body, gray, depth)]
    layers += _bones(body, skin, fat, depth)
    owner = np.full(shape, -1)
    for layer, (region, _) in enumerate(layers):
        owner[region] = layer
    liver = (owner == first) | (owner == first + 1)

    image = np.array([*(value for _, value in layers), 1.0])[owner]
    image += liver * _vessels_and_tumours(body, unit)
    image += (owner >= 0) * 3 * noise(rng, shape, 9 * unit)
    y, x = np.mgrid[0:size, 0:size]
    table = middle[1] - 1.12 * axes[1] + (x - middle[0]) ** 2 / (2.2 * size)
    image[np.abs(y - table) < 0.8 * unit] = 70
    image = cv2.GaussianBlur(image, (0, 0), 0.7 * unit)
    image += (owner >= 0) * (0.6 * grain * noise(rng, shape, 1.6 * unit) + rng.normal(0, 0.7 * grain, shape))
    image += (skin < 1) * _streaks(rng, shape, middle)
    return to_uint8(image), np.where(liver, 255, 0).astype(np.uint8)


Layers = list[tuple[Array, float]]
"""Regions (H, W) with their gray values; later ones cover earlier ones."""


def _organs(body: _Body, gray: float, depth: float) -> Layers:
    """Return the organs; the first two layers are the target organ and its left lobe."""
    chance, part = body.anatomy, body.part
    lobe_ends, never = chance.uniform(-0.4, 0.2), np.zeros(body.shape, bool)
    liver = part(-0.54, 0.0 + 0.08 * depth, 0.42 - 0.13 * depth, 0.66 - 0.22 * depth, 0.12, 0.3)
    lobe = part(-0.12, 0.38, 0.42, 0.3, 0.12, 0.3)
    spleen = part(0.6, -0.2, 0.22 - 0.06 * depth, 0.36 - 0.14 * depth, 0.12, -0.5)
    stomach = part(0.36, 0.3, 0.3 - 0.08 * depth, 0.34, 0.1)
    gas = part(0.38, 0.42, 0.17, 0.12, 0.15)
    kidneys = [part(side * 0.37, -0.34, 0.15, 0.25, 0.08, -side * 0.3) for side in (-1, 1)]
    hollows = [part(side * 0.34, -0.32, 0.055, 0.1, 0.3) for side in (-1, 1)]
    bladder = part(-0.24, 0.42, 0.12, 0.2)
    vessels = [(part(x, y, 0.055, 0.08), gray + 28) for x, y in ((0.06, -0.17), (-0.08, -0.2))]
    upper, lower = depth < 0.45, depth > -0.35
    return [
        (liver, gray),
        (lobe if depth < lobe_ends else never, gray),
        (spleen if upper else never, gray + chance.uniform(-6, 6)),
        (stomach if upper else never, gray + chance.uniform(-35, -15)),
        (gas & stomach if upper else never, 3.0),
        (bladder if lower else never, gray - 40),
        *((kidney if lower else never, gray + 20) for kidney in kidneys),
        *((hollow if lower else never, gray - 30) for hollow in hollows),
        *((part(side * 0.2, -0.56, 0.15, 0.22), gray - 22) for side in (-1, 1)),
        *vessels,
    ]


def _gut(body: _Body, gray: float, depth: float) -> Layers:
    """Return loops of gut, some with bright contents or gas; more in lower slices."""
    layers: Layers = []
    for _ in range(16):
        x, y = body.anatomy.uniform(-0.55, 0.7), body.anatomy.uniform(-0.1, 0.72)
        radius, shown = body.anatomy.uniform(0.05, 0.11), body.anatomy.uniform(-1, 0.8) < depth
        wall = body.part(x, y, radius, 1.4 * radius, 0.15)
        inner = cv2.erode(wall.astype(np.uint8), np.ones((3, 3), np.uint8), iterations=max(1, body.shape[0] // 170)) > 0
        contents = body.anatomy.choice([2.0, gray - 40, gray - 8, gray + 40])
        layers += [(wall & shown, gray - 12), (inner & shown, contents)]
    return layers


def _bones(body: _Body, skin: Array, fat: float, depth: float) -> Layers:
    """Return vertebra and ribs: bright cortex, darker core."""
    spine, core, arch = body.part(0, -0.5, 0.13, 0.19, 0.04), body.part(0, -0.5, 0.1, 0.14, 0.04), body.part(0, -0.8, 0.04, 0.2)
    wings = [body.part(side * 0.12, -0.66, 0.14, 0.035, 0.1, -side * 0.5) for side in (-1, 1)]
    canal = body.part(0, -0.67, 0.045, 0.055, 0.05)
    layers: Layers = [*((wing, 165.0) for wing in wings), (arch, 180.0), (spine, 185.0), (core, 125.0), (canal, 60.0)]
    y, x = np.mgrid[0 : body.shape[0], 0 : body.shape[1]]
    angle = np.arctan2((y - body.middle[1]) / body.axes[1], (x - body.middle[0]) / body.axes[0])
    ring = np.abs(skin - (0.86 - fat))
    for start in np.linspace(-2.9, 0.5, 8) + body.anatomy.uniform(-0.15, 0.15, 8) + 0.12 * depth:
        off = np.abs(np.angle(np.exp(1j * (angle - start)))) / body.anatomy.uniform(0.09, 0.16)
        layers += [(np.hypot(off, ring / 0.035) < 1, 200.0), (np.hypot(off / 0.8, ring / 0.016) < 1, 130.0)]
    return layers


def _vessels_and_tumours(body: _Body, unit: float) -> Array:
    """Return the gray-level offset (H, W) of bright vessels and dark round lesions inside the organ."""
    specks = 14 * (noise(body.rng, body.shape, 7 * unit) > 1.7)
    result = specks.astype(float)
    for _ in range(int(body.anatomy.integers(0, 4))):
        x, y = body.anatomy.uniform(-0.8, -0.2), body.anatomy.uniform(-0.4, 0.5)
        radius = body.anatomy.uniform(0.05, 0.14)
        result -= body.anatomy.uniform(15, 32) * body.part(x, y, radius, 1.4 * radius, 0.15)
    return result


def _streaks(rng: Rng, shape: tuple[int, int], middle: Point) -> Array:
    """Return streak artefacts (H, W) around the spine."""
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]]
    y, x = y - middle[1] + 0.14 * shape[0], x - middle[0]
    rays = cv2.GaussianBlur(rng.normal(0, 6, (1, 180)), (5, 1), 1)[0]
    turn = (np.arctan2(y, x) / np.pi + 1) * 89.5
    return np.asarray(rays[turn.astype(int)] * np.exp(-np.hypot(x, y) / (0.3 * shape[0])))
