"""Pixel spacing, from the configuration or the header of NIfTI files; and whether volumes lie at the same place."""

from collections.abc import Iterator, Sequence

from segexp.data.io import nifti
from segexp.data.io.images import pixel_spacing, volume_grid
from segexp.errors import DataError, SegexpError
from segexp.types import Case

NEAR = 0.5
"""Largest distance of the same voxel of an image and its mask, as a share of the smallest side of a voxel."""

Spacing = tuple[float, float]
"""Pixel size along rows and columns, in any unit."""


def spacings(cases: Sequence[Case], configured: float | Sequence[float] | None) -> list[Spacing | None]:
    """Return the pixel spacing of each image at its original size, None if unknown; `configured` is `data.spacing`.

    Resolutions in PNG, JPEG and TIFF headers are ignored: they usually describe a printer.
    """
    if configured is not None:
        row, column = (configured, configured) if isinstance(configured, int | float) else configured
        return [(float(row), float(column))] * len(cases)
    volumes = {(case.image.path, case.image.orientation) for case in cases}
    found = {volume: pixel_spacing(*volume) for volume in volumes}
    return [found[case.image.path, case.image.orientation] for case in cases]


def check_grids(cases: Sequence[Case]) -> Iterator[DataError]:
    """Yield an error for each mask volume that lies elsewhere than its image, beyond order and direction of the axes."""
    seen = set()
    for case in cases:
        for mask in case.masks:
            pair = (case.image.path, mask.path)
            if case.image.orientation is None or pair in seen or not all(map(nifti.is_nifti, pair)):
                continue
            seen.add(pair)
            try:
                image, other = (volume_grid(path, case.image.orientation) for path in pair)
            except SegexpError:  # reported when the file is read
                continue
            if image.shape == other.shape and image.distance(other) > NEAR * image.smallest_side:
                yield DataError(
                    f"By their affines {mask.path} and its image {case.image.path} lie at different places, "
                    f"up to {image.distance(other):.3g} {image.unit} apart",
                    "A mask with the grid of its image, up to order and direction of the axes, was expected",
                    "Resample the mask to its image, or correct its affine; if the voxels belong together as they are stored, "
                    "type data.orientation=stored",
                )
