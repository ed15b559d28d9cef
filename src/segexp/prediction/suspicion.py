"""A look at the first images before any is predicted: a folder of masks given as images is refused."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from segexp.data.files.images import read_image
from segexp.errors import DataError, SegexpError, listed
from segexp.prediction.flags import Training
from segexp.prediction.inputs import Job

Array = np.ndarray[Any, np.dtype[Any]]

FIRST = 8
"""Images looked at."""
HANDFUL = 16
"""Different values or colours that a mask may have, and an image hardly."""
ENOUGH = 1 << 20
"""Pixels looked at."""


def refuse_masks(jobs: Sequence[Job], training: Training) -> None:
    """Refuse input whose first images all hold only a handful of values, where the training images held many.

    Args:
        jobs: what would be predicted.
        training: what is known about the training images.

    Raises:
        DataError: the files look like masks.
    """
    if not len(training.mean) or training.two_valued:
        return
    counts: dict[str, int] = {}
    for job in jobs[:FIRST]:
        try:
            counts[job.image] = different_values(read_image(job.sources[len(job.sources) // 2]))
        except SegexpError:  # told when its turn comes
            continue
        if counts[job.image] > HANDFUL:
            return
    if max(counts.values(), default=0) < 2:  # blank images are flagged, not refused
        return
    first = listed((f"{name} ({count})" for name, count in counts.items()), 3)
    files = f"The first {len(counts)} files hold" if len(counts) > 1 else "The file holds"
    raise DataError(
        f"{files} only a handful of different values, as masks do: {first}",
        "Images with many values, like those of the training, were expected",
        "Type input=DIR with the folder of the images; or check=false if these are the images",
    )


def different_values(image: Array) -> int:
    """Return how many different values or colours an image (H, W, C) has in evenly spread pixels; stops after `HANDFUL`."""
    pixels = image.reshape(-1, image.shape[2])
    pixels = pixels[:: max(1, len(pixels) // ENOUGH)]
    found = 0
    while len(pixels) and found <= HANDFUL:
        found += 1
        pixels = pixels[(pixels != pixels[0]).any(axis=1)]
    return found
