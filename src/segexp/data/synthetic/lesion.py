"""A skin lesion as seen through a dermatoscope.

Legend: H W pixels; `unit` is the longer side of the image over 256, so that every size shows the same scene.
"""

from typing import Any

import cv2
import numpy as np

from segexp.data.synthetic.shapes import Array, Rng, blob, distance, noise, soft, to_uint8


def lesion(rng: Rng, shape: tuple[int, int]) -> tuple[Array, Array]:
    """Draw a pigmented lesion on skin with typical artefacts.

    Returns:
        image (H, W, 3) uint8 RGB, and label (H, W) uint8: 255 lesion, 0 skin.
    """
    unit, (height, width) = max(shape) / 256, shape
    centre = width * rng.uniform(0.36, 0.64), height * rng.uniform(0.38, 0.62)
    radius = height * rng.uniform(0.12, 0.40)
    field = blob(rng, shape, centre, (radius * rng.uniform(0.95, 1.3), radius * rng.uniform(0.7, 1.0)), 0.09)
    field += np.clip(radius / (22 * unit), 0.5, 1) * (0.05 * noise(rng, shape, 14 * unit) + 0.025 * noise(rng, shape, 5 * unit))
    label = _filled(cv2.GaussianBlur(field, (0, 0), 3 * unit) < 1)  # an annotator draws a smoother line

    lightness, warmth = rng.uniform(175, 235), rng.uniform(0.66, 0.9)
    skin = lightness * np.array([1.0, warmth, warmth * rng.uniform(0.8, 1.02)])
    light = 1 + 0.05 * noise(rng, shape, 70 * unit) + 0.018 * noise(rng, shape, 3 * unit)
    red = 0.05 * noise(rng, shape, 18 * unit)[..., None] * [0.2, 1.0, 0.8]
    brown = np.array([rng.uniform(0.35, 0.6), 1.0, rng.uniform(1.1, 1.7)])  # melanin absorbs blue most
    pigment = soft(field, rng.uniform(0.04, 0.16)) * rng.uniform(0.16, 0.85)
    pigment = pigment * np.clip(1 + 0.2 * noise(rng, shape, 12 * unit) + 0.13 * noise(rng, shape, 3 * unit), 0.25, 2)
    image = skin * light[..., None] * np.exp(-red - (pigment + _freckles(rng, shape, unit))[..., None] * brown)
    if rng.random() < 0.35:
        image = _sticker(rng, image, unit)
    if rng.random() < 0.45:
        image = _ruler(rng, image, unit)
    if rng.random() < 0.6:
        image = _hairs(rng, image, unit)
    if rng.random() < 0.4:
        image = _bubbles(rng, image, unit)
    edge = np.hypot(*(np.mgrid[0:height, 0:width] - np.array([[[height / 2]], [[width / 2]]]))) / (width / 2)
    image *= (1 - rng.uniform(0.05, 0.3) * np.clip(edge, 0, 1.3) ** 3)[..., None]
    if rng.random() < 0.6:  # dark corners of a round field of view
        image *= soft(edge - rng.uniform(0.0, 0.16), 0.02)[..., None]
    image = cv2.GaussianBlur(image, (0, 0), 0.5 * unit) + rng.normal(0, 3, image.shape)
    return to_uint8(image), label


