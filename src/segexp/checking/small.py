"""Small versions of pictures: what is compared and shown without decoding anything again.

Legend: H W own size, C channels, K classes; small versions have `SIDE` x `SIDE` pixels whatever the shape was.
"""

from typing import Any

import cv2
import numpy as np

from segexp.types import IGNORE

Array = np.ndarray[Any, np.dtype[Any]]

SIDE = 128
"""Pixels of a side."""
MIDDLE = 512
"""Masks with longer sides are thinned out to about this before their classes are averaged."""


def one_channel(image: Array) -> Array:
    """Return (H, W, 1) of an image (H, W, 3) whose three channels are equal, any other as it is."""
    if image.shape[2] != 3 or not np.array_equal(image[..., 0], image[..., 1]):
        return image
    return image[..., :1] if np.array_equal(image[..., 0], image[..., 2]) else image


def small_picture(image: Array) -> Array:
    """Return an image (H, W, C) as (SIDE, SIDE, 1 or 3) uint8 by area averaging.

    8-bit values stay as they are; others are stretched from their 0.5th to their 99.5th percentile, each picture by itself.
    Of two channels the first is taken, of four and more the first three.
    """
    image = image[..., :3] if image.shape[2] >= 3 else image[..., :1]
    wide = image if image.dtype == np.uint8 else image.astype(np.float32)
    small = cv2.resize(wide, (SIDE, SIDE), interpolation=cv2.INTER_AREA).reshape(SIDE, SIDE, -1)
    if small.dtype == np.uint8:
        return np.asarray(small)
    low, high = np.percentile(small, (0.5, 99.5))
    return np.asarray(np.rint(np.clip((small - low) / max(float(high - low), 1e-12), 0, 1) * 255).astype(np.uint8))


def small_labels(labels: Array) -> Array:
    """Return a mask (H, W) uint8 as (SIDE, SIDE): of each small pixel the class that covers most of it."""
    step = max(1, min(labels.shape) // MIDDLE)
    labels = np.ascontiguousarray(labels[step // 2 :: step, step // 2 :: step])
    present = np.flatnonzero(np.bincount(labels.ravel(), minlength=256)).astype(np.uint8)
    shares = [cv2.resize((labels == k).astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_AREA) for k in present]
    return np.asarray(present[np.argmax(shares, axis=0)])


def gray(picture: Array) -> Array:
    """Return a small picture as (SIDE, SIDE) float32, luma of ITU-R BT.601."""
    wide = picture.astype(np.float32)
    return np.asarray(wide[..., 0] if wide.shape[2] == 1 else wide @ np.array([0.299, 0.587, 0.114], np.float32))


def one_hot(labels: Array, classes: int) -> Array:
    """Return (…, H, W) labels as (…, K, H, W) float32; ignored pixels and classes beyond K are 0 everywhere."""
    found = labels[..., None, :, :] == np.arange(min(classes, IGNORE), dtype=np.uint8)[:, None, None]
    return np.asarray(found.astype(np.float32))
