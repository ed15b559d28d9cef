"""Class scores of one image, whole or blended from windows.

What is held at once is a batch of windows and one map of class scores; the image stays in the type it came in.
Legend: B windows at a time, C channels, K classes, h w working size, H W own size.
"""

import itertools
import math
from collections.abc import Callable, Iterator

import torch
from torch.nn import functional

from segexp.inference.tta import Network
from segexp.inference.windows import Axis, plan

Read = Callable[[slice, slice], torch.Tensor]
"""Returns the prepared image (C, rows, columns) float32 between these rows and columns, where the network is."""

STRIP = 1 << 20
"""Values that are worked on at once where a map is changed strip by strip."""


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
    """Return the logits (K, H, W) float32 of one image at its own size (H, W).

    One image is one forward pass, so that a score never depends on which images share a batch.

    Args:
        network: maps (B, C, h, w) to logits (B, K, h, w).
        read: gives parts of the prepared image.
        working: the size (h, w) of the prepared image.
        size: the own size (H, W) to which the logits are brought, bilinear.
        max_pixels: above this many working pixels the image is seen through overlapping windows, and as many pixels are in
            one pass at most.
        batch: windows in one pass; more of them are smaller ones.
        grid: windows to use instead of those that `max_pixels` asks for.
    """
    if grid is None and (max_pixels is None or working[0] * working[1] <= max_pixels):
        whole = read(slice(0, working[0]), slice(0, working[1]))
        logits = network(torch.stack([whole])).float()[0]
    else:
        rows, columns = grid or plan(*working, (max_pixels or 0) // batch)
        logits = _blend(network, read, rows, columns, batch)
    if tuple(logits.shape[-2:]) != tuple(size):
        logits = logits.to(place_for((logits.shape[0], *size), logits.device))
        logits = functional.interpolate(logits[None], size=tuple(size), mode="bilinear", align_corners=False)[0]
    return logits


def _blend(network: Network, read: Read, rows: Axis, columns: Axis, batch: int) -> torch.Tensor:
    """Return the logits (K, h, w) that windows of one size say together, each weighted by its share in a pixel."""
    blended: torch.Tensor | None = None
    shares: tuple[torch.Tensor, torch.Tensor] | None = None
    places = list(itertools.product(range(len(rows.starts)), range(len(columns.starts))))
    for first in range(0, len(places), batch):
        now = places[first : first + batch]
        parts = network(torch.stack([_window(read, rows, columns, *place) for place in now])).float()
        if blended is None or shares is None:
            shape = (parts.shape[1], rows.length, columns.length)
            blended = torch.zeros(shape, device=place_for(shape, parts.device))
            shares = rows.weights().to(blended.device), columns.weights().to(blended.device)
        for (row, column), part in zip(now, parts.to(blended.device), strict=True):
            here = blended[:, rows.starts[row] :, columns.starts[column] :][:, : rows.window, : columns.window]
            height, width = here.shape[1:]
            here.addcmul_(part[:, :height, :width], shares[0][row, :height, None] * shares[1][column, :width])
    assert blended is not None, "an image has at least one window"
    return blended


def _window(read: Read, rows: Axis, columns: Axis, row: int, column: int) -> torch.Tensor:
    """Return one window (C, window, window) of the prepared image, reflected where it reaches beyond the image."""
    top, left = rows.starts[row], columns.starts[column]
    part = read(slice(top, min(top + rows.window, rows.length)), slice(left, min(left + columns.window, columns.length)))
    for axis, wanted in ((1, rows.window), (2, columns.window)):
        have = part.shape[axis]
        if have < wanted:
            index = torch.arange(wanted, device=part.device)
            part = part.index_select(axis, torch.minimum(index, 2 * (have - 1) - index))
    return part


def place_for(shape: tuple[int, ...], device: torch.device) -> torch.device:
    """Return where a float32 map of this shape and another like it fit: beside the network, or else in main memory."""
    if device.type != "cuda":
        return device
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    free = torch.cuda.mem_get_info(device)[0] + unused
    return device if 2 * 4 * math.prod(shape) <= free else torch.device("cpu")


def softmax_(logits: torch.Tensor) -> torch.Tensor:
    """Turn logits (K, H, W) into probabilities, in place; returns them."""
    for rows in strips(logits):
        logits[:, rows] = logits[:, rows].softmax(dim=0)
    return logits


def strips(of: torch.Tensor) -> Iterator[slice]:
    """Yield the rows of a map (K, H, W) in strips of about `STRIP` values."""
    step = max(1, STRIP // (of.shape[0] * of.shape[2]))
    for top in range(0, of.shape[1], step):
        yield slice(top, top + step)
