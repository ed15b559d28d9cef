"""One order and direction of axes for all NIfTI volumes of a data set.

Codes are those of nibabel: the directions in which the three axes increase, of left L, right R, anterior A, posterior P,
inferior I and superior S; slices are taken along the third axis.
"""

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

from segexp.config.schema import DataConfig
from segexp.data.io import nifti
from segexp.data.io.images import volume_orientation
from segexp.data.layout.pairing import list_files
from segexp.data.layout.patterns import parse_pattern
from segexp.errors import SegexpError


def choose_orientation(data: DataConfig) -> tuple[str | None, str]:
    """Return the orientation of the volumes of a data section, and a sentence about it; None and "" without volumes.

    It is `data.orientation`, else the most common one; of two that are equally common, the one with the thickest slices, which
    have the finest pixels.
    """
    if data.image is None or data.orientation == "stored" or not _may_be_nifti(data.image):
        return data.orientation, ""
    pattern = parse_pattern(data.image, "data.image")
    names = [name for name in list_files(Path(data.root), pattern.depth) if pattern.match(name) is not None]
    found: dict[str, list[float]] = defaultdict(list)
    for name in filter(nifti.is_nifti, map(Path, names)):
        try:
            codes, sides = volume_orientation(Path(data.root, name))
        except SegexpError:  # reported when the file is read
            continue
        found[codes].append(sides[2] / max(sides))
    if not found:
        return data.orientation, ""
    counts = Counter({codes: len(shares) for codes, shares in found.items()})
    chosen = data.orientation or max(sorted(counts), key=lambda codes: (counts[codes], float(np.mean(found[codes]))))
    stored = ", ".join(f"{count} as {codes}" for codes, count in counts.most_common())
    return chosen, f"Volumes are read in the orientation {chosen} and sliced along its third axis (stored: {stored})"


def _may_be_nifti(pattern: str) -> bool:
    return "nii" in pattern.lower() or pattern.endswith("*")
