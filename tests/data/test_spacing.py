"""Pixel sizes and places: what is told comes before what a header says, and nothing is guessed from other files."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
import tifffile

from segexp.data.io.images import read_image, read_mask
from segexp.data.spacing import place_mask, spacings
from segexp.errors import DataError
from segexp.types import Case, Source


def cases(*paths: Path) -> list[Case]:
    return [Case(str(n), Source(path, 0), ()) for n, path in enumerate(paths)]


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    path = tmp_path / "v.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5, 2), np.int16), np.diag([0.5, 0.75, 2.5, 1.0])), path)
    return path


def test_headers_of_volumes_are_read_and_other_files_are_not_opened(tmp_path: Path, volume: Path) -> None:
    assert spacings(cases(volume, tmp_path / "absent.png", volume), None) == [(0.75, 0.5), None, (0.75, 0.5)]
    assert spacings([], None) == []


@pytest.mark.parametrize(
    ("told", "expected"), [(2, (2.0, 2.0)), (0.7, (0.7, 0.7)), ([0.7, 1], (0.7, 1.0)), ((3, 4), (3.0, 4.0))]
)
def test_what_is_told_wins(volume: Path, told: float | list[float], expected: tuple[float, float]) -> None:
    assert spacings(cases(volume, volume), told) == [expected, expected]


VOXELS = np.random.default_rng(0).integers(1, 200, (6, 7, 5)).astype(np.int16)
TURNED = np.array([[0.96, -0.28, 0, 4], [0.28, 0.96, 0, -9], [0, 0, 1, 2], [0, 0, 0, 1]])
OBLIQUE = TURNED @ np.diag([0.8, 0.9, 5, 1])
TURN = nibabel.orientations


def stored(path: Path, codes: str, forms: str = "sq", affine: np.ndarray = OBLIQUE) -> Path:
    """The same voxels in space, with their axes in an order of their own, placed by sform and qform or one of them."""
    change = TURN.ornt_transform(TURN.io_orientation(affine), TURN.axcodes2ornt(codes))
    image = nibabel.Nifti1Image(VOXELS, affine).as_reoriented(change)
    place = image.affine.copy()
    image.set_sform(place if "s" in forms else None, int("s" in forms))
    image.set_qform(place if "q" in forms else None, int("q" in forms))
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize(
    ("image", "mask", "forms", "known"),
    [
        ("RAS", "LPS", "sq", True),
        ("SRA", "PIL", "s", True),
        ("LAS", "RAS", "q", True),
        ("RAS", "RAS", "", False),
        ("SRA", "SRA", "", False),
        ("LPS", "LPS", "", False),
    ],
)
@pytest.mark.parametrize("target", ["RAS", "SPL"])
def test_a_mask_is_read_as_it_lies_on_its_image(
    tmp_path: Path, image: str, mask: str, forms: str, known: bool, target: str
) -> None:
    source = Source(stored(tmp_path / "image.nii", image), 2, target)
    placed, told = place_mask(Source(stored(tmp_path / "mask.nii", mask, forms), 2, target), source)
    np.testing.assert_array_equal(read_mask(placed), read_image(source)[..., 0])
    assert told is known


def test_a_qform_places_a_mask_on_an_image_whose_sform_is_of_another_space(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(VOXELS, OBLIQUE)
    image.set_qform(OBLIQUE, 1)
    image.set_sform(np.diag([-2.0, 2, 2, 1]), 4)
    nibabel.save(image, tmp_path / "image.nii")
    source = Source(tmp_path / "image.nii", 3, "RAS")
    placed, _ = place_mask(Source(stored(tmp_path / "mask.nii", "LPS", "q"), 3, "RAS"), source)
    np.testing.assert_array_equal(read_mask(placed), read_image(source)[..., 0])


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (np.diag([1.3, 1.3, 1, 1]), "their sides are 0.8 x 0.9 x 5 and 1.04 x 1.17 x 5 mm"),
        (np.array([[1, 0, 0, 4], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), "their origins are 3.2 mm apart"),
    ],
)
def test_what_differs_is_named(tmp_path: Path, change: np.ndarray, found: str) -> None:
    image, mask = stored(tmp_path / "image.nii", "RAS"), stored(tmp_path / "mask.nii", "LPS", affine=OBLIQUE @ change)
    with pytest.raises(DataError) as caught:
        place_mask(Source(mask, 0, "RAS"), Source(image, 0, "RAS"))
    assert f"By their affines {mask} and its image {image} lie at different places" in str(caught.value)
    assert found in str(caught.value)
    for orientation in ("stored", None):
        same = Source(mask, 0, orientation)
        assert place_mask(same, Source(image, 0, orientation)) == (same, True)


def test_a_mask_that_is_no_volume_cannot_be_turned(tmp_path: Path) -> None:
    mask, image = Source(tmp_path / "mask.tif", 0), stored(tmp_path / "image.nii", "LPS")
    tifffile.imwrite(mask.path, np.zeros((5, 7, 6), np.uint8))
    assert place_mask(mask, Source(image, 0, "LPS"))[0].path == mask.path
    assert place_mask(mask, Source(image, 0, "stored"))[0] == mask
    with pytest.raises(DataError, match=r"mask\.tif has no axes in space, and .* is stored as LPS and read as RAS"):
        place_mask(mask, Source(image, 0, "RAS"))
    volume = Source(image, 0, "RAS")
    assert place_mask(volume, Source(tmp_path / "picture.png", None, "RAS"))[0] == Source(image, 0)


def geotiff(path: Path, x: float, y: float, side: float = 10.0, point: bool = False) -> Path:
    keys = (1, 1, 0, 1, 1025, 0, 1, 2 if point else 1)
    tags = [(33550, "d", 3, (side, side, 0.0)), (33922, "d", 6, (0, 0, 0, x, y, 0.0)), (34735, "H", len(keys), keys)]
    tifffile.imwrite(path, np.zeros((20, 30), np.uint8), extratags=[(*tag, True) for tag in tags])
    return path


def test_maps_of_different_places_are_refused(tmp_path: Path) -> None:
    image = geotiff(tmp_path / "image.tif", 500000, 4600000)
    near = [geotiff(tmp_path / "a.tif", 500003, 4600000), geotiff(tmp_path / "b.tif", 500005, 4599995, point=True)]
    tifffile.imwrite(tmp_path / "plain.tif", np.zeros((20, 30), np.uint8))
    for path in (*near, tmp_path / "plain.tif"):
        assert place_mask(Source(path), Source(image))[0] == Source(path)
    moved, coarse = geotiff(tmp_path / "c.tif", 500040, 4600000), geotiff(tmp_path / "d.tif", 500000, 4600000, side=20)
    with pytest.raises(DataError) as caught:
        place_mask(Source(moved), Source(image))
    assert str(caught.value) == (
        f"By their GeoTIFF tags {moved} and its image {image} lie at different places, up to 40 map units apart (their origins "
        "are 40 map units apart). A mask with the grid of its image, up to order and direction of the axes, was expected. "
        "Resample the mask to its image, or correct its affine; if the pixels belong together as they are stored, type "
        "data.orientation=stored."
    )
    assert place_mask(Source(moved, None, "stored"), Source(image, None, "stored"))[1]
    with pytest.raises(DataError, match="their sides are 10 x 10 and 20 x 20 map units"):
        place_mask(Source(coarse), Source(image))
