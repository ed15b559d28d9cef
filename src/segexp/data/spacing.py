"""Pixel spacing: from the configuration, else from the header of NIfTI files."""

from collections.abc import Sequence

from segexp.data.io.images import pixel_spacing
from segexp.types import Case

Spacing = tuple[float, float]
"""Pixel size along rows and columns, in any unit."""


def spacings(cases: Sequence[Case], configured: float | Sequence[float] | None) -> list[Spacing | None]:
    """Return the pixel spacing of each image at its original size, None if unknown; `configured` is `data.spacing`.

    Resolutions in PNG, JPEG and TIFF headers are ignored: they usually describe a printer.
    """
    if configured is not None:
        row, column = (configured, configured) if isinstance(configured, int | float) else configured
        return [(float(row), float(column))] * len(cases)
    found = {path: pixel_spacing(path) for path in {case.image.path for case in cases}}
    return [found[case.image.path] for case in cases]
