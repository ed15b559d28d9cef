"""One orientation for the volumes of a data set: which one, for images and masks alike, and what does not lie on its image."""

import nibabel
import numpy as np
import pytest

from fixtures.configs import data_config
from segexp.checks.files import check_inventory
from segexp.data.autoconfig import complete_section
from segexp.data.layout.discovery import discover_layout
from segexp.data.layout.inventory import take_inventory
from segexp.data.layout.pairing import find_data_cases
from segexp.data.orientation import choose_orientation
from segexp.data.spacing import spacings
from segexp.data.statistics import make_reader
from segexp.errors import ConfigError, DataError

RNG = np.random.default_rng(0)
MASK = np.zeros((20, 24, 5), np.uint8)
MASK[4:9, 12:20, 1:3] = 1
AFFINE = np.diag([0.8, 0.9, 5, 1.0])
KEYS = {
    "image": "images/{group}.nii.gz[{page}]",
    "mask": "labels/{group}.nii.gz[{page}]",
    "classes": {"background": 0, "organ": 1},
    "channels": 1,
    "ignore": [],
    "threshold": None,
}


def save(path, array, codes, affine=AFFINE):
    """A RAS volume stored in another orientation."""
    path.parent.mkdir(exist_ok=True)
    orientations = nibabel.orientations
    turn = orientations.ornt_transform(orientations.io_orientation(affine), orientations.axcodes2ornt(codes))
    nibabel.save(nibabel.Nifti1Image(array, affine).as_reoriented(turn), path)


@pytest.fixture
def volumes(tmp_path):
    """Write volumes stored as (image, mask) codes; returns the data section."""

    def written(*codes, **keys):
        for number, (image, mask) in enumerate(codes):
            save(
                tmp_path / "images" / f"v{number}.nii.gz",
                (100 * MASK + RNG.integers(0, 40, MASK.shape)).astype(np.int16),
                image,
            )
            save(tmp_path / "labels" / f"v{number}.nii.gz", MASK, mask)
        return data_config(KEYS, root=str(tmp_path), **keys)

    return written


def test_the_most_common_one(volumes):
    data = volumes(("RAS", "RAS"), ("SRA", "SRA"), ("SRA", "SRA"))
    assert choose_orientation(data) == (
        "SRA",
        "Volumes are read in the orientation SRA and sliced along its third axis (stored: 2 as SRA, 1 as RAS)",
    )


def test_of_two_equally_common_ones_that_with_the_finest_pixels(volumes):
    data, said = complete_section(volumes(("RAS", "RAS"), ("SRA", "SRA"), ("ASR", "ASR"), ("LPS", "LPS")))
    assert data.orientation == "LPS", "RAS has the same pixels; the order of the letters decides"
    assert "sliced along its third axis (stored: " in said
    cases = find_data_cases(data)
    assert len(cases) == 4 * 5
    assert spacings(cases, None) == [pytest.approx((0.9, 0.8))] * 20


def test_every_slice_of_every_volume_shows_the_same(volumes):
    data = volumes(("RAS", "LAS"), ("SRA", "ASR"), ("LPS", "IPR"), orientation="RAS")
    read = make_reader(data)
    for case in find_data_cases(data):
        decoded = read(case)
        np.testing.assert_array_equal(decoded.mask, MASK[..., case.image.page].T)
        np.testing.assert_array_equal(decoded.image[..., 0] >= 100, MASK[..., case.image.page].T)


def test_a_checkpoint_without_the_key_reads_the_axes_as_they_are_stored(volumes):
    data = volumes(("RAS", "RAS"), ("SRA", "SRA"))
    assert data.orientation is None
    assert len(find_data_cases(data)) == 5 + 24
    assert len(find_data_cases(data.changed(orientation="stored"))) == 5 + 24
    assert choose_orientation(data.changed(orientation="stored")) == ("stored", "")


def test_without_volumes_nothing_is_asked(tmp_path):
    assert choose_orientation(data_config(KEYS, root="/nowhere", image="{id}.png")) == (None, "")


def test_a_mask_that_lies_elsewhere_is_refused_with_both_names(volumes, tmp_path):
    data = volumes(("RAS", "RAS"), ("SRA", "LPS"), orientation="RAS")
    moved = AFFINE.copy()
    moved[0, 3] = 0.39  # less than half a pixel: rounding of headers
    save(tmp_path / "labels" / "v0.nii.gz", MASK, "LPS", moved)
    assert len(find_data_cases(data)) == 10
    moved[0, 3] = 4
    save(tmp_path / "labels" / "v1.nii.gz", MASK, "RAS", moved)
    with pytest.raises(DataError) as caught:
        find_data_cases(data)
    mask, image = tmp_path / "labels" / "v1.nii.gz", tmp_path / "images" / "v1.nii.gz"
    assert str(caught.value) == (
        f"By their affines {mask} and its image {image} lie at different places, up to 4 mm apart (their origins are 4 mm "
        "apart). A mask with the grid of its image, up to order and direction of the axes, was expected. Resample the mask to "
        "its image, or correct its affine; if the voxels belong together as they are stored, type data.orientation=stored."
    )
    found = take_inventory(tmp_path, data.image, data.mask, orientation="RAS")
    assert [str(problem) for problem in found.problems] == [str(caught.value)]
    assert len(find_data_cases(data.changed(orientation="stored", exclude=["images/v1.nii.gz"]))) == 5


def test_masks_in_another_order_of_axes_are_found_by_their_layout(volumes, tmp_path):
    volumes(("RAS", "SRA"), ("RAS", "ASL"))
    layout = discover_layout(tmp_path).layout
    assert layout["image"] == "images/{id}.nii.gz[{page}]"
    assert layout["classes"] == {"background": 0, "foreground": 1}


def test_masks_without_a_position_lie_on_their_images_by_index(volumes, tmp_path):
    data = volumes(("SRA", "SRA"), ("RAS", "RAS"), orientation="RAS")
    for path in (tmp_path / "labels").iterdir():
        array = np.asarray(nibabel.load(path).dataobj)
        nibabel.save(nibabel.Nifti1Image(array, None), path)
    with pytest.raises(DataError, match=r"has 5 pages and .*v0\.nii\.gz has 24\..* or type data.orientation=stored if"):
        find_data_cases(data)
    data = data.changed(exclude=["images/v0.nii.gz"])
    read = make_reader(data)
    for case in find_data_cases(data):
        np.testing.assert_array_equal(read(case).mask, MASK[..., case.image.page].T)
    found = take_inventory(tmp_path, data.image, data.mask, orientation="RAS", exclude=data.exclude)
    assert found.unplaced == ("labels/v1.nii.gz",)
    (finding,) = check_inventory(found, data.image, data.mask)
    assert str(finding) == (
        "note: 1 mask volume is laid on the image by index: its header or that of its image has no position (sform and qform "
        "codes are 0): labels/v1.nii.gz. Nothing, if the voxels belong together as they are stored."
    )


@pytest.mark.parametrize("codes", ["RLA", "ras", "RAX", "RASP", ""])
def test_what_is_no_orientation(codes, tmp_path):
    from segexp.config.schema import DataConfig
    from segexp.config.validation import validate_section

    with pytest.raises(
        ConfigError, match="expected three letters for the directions of the axes, such as RAS or LPS, or stored"
    ):
        validate_section(DataConfig, {**KEYS, "name": "x", "root": str(tmp_path), "orientation": codes}, "data")
