"""Which post-processing is tried, measured by the objects in the truth.

Legend: M candidates, K classes, H W pixels.
"""

from collections.abc import Iterable

import numpy as np

from segexp.postprocess import Postprocessing
from segexp.postprocess.components import components
from segexp.types import IGNORE

THRESHOLDS = tuple(n / 20 for n in range(4, 17) if n != 10)
"""0.2 to 0.8; 0.5 is what two classes have without one."""

SHARES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
"""Candidates for `min_area`, as shares of `typical_area`."""


def candidates_for(classes: int, area: int) -> tuple[Postprocessing, ...]:
    """Return the M candidates, the simplest first.

    Args:
        classes: K; only two have a threshold.
        area: see `typical_area`.
    """
    thresholds = (None, *THRESHOLDS) if classes == 2 else (None,)
    areas = sorted({round(share * area) for share in SHARES if share * area >= 2})
    stays = [(0, False), (0, True), *((size, False) for size in areas)]
    every = [Postprocessing(t, size, largest, fill) for t in thresholds for size, largest in stays for fill in (False, True)]
    return tuple(sorted(every, key=_complexity))


def _complexity(candidate: Postprocessing) -> tuple[float, ...]:
    """Order by the number of steps, then by how far they go."""
    threshold = candidate.threshold
    steps = (threshold is not None) + (candidate.min_area > 0) + candidate.largest_component + candidate.fill_holes
    return steps, 0.0 if threshold is None else round(abs(threshold - 0.5), 6), candidate.min_area, candidate.fill_holes


def typical_area(truths: Iterable[np.ndarray]) -> int:
    """Return the pixels of the component that the middle foreground pixel lies in, 0 where there is no foreground.

    Half of the foreground lies in components of this size or larger; specks hardly move it, however many they are.

    Args:
        truths: class maps (H, W) uint8, 255 where ignored.
    """
    known = (np.where(truth == IGNORE, 0, truth) for truth in truths)
    areas = np.sort([area for truth in known for each in components(truth) for area in each.areas[1:].tolist()])
    return int(areas[np.searchsorted(np.cumsum(areas), areas.sum() / 2)]) if len(areas) else 0