def _filled(region: Array) -> Array:
    """Return the largest component of a region (H, W) bool without holes, as 0 and 255."""
    contours, _ = cv2.findContours(region.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    label = np.zeros(region.shape, np.uint8)
    cv2.drawContours(label, [max(contours, key=cv2.contourArea)], -1, 255, cv2.FILLED)
    return label


def _freckles(rng: Rng, shape: tuple[int, int], unit: float) -> Array:
    """Return pigment (H, W) of spots outside the lesion."""
    spots = np.clip(noise(rng, shape, rng.uniform(5, 14) * unit) - rng.uniform(1.0, 2.6), 0, 1.2)
    return np.asarray(rng.uniform(0, 0.3) * spots)


def _sticker(rng: Rng, image: Array, unit: float) -> Array:
    """Return the image with part of a round coloured sticker at its border."""
    height, width = image.shape[:2]
    angle, radius = rng.uniform(0, 2 * np.pi), rng.uniform(35, 60) * unit
    centre = width * (0.5 + 0.56 * np.cos(angle)), height * (0.5 + 0.62 * np.sin(angle))
    colour = np.array([(70, 170, 165), (205, 80, 60), (90, 110, 190), (225, 190, 70)][rng.integers(4)])
    cover = soft(distance((height, width), centre) / radius, 0.02)[..., None]
    return np.asarray(image * (1 - cover) + cover * colour * (1 + 0.04 * rng.normal(size=(height, width, 1))))


def _ruler(rng: Rng, image: Array, unit: float) -> Array:
    """Return the image with a ruler of tick marks."""
    height, width = image.shape[:2]
    start = np.array([width * rng.uniform(0.1, 0.45), height * rng.choice([0.12, 0.88])])
    turn, pitch, colour = rng.uniform(-0.4, 0.4), rng.uniform(4, 7) * unit, rng.uniform(20, 70, 3)
    along, across = np.array([np.cos(turn), np.sin(turn)]), np.array([np.sin(turn), -np.cos(turn)])
    lines = [(start, start + 20 * pitch * along)]
    lines += [
        (start + k * pitch * along, start + k * pitch * along + (3 + 3 * (k % 5 == 0)) * unit * across) for k in range(21)
    ]
    return _strokes(image, lines, colour, 0.9)


def _hairs(rng: Rng, image: Array, unit: float) -> Array:
    """Return the image with curved dark or fair hairs."""
    height, width = image.shape[:2]
    colour, main = rng.uniform(15, 80) * np.array([1.0, 0.8, 0.65]), rng.uniform(0, np.pi)
    hairs = []
    for _ in range(int(rng.integers(4, 26))):
        turn, bend, length = main + rng.normal(0, 0.5), rng.normal(0, 0.006), rng.uniform(40, 160) * unit
        s = np.linspace(-length / 2, length / 2, 24)
        path = np.stack([s * np.cos(turn) - bend * s**2 * np.sin(turn), s * np.sin(turn) + bend * s**2 * np.cos(turn)], 1)
        hairs.append(path + rng.uniform(0, 1, 2) * (width, height))
    return _strokes(image, hairs, colour, rng.uniform(0.5, 0.9), max(1, round(0.9 * unit)))


def _bubbles(rng: Rng, image: Array, unit: float) -> Array:
    """Return the image with bright rims and glints of gel bubbles."""
    height, width = image.shape[:2]
    for _ in range(int(rng.integers(2, 9))):
        centre, radius = (rng.uniform(0, width), rng.uniform(0, height)), rng.uniform(3, 11) * unit
        away = distance((height, width), centre)
        rim = 0.5 * np.exp(-(((away - radius) / (0.9 * unit)) ** 2))
        glint = np.exp(-((distance((height, width), (centre[0] - radius / 3, centre[1] - radius / 3)) / (1.6 * unit)) ** 2))
        image = image + (250 - image) * np.clip(rim + 0.8 * glint, 0, 1)[..., None]
    return image


def _strokes(image: Array, lines: list[Any], colour: Array, strength: float, thickness: int = 1) -> Array:
    """Return the image with anti-aliased lines, each a sequence of (x, y), drawn over it."""
    cover = np.zeros(image.shape[:2], np.uint8)
    for line in lines:
        points = np.round(np.asarray(line) * 16).astype(np.int32)
        cv2.polylines(cover, [points], False, 255, thickness, cv2.LINE_AA, shift=4)
    share = strength * cover[..., None] / 255
    return np.asarray(image * (1 - share) + colour * share)
