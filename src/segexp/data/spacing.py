"""Pixel spacing, from the configuration or the header of NIfTI files; and whether masks lie at the place of their images."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from segexp.data.io import nifti
from segexp.data.io.images import align_mask, pixel_spacing, volume_orientation
from segexp.errors import DataError, UnreadableError
from segexp.types import Case, Source

NEAR = 0.5
"""Largest distance of the same voxel of an image and its mask, as a share of the smallest side of a voxel: up to half a voxel,
the voxel of the image that is nearest to one of the mask has the same index."""

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


def place_mask(mask: Source, image: Source) -> tuple[Source, bool]:
    """Return a mask in the orientation in which it lies on its image, and whether the positions of both are known.

    Volumes may differ in order and direction of their axes. With data.orientation=stored, positions are not compared, nor are
    those of volumes without an orientation.

    Raises:
        DataError: the mask lies elsewhere, by the affines of NIfTI volumes or the tags of GeoTIFF files; or a file is broken.
    """
    if image.orientation == "stored" or (image.orientation is None and nifti.is_nifti(image.path)):
        return mask, True
    if nifti.is_nifti(image.path) and not nifti.is_nifti(mask.path):
        stored, _ = volume_orientation(image.path)
        if stored != image.orientation:
            raise DataError(
                f"{mask.path} has no axes in space, and its image {image.path} is stored as {stored} and read as "
                f"{image.orientation}",
                "A mask that can be turned like its image, a NIfTI volume, was expected",
                "Convert the mask, or type data.orientation=stored",
            )
    orientation, grids = align_mask(mask.path, image)
    if grids is not None and grids[0].distance(grids[1]) > NEAR * grids[0].sides.min():
        ours, theirs = grids
        by, pixels = ("affines", "voxels") if nifti.is_nifti(mask.path) else ("GeoTIFF tags", "pixels")
        raise DataError(
            f"By their {by} {mask.path} and its image {image.path} lie at different places, "
            f"up to {ours.distance(theirs):.3g} {ours.unit} apart ({ours.difference(theirs)})",
            "A mask with the grid of its image, up to order and direction of the axes, was expected",
            f"Resample the mask to its image, or correct its affine; if the {pixels} belong together as they are stored, "
            "type data.orientation=stored",
        )
    return replace(mask, orientation=orientation), grids is not None


def place_masks(
    cases: Sequence[Case], problems: list[DataError], unplaced: set[Path] | None = None, exif: str = "apply"
) -> list[Case]:
    """Return the cases with each mask in the orientation in which it lies on its image, and EXIF orientations as `data.exif`.

    Args:
        cases: image and mask files.
        problems: collects an error for each mask that lies elsewhere.
        unplaced: collects the mask volumes that are laid on their images by index, since a position is unknown.
        exif: "apply" or "ignore".
    """
    applied = exif == "apply"

    @cache
    def place(mask: Path, image: Path, orientation: str | None) -> str | None:
        try:
            placed, known = place_mask(Source(mask, None, orientation), Source(image, None, orientation))
        except UnreadableError:  # reported when the file is read
            return orientation
        except DataError as problem:
            problems.append(problem)
            return orientation
        if unplaced is not None and not known and nifti.is_nifti(mask) and nifti.is_nifti(image):
            unplaced.add(mask)
        return placed.orientation

    def placed(case: Case) -> Case:
        image = case.image
        turns = [place(mask.path, image.path, image.orientation) for mask in case.masks]
        masks = (replace(mask, orientation=turn, exif=applied) for mask, turn in zip(case.masks, turns, strict=True))
        return replace(case, image=replace(image, exif=applied), masks=tuple(masks))

    return [placed(case) for case in cases]
