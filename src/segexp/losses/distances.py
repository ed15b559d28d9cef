"""Exact Euclidean distances, in pixels, for the losses that look at borders and gaps.

They come from OpenCV on the CPU, one image at a time: masks on another device are brought there and the distances taken
back. They have no gradient. Distances are straight lines, so an ignored pixel lies in no set and hides none: what it is
given counts for nothing.

Shapes: N images, H W pixels; ... any number of axes.
"""

from collections.abc import Callable

import cv2
import numpy as np
import torch
from torch import Tensor


def distance_to(pixels: np.ndarray) -> np.ndarray:
    """Return how far each pixel is from the nearest pixel of a set, between pixel centres.

    Args:
        pixels: (H, W) bool, not empty.

    Returns:
        (H, W) float32, 0 in the set and at least 1 elsewhere.
    """
    distance: np.ndarray = cv2.distanceTransform((~pixels).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return distance


def signed_distance(sets: Tensor, known: Tensor) -> Tensor:
    """Return the level set function of each set: positive outside, 0 or less inside (Kervadec et al., MIDL 2019).

    Outside it is the distance to the nearest pixel of the set; inside, minus the distance to the nearest pixel that is not,
    plus 1, so that the set's outermost pixels have 0, as in the paper's own code.

    Args:
        sets: (..., H, W) bool.
        known: bool, of a shape that broadcasts to that of `sets`; False where the mask is ignored.

    Returns:
        (..., H, W) float32; 0 all over where the known pixels are all of the set or none is, for then there is no border.
    """

    def one(inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
        away: np.ndarray = distance_to(inside) - np.maximum(distance_to(outside) - 1, 0)
        return away

    return _each(one, sets, known)


def border_distance(sets: Tensor, known: Tensor) -> Tensor:
    """Return how far each pixel is from the nearest known pixel on the other side of its set's border.

    Args:
        sets: (..., H, W) bool.
        known: bool, of a shape that broadcasts to that of `sets`; False where the mask is ignored.

    Returns:
        (..., H, W) float32, at least 1 at known pixels; 0 all over where the known pixels are all of the set or none is.
    """
    return _each(lambda inside, outside: np.maximum(distance_to(inside), distance_to(outside)), sets, known)


def gap_weights(labels: Tensor, known: Tensor, sigma: float) -> Tensor:
    """Return exp(-(d1 + d2)^2 / (2 sigma^2)), d1 and d2 the distances to the two nearest objects (Ronneberger et al. 2015).

    An object is a connected component, over the four neighbours, of pixels of one label: two that touch only at their
    corners are two, and a line that is connected over its corners parts those on its sides.

    Args:
        labels: (N, H, W) integers: 0 where no object is, else the class of the object.
        known: (N, H, W) bool, False where the mask is ignored; ignored pixels are of no object.
        sigma: in pixels, above 0.

    The time goes with the number of objects, a fraction of a millisecond each: a mask of thousands of specks is slow.

    Returns:
        (N, H, W) float32 from 0 to exp(-2 / sigma^2); 0 inside objects, where there are fewer than two of them, and 5 sigma or
        more from the second nearest, where it would be below 4e-6.
    """
    values = (labels * known).to(torch.uint8).cpu().numpy()
    maps = np.stack([_gaps(picture, sigma) for picture in values])
    return torch.from_numpy(maps).to(labels.device)


def _gaps(labels: np.ndarray, sigma: float) -> np.ndarray:
    """Return the weights of one image (H, W) uint8; what it costs goes with the size of the objects' boxes."""
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
    """Return `one`(inside, outside) of each image, 0 where either has no pixel."""
    pictures = ((part & known).flatten(0, -3).cpu().numpy() for part in (sets, ~sets))
    maps = np.zeros((sets.shape[:-2].numel(), *sets.shape[-2:]), np.float32)
    for place, (inside, outside) in enumerate(zip(*pictures, strict=True)):
        if inside.any() and outside.any():
            maps[place] = one(inside, outside)
    return torch.from_numpy(maps).view(sets.shape).to(sets.device)
