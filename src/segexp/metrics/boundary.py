"""Distances between the borders of prediction and ground truth: HD95, ASSD, NSD and boundary IoU.

Border pixels have at least one of four neighbours outside of the set; beyond the image edge is outside (as in MONAI, DeepMind's
surface-distance and Cheng's boundary IoU). Ignored pixels are treated like those beyond the edge: they belong to neither set.

Empty masks are treated as in `segexp.metrics.scores`: a case whose mask lacks a class is left out of that class's scores (NaN;
false positives are in `false_alarm/<class>`). A class that is missed altogether gets the worst value: the image's diagonal as
its distances, 0 as NSD and boundary IoU.

Shapes: K classes, H W pixels.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np
from scipy.spatial import cKDTree

from segexp.errors import ConfigError, DataError
from segexp.metrics.measures import Foreground, ForegroundMeasure

CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


@dataclass(frozen=True)
class Boundary(ForegroundMeasure):
    """The boundary scores of one case.

    `hd95`: 95th percentile of the distances from each border to the other, maximum of both directions (as in MONAI, DeepMind
    and Metrics Reloaded; medpy pools both directions, which hides a small border in a long one). `assd`: mean of these
    distances, both directions pooled. `nsd`: share of both borders within `tolerance` of the other (Nikolov et al. 2018,
    counted in border pixels). `boundary_iou`: IoU of the pixels within `band` of their own set's border (Cheng et al., CVPR
    2021).

    Attributes:
        tolerance: accepted distance of a border pixel, in `unit`; 0 or more.
        unit: "pixel", or "spacing": distances and tolerance in the image's own spacing, such as millimetres.
        band: width of the band of boundary IoU as a share of the image's diagonal, rounded to pixels, at least 1.

    Raises:
        ConfigError: a value is out of its range.
    """

    columns: ClassVar[tuple[str, ...]] = ("hd95", "assd", "nsd", "boundary_iou")
    better: ClassVar[Mapping[str, str]] = {"hd95": "low", "assd": "low", "nsd": "high", "boundary_iou": "high"}
    needs_probabilities: ClassVar[bool] = False

    tolerance: float = 2.0
    unit: str = "pixel"
    band: float = 0.02

    def __post_init__(self) -> None:
        if not (math.isfinite(self.tolerance) and self.tolerance >= 0):
            raise ConfigError(f"tolerance of the boundary measure is {self.tolerance}", "0 or more", "Set tolerance=2")
        if self.unit not in ("pixel", "spacing"):
            raise ConfigError(f"unit of the boundary measure is {self.unit!r}", "pixel or spacing", "Set unit=pixel")
        if not 0 < self.band < 1:
            raise ConfigError(f"band of the boundary measure is {self.band}", "between 0 and 1", "Set band=0.02")

    def check(self, num_classes: int, spacing: tuple[float, float] | None) -> None:
        """Require a valid spacing for unit "spacing"."""
        if self.unit == "spacing":
            _checked(spacing)

    def score(self, found: Foreground) -> dict[str, float]:
        """Return each score of a class, NaN if the mask lacks it."""
        size = (1.0, 1.0) if self.unit == "pixel" else _checked(found.spacing)
        return boundary_scores(found.truth, found.prediction, size, self.tolerance, self.band)


def boundary_scores(
    truth: np.ndarray, prediction: np.ndarray, spacing: tuple[float, float], tolerance: float, band: float
) -> dict[str, float]:
    """Return the scores of `Boundary.columns` for two sets of pixels, (H, W) bool each."""
    if not truth.any():
        return dict.fromkeys(Boundary.columns, math.nan)
    height, width = truth.shape
    if not prediction.any():
        diagonal = math.hypot(height * spacing[0], width * spacing[1])
        return {"hd95": diagonal, "assd": diagonal, "nsd": 0.0, "boundary_iou": 0.0}
    x, y, w, h = cv2.boundingRect((truth | prediction).view(np.uint8))
    truth, prediction = (np.ascontiguousarray(mask[y : y + h, x : x + w]) for mask in (truth, prediction))
    there, back = surface_distances(truth, prediction, spacing)
    both = np.concatenate([there, back])
    within = tolerance * (1 + 1e-9)  # three pixels of 0.1 are 0.30000000000000004
    return {
        "hd95": float(max(np.percentile(there, 95), np.percentile(back, 95))),
        "assd": float(both.mean()),
        "nsd": float(np.count_nonzero(both <= within) / both.size),
        "boundary_iou": _band_iou(truth, prediction, max(1, round(band * math.hypot(height, width)))),
    }


def surface(mask: np.ndarray) -> np.ndarray:
    """Return the border pixels of a set (H, W) bool: those with one of four neighbours outside of it."""
    inner = cv2.erode(mask.view(np.uint8), CROSS, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    border: np.ndarray = mask & (inner == 0)
    return border


def surface_distances(
    truth: np.ndarray, prediction: np.ndarray, spacing: tuple[float, float] = (1.0, 1.0)
) -> tuple[np.ndarray, np.ndarray]:
    """Return the exact Euclidean distance of every border pixel to the nearest one of the other set.

    Args:
        truth: (H, W) bool, not empty.
        prediction: (H, W) bool, not empty.
        spacing: size of a pixel (row, column).

    Returns:
        float64: one distance per border pixel of the truth, and one per border pixel of the prediction.
    """
    one, other = surface(truth), surface(prediction)
    # Distance transform for long borders and square pixels (as OpenCV requires), else nearest neighbours.
    if spacing[0] == spacing[1] and np.count_nonzero(one) + np.count_nonzero(other) > one.size // 32:
        return spacing[0] * _from(one, other), spacing[0] * _from(other, one)
    points, others = (np.argwhere(border) * np.asarray(spacing) for border in (one, other))
    return cKDTree(others).query(points)[0], cKDTree(points).query(others)[0]


def _from(border: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the distances in pixels from `border` to `other`, (H, W) bool both."""
    squares = np.square(cv2.distanceTransform((~other).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[border], dtype=float)
    distances: np.ndarray = np.sqrt(np.rint(squares))  # exact again: OpenCV rounds to float32
    return distances


def _band_iou(truth: np.ndarray, prediction: np.ndarray, width: int) -> float:
    """Return the IoU of the bands of two sets (H, W) bool within `width` pixels of their own border."""
    square = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    one, other = (
        mask & (cv2.erode(mask.view(np.uint8), square, borderType=cv2.BORDER_CONSTANT, borderValue=0) == 0)
        for mask in (truth, prediction)
    )
    return float(np.count_nonzero(one & other) / np.count_nonzero(one | other))


def _checked(spacing: tuple[float, float] | None) -> tuple[float, float]:
    """Validate and return the spacing.

    Raises:
        DataError: it is missing, or not two positive numbers.
    """
    if spacing is None:
        raise DataError(
            "the boundary measure is to be in the image's spacing, and the data give none",
            "The size of a pixel (row, column) was expected",
            "Type 'data.spacing=[0.7,0.7]' with the size of a pixel (NIfTI files give theirs), or metrics.boundary.unit=pixel",
        )
    if len(spacing) != 2 or not all(math.isfinite(s) and s > 0 for s in spacing):
        raise DataError(
            f"the spacing of the image is {tuple(spacing)}",
            "Two positive numbers, the size of a pixel along rows and columns, were expected",
            "Type 'data.spacing=[0.7,0.7]' with the size of a pixel, or metrics.boundary.unit=pixel",
        )
    return float(spacing[0]), float(spacing[1])
