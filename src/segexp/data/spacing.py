"""How large a pixel is: what the configuration says, else what the file itself says."""

from collections.abc import Sequence

from segexp.data.io import nifti
from segexp.types import Case

Spacing = tuple[float, float]
"""Size of a pixel along rows and columns, in any unit."""


def spacings(cases: Sequence[Case], told: float | Sequence[float] | None) -> list[Spacing | None]:
    """Return the spacing of each case's image at its own size.

    Only the header of a NIfTI volume is asked: the resolution that PNG, JPEG and TIFF files carry is as a rule that of a
    printer.

    Args:
        cases: N.
        told: `data.spacing`: one number for square pixels, (row, column), or None.
    """
    if told is not None:
        row, column = (told, told) if isinstance(told, int | float) else told
        return [(float(row), float(column))] * len(cases)
    found = {path: nifti.spacing(path) for path in {case.image.path for case in cases} if nifti.is_nifti(path)}
    return [found.get(case.image.path) for case in cases]
