"""The warping error of Jain et al. (CVPR 2010): topological disagreement of two masks, regardless of border shifts.

A pixel is simple if flipping it does not change the topology of cells and membranes. The ground truth is warped towards the
prediction by flipping simple pixels that differ until none is left; the remaining differences are topological errors: gaps,
false walls, specks. The flips are greedy, so the error is an upper bound of the minimum.

Cells are 4-connected, the membrane 8-connected; beyond the edge is membrane.

Shapes: H W pixels.
"""

import numpy as np

RING = ((0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1))
"""The eight neighbours (row, column) counter-clockwise from the right; bit n of a code is set if neighbour n is cell."""


def _simple_codes() -> np.ndarray:
    """Return for each of the 256 neighbourhoods whether its centre is simple: connectivity number 1 (Yokoi et al. 1975)."""
    cell = (np.arange(256)[:, None] >> np.arange(8)) & 1
    following, second = np.roll(cell, -1, axis=1), np.roll(cell, -2, axis=1)
    number = (cell - cell * following * second)[:, ::2].sum(axis=1)
    simple: np.ndarray = number == 1
    return simple


SIMPLE = _simple_codes()


def warp(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Warp `source` towards `target` as far as its topology allows.

    Args:
        source: (H, W) bool, True for cells.
        target: (H, W) bool.

    Returns:
        (H, W) bool with the topology of `source`; no pixel that differs from `target` is simple.
    """
    mask = np.ascontiguousarray(np.pad(source.astype(np.uint8), 1))  # `flat` must be a view of it
    width = mask.shape[1]
    flat = mask.reshape(-1)
    around = [row * width + column for row, column in RING]
    row, column = np.divmod(np.flatnonzero(flat != np.pad(target, 1).reshape(-1)), width)
    # Pixels of one of these four fields are not neighbours, so that they can be flipped simultaneously.
    fields = [(row * width + column)[(row % 2 == i) & (column % 2 == j)] for i in (0, 1) for j in (0, 1)]
    moved = True
    while moved:
        moved = False
        for n, field in enumerate(fields):
            code = np.zeros(len(field), np.uint8)
            for bit, step in enumerate(around):
                code |= flat[field + step] << bit
            flip = SIMPLE[code]
            flat[field[flip]] ^= 1
            fields[n] = field[~flip]
            moved |= bool(flip.any())
    return mask[1:-1, 1:-1].astype(bool)


def warping_error(truth: np.ndarray, prediction: np.ndarray) -> int:
    """Return the number of pixels in which the warped ground truth differs from the prediction, (H, W) bool, True for cells."""
    return int(np.count_nonzero(warp(truth, prediction) != prediction))
