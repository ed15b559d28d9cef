"""Photographs that are turned by their EXIF orientation while their masks have none: which reading do the masks fit?

Legend: N cases, G side of a thumbnail.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from segexp.checks.issues import Finding
from segexp.checks.scan import CaseScan, Fault, image_thumbnail, label_thumbnail, to_gray
from segexp.data.datamodule import SegmentationDataModule
from segexp.data.io.images import exif_orientation
from segexp.data.io.raw import apply_orientation
from segexp.errors import listed
from segexp.types import IGNORE, Array, Case

LEAST = 5
"""Minimum number of cases from which borders decide."""
CLEAR = 4.0
"""Minimum mean difference between the readings, in standard errors: by chance, five cases exceed it once in sixty times."""
MOST = 100
"""Number of cases that are looked at before a training."""
MAX_LISTED = 6

INVERSE = {6: 8, 8: 6}
"""Orientations that are not their own inverse."""


class TurnedCase(NamedTuple):
    """A case whose image has an EXIF orientation that its masks lack.

    Attributes:
        case: image and masks.
        orientation: 2 to 8.
        size: height and width of the image as it is read, and of the mask.
        picture: thumbnail (G, G, 1 or 3) uint8 of the image as it is read.
        labels: thumbnail (G, G) uint8 of the mask as it is read, 255 = ignore.
    """

    case: Case
    orientation: int
    size: tuple[int, ...]
    picture: Array
    labels: Array

    @property
    def swaps(self) -> bool:
        """Whether the sides would not agree in the other reading."""
        return self.orientation >= 5 and self.size[0] != self.size[1]


def lone_orientation(case: Case) -> int:
    """Return the EXIF orientation of an image, 1 if it has none or one of its masks has the same."""
    found = exif_orientation(case.image)
    return 1 if found == 1 or any(exif_orientation(mask) == found for mask in case.masks) else found


def check_exif(turned: Sequence[TurnedCase], total: int, faults: Iterable[Fault] = ()) -> list[Finding]:
    """Return a finding on images with an EXIF orientation whose masks have none, and on the reading that masks fit.

    Sizes tell it, else borders of masks, which lie on edges of the images.

    Args:
        turned: cases whose masks have the size of the image.
        total: number of cases.
        faults: of masks of another size, which have a finding of their own.
    """
    if not turned or any("data.exif=" in fault.problem.do for fault in faults):
        return []
    applied = turned[0].case.image.exif
    readings = [("apply", "as they are turned"), ("ignore", "as they are stored")]
    (here, fits), (other, fits_other) = readings if applied else reversed(readings)
    ids, kinds = tuple(each.case.id for each in turned), sorted({each.orientation for each in turned})
    text = (
        f"{len(ids)} of {total} images carry an EXIF orientation ({listed(kinds, 7)}) and their masks carry none: "
        f"{listed(ids, MAX_LISTED)}"
    )
    if any(each.swaps for each in turned):
        return [Finding("note", "exif", f"{text}. By their sizes the masks lie on the images {fits}", "Nothing", ids)]
    gains = np.array([gain for each in turned if (gain := border_gain(each))])
    if len(gains) < LEAST or abs(gains.mean()) <= CLEAR * gains.std(ddof=1) / len(gains) ** 0.5:
        text += ". Masks may lie otherwise than the images, and their borders do not tell it"
        do = f"Look at the overlays; if masks lie wrong, type data.exif={other}"
        return [Finding("warning" if applied else "note", "exif", text, do, ids)]
    wrong = bool(gains.mean() > 0)
    agree = f"{np.count_nonzero((gains > 0) == wrong)} of {len(gains)}"
    text += f". The borders of the masks lie on edges of the images {fits_other if wrong else fits} ({agree})"
    if wrong:
        return [Finding("warning", "exif", text, f"Type data.exif={other}", ids, {"exif": other})]
    return [Finding("note", "exif", text, f"Nothing: data.exif={here} reads them so", ids)]


def border_gain(found: TurnedCase) -> float:
    """Return by how much the image's edges along the mask's border are stronger in the other reading, in standard deviations.

    0 for a mask without a border, and for one that is the same in both.
    """
    smooth = cv2.GaussianBlur(to_gray(found.picture), (0, 0), 1)
    edges = np.hypot(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1))
    turn = INVERSE.get(found.orientation, found.orientation) if found.case.image.exif else found.orientation
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    low, high = cv2.erode(found.labels, cross), cv2.dilate(found.labels, cross)
    border = (low != high) & (high != IGNORE)
    if not border.any() or not edges.std():
        return 0.0
    return float((apply_orientation(edges, turn)[border].mean() - edges[border].mean()) / edges.std())


def turned_cases(scans: Iterable[CaseScan]) -> list[TurnedCase]:
    """Return the scanned cases whose images have an orientation of their own."""
    return [
        TurnedCase(scan.case, turn, scan.facts.size, scan.picture, scan.labels)
        for scan in scans
        if scan.labels is not None and (turn := lone_orientation(scan.case)) != 1
    ]


def turned_training_cases(data: SegmentationDataModule) -> list[TurnedCase]:
    """Return those of up to `MOST` cases of a data module after `setup` whose images have an orientation of their own."""
    found = []
    for n in range(0, len(data.cases), -(-len(data.cases) // MOST)):
        if (orientation := lone_orientation(data.cases[n])) != 1:
            picture = data.store[n]
            thumbnails = image_thumbnail(picture.image), label_thumbnail(picture.mask)
            found.append(TurnedCase(data.cases[n], orientation, picture.mask.shape, *thumbnails))
    return found
