"""At which resolution, and in what pieces, pictures are best learned from: from their sizes and how thick the objects are."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

SIDE = 256
"""Pixels of the side of a training picture: enough to see a context, and small enough for a batch of eight on most machines."""
WHOLE = 8.0
"""Thickness in pixels at which an object is still easily seen when the whole picture is scaled to `SIDE`."""
THIN = 6.0
"""Thickness in pixels below which a class of thin things should not be scaled."""
NATIVE = 640
"""Pictures whose longest side is not longer than this keep their resolution."""
BATCH = 8
"""What trainer.batch_size is by default."""


@dataclass(frozen=True)
class Resolution:
    """Values of data.size, data.crop and data.repeat, each with its reason."""

    size: int | float | None
    crop: int | None
    repeat: int
    size_reason: str
    crop_reason: str
    repeat_reason: str


def resolution(sizes: Sequence[tuple[int, int]], widths: Mapping[str, float], training: int) -> Resolution:
    """Choose.

    Args:
        sizes: (height, width) of the pictures.
        widths: thickness in pixels of each class that is looked for, see `objects.thickness`.
        training: number of training pictures.
    """
    longest = median(max(size) for size in sizes)
    thin, width = min(widths.items(), key=lambda item: item[1], default=("", float("inf")))
    seen = f"{thin}, {width:.0f} of {longest:.0f} pixels thick," if thin else "nothing thin"
    if longest <= 1.25 * SIDE:
        return _whole(None, "the pictures are small", training)
    if width * SIDE / longest >= WHOLE:
        reason = f"longest side; {seen} is still {width * SIDE / longest:.0f} pixels thick there; raise it for finer borders"
        return _whole(SIDE, reason, training)
    factor = 1.0
    if longest > NATIVE:
        factor = min(1.0, max(0.25, math.ceil(4 * THIN / width) / 4))
    reason = (
        f"{seen} would be lost in a smaller picture" if factor == 1 else f"{seen} is {width * factor:.0f} pixels thick there"
    )
    shortest = [int(min(size) * factor) for size in sizes]
    crop = min(SIDE, max(64, round(min(shortest) / 32) * 32), max(shortest))
    area = sum(height * width for height, width in sizes) / len(sizes) * factor**2
    repeat = min(16, max(1, round(area / crop**2), _for_a_batch(training)))
    return Resolution(
        None if factor == 1 else factor,
        crop,
        repeat,
        reason,
        "pieces of the pictures, for the whole would be too small or too large to learn from",
        f"crops per picture and epoch; about {area / crop**2:.1f} cover a picture",
    )


def _whole(size: int | None, reason: str, training: int) -> Resolution:
    repeat = _for_a_batch(training)
    why = "each picture once per epoch" if repeat == 1 else f"{training} training pictures are less than a batch of {BATCH}"
    return Resolution(size, None, repeat, reason, "whole pictures: the objects are seen with all that is around them", why)


def _for_a_batch(training: int) -> int:
    return max(1, math.ceil(BATCH / max(1, training)))
