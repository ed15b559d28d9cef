"""Windows of large images and their blending weights.

Windows begin at multiples of `UNIT`, so that pooling has the same phase as in the whole image: overlapping windows agree except
for border effects. Along each axis, windows of equal size are evenly spaced; up to `UNIT` - 1 pixels beyond the end are
reflected.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional

from segexp.inference.tta import Network

UNIT = 32
"""Window sizes and positions are multiples of this; network strides divide it."""

SMALLEST = (2 * UNIT) ** 2
"""Pixels of the smallest window."""

OVERLAPS = {128: 1.3, 96: 1.3, 64: 1.5, 32: float("inf")}
"""Candidate overlaps in pixels, best first, with their maximum cost in passes over the image.

For a trained U-Net of five levels, the largest change of a probability relative to the whole image was 0.015 with an overlap of
128, 0.2 with 64 (0.01 % of the pixels changed their class) and 0.7 with 32.
"""


@dataclass(frozen=True)
class Axis:
    """Windows of one size along one axis.

    Attributes:
        length: of the image, in pixels.
        window: of each window.
        starts: first pixel of each window, ascending; the last window may extend beyond the image.
    """

    length: int
    window: int
    starts: tuple[int, ...]

    @property
    def overlap(self) -> int:
        """Minimum overlap in pixels of neighbouring windows; 0 for a single one."""
        steps = [b - a for a, b in zip(self.starts, self.starts[1:], strict=False)]
        return self.window - max(steps) if steps else 0

    def weights(self) -> torch.Tensor:
        """Return the weight (windows, window) float32 of each window in each of its pixels.

        The weight is constant in the core and falls as a Gaussian over the overlap on either side (standard deviation: one
        quarter of the overlap); weights of a pixel sum to 1. With half overlap this equals the blending of nnU-Net and MONAI
        (an eighth of the window). Weights of a grid are products of those of its axes.
        """
        overlap = self.overlap
        weight = torch.ones(self.window, dtype=torch.float64)
        if overlap:
            away = torch.arange(self.window, dtype=torch.float64) + 0.5
            away = (overlap - torch.minimum(away, self.window - away)).clamp_min(0)
            weight = torch.exp(-((away * 4 / overlap) ** 2) / 2)
        total = torch.zeros(max(self.length, self.starts[-1] + self.window), dtype=torch.float64)
        for start in self.starts:
            total[start : start + self.window] += weight
        return torch.stack([weight / total[start : start + self.window] for start in self.starts]).float()


def window_positions(length: int, window: int, overlap: int) -> Axis:
    """Place the minimum number of windows with the given size and overlap evenly, then reduce their size.

    Args:
        length: of the image, in pixels; a single window of that length if it does not exceed `window`.
        window: maximum size of a window, at least `UNIT` more than the overlap.
        overlap: minimum overlap, a positive multiple of `UNIT`.
    """
    if length <= window:
        return Axis(length, length, (0,))
    units, largest, shared = -(-length // UNIT), window // UNIT, overlap // UNIT
    count = max(2, -(-(units - shared) // (largest - shared)))
    size = -(-(units + (count - 1) * shared) // count)
    return Axis(length, size * UNIT, tuple(UNIT * ((units - size) * n // (count - 1)) for n in range(count)))


def plan_windows(height: int, width: int, max_pixels: int) -> tuple[Axis, Axis]:
    """Choose the cheapest windows of at most `max_pixels` each for an image (height, width).

    The overlap is the largest of `OVERLAPS` within its cost limit; 768 x 768 pixels suffice for less than 1.3 passes. Windows
    are never smaller than two `UNIT`s.
    """
    most = int(4 * height / max_pixels**0.5) + 2  # down to windows of a quarter of the height of a square
    for overlap, limit in OVERLAPS.items():
        grids = [grid for rows in range(1, most) if (grid := _grid(height, width, rows, max_pixels, overlap))]
        best = min(grids, key=lambda grid: (window_cost(grid), len(grid[1].starts)), default=None)
        if best is not None and window_cost(best) <= limit:
            return best
    return window_positions(height, 2 * UNIT, UNIT), window_positions(width, 2 * UNIT, UNIT)


def window_cost(grid: tuple[Axis, Axis]) -> float:
    """Return the ratio of window pixels to image pixels."""
    rows, columns = grid
    seen = len(rows.starts) * rows.window * len(columns.starts) * columns.window
    return seen / (rows.length * columns.length)


def _grid(height: int, width: int, rows: int, max_pixels: int, overlap: int) -> tuple[Axis, Axis] | None:
    """Return the grid with this number of window rows, or None if the windows would be too small or too large."""
    units, shared = -(-height // UNIT), overlap // UNIT
    tall = height if rows == 1 else UNIT * -(-(units + (rows - 1) * shared) // rows)
    wide = max_pixels // tall
    wide = wide if wide >= width else wide // UNIT * UNIT
    if any(window < min(length, overlap + UNIT) for window, length in ((tall, height), (wide, width))):
        return None
    return window_positions(height, tall, overlap), window_positions(width, wide, overlap)


Read = Callable[[slice, slice], torch.Tensor]
"""Returns the prepared image (C, rows, columns) float32 of a region, on the device of the network."""


def segment(
    network: Network,
    read: Read,
    working: tuple[int, int],
    size: tuple[int, int],
    max_pixels: int | None = None,
    *,
    batch: int = 1,
    grid: tuple[Axis, Axis] | None = None,
) -> torch.Tensor:
    """Return the logits (K, H, W) float32 of one image at original size (H, W).

    Each image is a forward pass of its own, so that results do not depend on the batch.

    Args:
        network: maps (B, C, h, w) to logits (B, K, h, w).
        read: returns regions of the prepared image.
        working: the size (h, w) of the prepared image.
        size: the original size (H, W), reached by bilinear interpolation.
        max_pixels: larger images are processed in overlapping windows, with at most this many pixels per pass.
        batch: windows per pass; more of them are smaller.
        grid: windows to use instead of those planned for `max_pixels`.
    """
    if grid is None and (max_pixels is None or working[0] * working[1] <= max_pixels):
        whole = read(slice(0, working[0]), slice(0, working[1]))
        logits = network(torch.stack([whole])).float()[0]
    else:
        rows, columns = grid or plan_windows(*working, (max_pixels or 0) // batch)
        logits = _blend(network, read, rows, columns, batch)
    if tuple(logits.shape[-2:]) != tuple(size):
        logits = logits.to(choose_device((logits.shape[0], *size), logits.device))
        logits = functional.interpolate(logits[None], size=tuple(size), mode="bilinear", align_corners=False)[0]
    return logits


def _blend(network: Network, read: Read, rows: Axis, columns: Axis, batch: int) -> torch.Tensor:
    """Return the weighted sum (K, h, w) of the logits of all windows."""
    blended: torch.Tensor | None = None
    shares: tuple[torch.Tensor, torch.Tensor] | None = None
    places = list(itertools.product(range(len(rows.starts)), range(len(columns.starts))))
    for first in range(0, len(places), batch):
        now = places[first : first + batch]
        parts = network(torch.stack([_window(read, rows, columns, *place) for place in now])).float()
        if blended is None or shares is None:
            shape = (parts.shape[1], rows.length, columns.length)
            blended = torch.zeros(shape, device=choose_device(shape, parts.device))
            shares = rows.weights().to(blended.device), columns.weights().to(blended.device)
        for (row, column), part in zip(now, parts.to(blended.device), strict=True):
            here = blended[:, rows.starts[row] :, columns.starts[column] :][:, : rows.window, : columns.window]
            height, width = here.shape[1:]
            here.addcmul_(part[:, :height, :width], shares[0][row, :height, None] * shares[1][column, :width])
    assert blended is not None, "an image has at least one window"
    return blended


def _window(read: Read, rows: Axis, columns: Axis, row: int, column: int) -> torch.Tensor:
    """Return one window (C, window, window) of the prepared image, reflected beyond the image border."""
    top, left = rows.starts[row], columns.starts[column]
    part = read(slice(top, min(top + rows.window, rows.length)), slice(left, min(left + columns.window, columns.length)))
    for axis, wanted in ((1, rows.window), (2, columns.window)):
        have = part.shape[axis]
        if have < wanted:
            index = torch.arange(wanted, device=part.device)
            part = part.index_select(axis, torch.minimum(index, 2 * (have - 1) - index))
    return part


def choose_device(shape: tuple[int, ...], device: torch.device) -> torch.device:
    """Return the device for two float32 maps of this shape: that of the network if they fit, else the CPU."""
    if device.type != "cuda":
        return device
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    free = torch.cuda.mem_get_info(device)[0] + unused
    return device if 2 * 4 * math.prod(shape) <= free else torch.device("cpu")
