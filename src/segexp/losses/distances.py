"""Exact Euclidean distances in pixels, for losses on borders and gaps.

They are computed by OpenCV on the CPU, image by image, without gradients. Distances are straight lines, so ignored pixels
belong to no set and hide none; their own values are meaningless.

Shapes: N images, H W pixels; ... any number of axes.
"""

from collections.abc import Callable

import cv2
import numpy as np
import torch
from torch import Tensor


def distance_to(pixels: np.ndarray) -> np.ndarray:
    """Return the distance of each pixel to the nearest pixel of a set, between pixel centres.

    Args:
        pixels: (H, W) bool, not empty.

    Returns:
        (H, W) float32, 0 in the set and at least 1 elsewhere.
    """
    distance: np.ndarray = cv2.distanceTransform((~pixels).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return distance


def signed_distance(sets: Tensor, known: Tensor) -> Tensor:
    """Return the level set function of each set: positive outside, 0 or less inside (Kervadec et al., MIDL 2019).

    Outside it is the distance to the nearest pixel of the set; inside, 1 minus the distance to the nearest pixel outside, so
    that the outermost pixels of the set have 0, as in the paper's code.

    Args:
        sets: (..., H, W) bool.
        known: bool, broadcastable to `sets`; False for ignored pixels.

    Returns:
        (..., H, W) float32; 0 everywhere without a border (all or no known pixels in the set).
    """

    def one(inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
        away: np.ndarray = distance_to(inside) - np.maximum(distance_to(outside) - 1, 0)
        return away

    return _each(one, sets, known)


def border_distance(sets: Tensor, known: Tensor) -> Tensor:
    """Return the distance of each pixel to the nearest known pixel on the other side of its set's border.

    Args:
        sets: (..., H, W) bool.
        known: bool, broadcastable to `sets`; False for ignored pixels.

    Returns:
        (..., H, W) float32, at least 1 at known pixels; 0 everywhere without a border.
    """
    return _each(lambda inside, outside: np.maximum(distance_to(inside), distance_to(outside)), sets, known)


def gap_weights(labels: Tensor, known: Tensor, sigma: float) -> Tensor:
    """Return exp(-(d1 + d2)^2 / (2 sigma^2)), d1 and d2 the distances to the two nearest objects (Ronneberger et al. 2015).

    Objects are 4-connected components of pixels of one label. Each object takes a fraction of a millisecond, so masks of
    thousands of specks are slow.

    Args:
        labels: (N, H, W) integers: 0 outside of objects, else the class of the object.
        known: (N, H, W) bool, False for ignored pixels, which belong to no object.
        sigma: in pixels, above 0.

    Returns:
        (N, H, W) float32 from 0 to exp(-2 / sigma^2); 0 inside objects, with fewer than two objects, and 5 sigma or more from
        the second nearest (below 4e-6).
    """
    values = (labels * known).to(torch.uint8).cpu().numpy()
    maps = np.stack([_gaps(picture, sigma) for picture in values])
    return torch.from_numpy(maps).to(labels.device)


def _gaps(labels: np.ndarray, sigma: float) -> np.ndarray:
    """Return the weights of one image (H, W) uint8, computed within the boxes of the objects."""
    reach = int(np.ceil(5 * sigma))
    first = np.full(labels.shape, np.inf, np.float32)
    second = first.copy()
    for label in np.unique(labels[labels > 0]):
        _, parts, boxes, _ = cv2.connectedComponentsWithStats((labels == label).view(np.uint8), connectivity=4)
        for part, (x, y, w, h, _) in enumerate(boxes[1:], start=1):
            box = np.s_[max(0, y - reach) : y + h + reach, max(0, x - reach) : x + w + reach]
            distance = distance_to(parts[box] == part)
            second[box] = np.minimum(second[box], np.maximum(first[box], distance))
            first[box] = np.minimum(first[box], distance)
    far = (labels > 0) | (second >= reach)
    weights: np.ndarray = np.where(far, 0, np.exp(-np.square((first + second) / sigma) / 2)).astype(np.float32)
    return weights


def _each(one: Callable[[np.ndarray, np.ndarray], np.ndarray], sets: Tensor, known: Tensor) -> Tensor:
    """Return `one`(inside, outside) of each image, 0 if either is empty."""
    pictures = ((part & known).flatten(0, -3).cpu().numpy() for part in (sets, ~sets))
    maps = np.zeros((sets.shape[:-2].numel(), *sets.shape[-2:]), np.float32)
    for place, (inside, outside) in enumerate(zip(*pictures, strict=True)):
        if inside.any() and outside.any():
            maps[place] = one(inside, outside)
    return torch.from_numpy(maps).view(sets.shape).to(sets.device)
