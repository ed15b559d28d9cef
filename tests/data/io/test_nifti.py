"""NIfTI: a slice along the third axis is a page; scaling, channels, geometry, and what is refused."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel
import numpy as np
import pytest

from fixtures.configs import data_config
from segexp.data.io import nifti
from segexp.data.io.images import image_size, page_count, read_image, read_mask, stored_type
from segexp.errors import DataError
from segexp.types import Source

RNG = np.random.default_rng(5)
HU = RNG.integers(-1000, 2000, (5, 7, 4)).astype(np.int16)
AFFINE = np.array([[0, -0.7, 0, 12], [0.7, 0, 0, -3], [0, 0, 2.5, 40], [0, 0, 0, 1.0]])


def written(path: Path, array: np.ndarray, slope: float | None = None, kind: type = nibabel.Nifti1Image) -> Path:
    """A volume of stored values (X, Y, Z, …)."""
    image = kind(array, AFFINE)
    image.header.set_xyzt_units("mm")
    if slope is not None:
        image.header.set_slope_inter(slope, -1024)  # nibabel then stores the values as they are
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize("name", ["v.nii", "v.nii.gz", "V.NII.GZ", "ä µ.nii.gz"])
def test_slices_are_pages_with_the_second_axis_downwards(tmp_path: Path, name: str) -> None:
    path = written(tmp_path / name, HU)
    assert page_count(path) == 4
    assert image_size(Source(path, 2)) == (7, 5)
    for page in range(4):
        read = read_image(Source(path, page))
        assert (read.dtype, read.shape) == (np.float32, (7, 5, 1))
        np.testing.assert_array_equal(read[..., 0], HU[..., page].T)


def test_the_size_of_a_voxel_along_rows_and_columns(tmp_path: Path) -> None:
    path = tmp_path / "v.nii.gz"
    nibabel.save(nibabel.Nifti1Image(HU, np.diag([0.5, 0.75, 2.5, 1.0])), path)
    assert nifti.spacing(path) == (0.75, 0.5)  # Y, which runs downwards, and X
    nibabel.save(nibabel.Nifti1Image(HU, None), tmp_path / "none.nii")
    stored = bytearray((tmp_path / "none.nii").read_bytes())
    stored[80:92] = np.full(3, np.nan, np.float32).tobytes()  # pixdim 1 to 3, which nibabel would not write
    (tmp_path / "none.nii").write_bytes(stored)
    assert nifti.spacing(tmp_path / "none.nii") is None


def test_the_scaling_of_the_header_is_applied(tmp_path: Path) -> None:
    stored = RNG.integers(0, 3000, (5, 7, 4)).astype(np.uint16)
    path = written(tmp_path / "v.nii.gz", stored, 0.5)
    assert (nibabel.load(path).dataobj.slope, nibabel.load(path).dataobj.inter) == (0.5, -1024)
    np.testing.assert_array_equal(read_image(Source(path, 1))[..., 0], stored[..., 1].T * 0.5 - 1024)
    np.testing.assert_array_equal(read_image(Source(path, 2))[..., 0], nibabel.load(path).get_fdata()[..., 2].T)


@pytest.mark.parametrize(("dtype", "expected"), [(np.uint8, np.uint8), (np.uint16, np.uint16), (np.float64, np.float32)])
def test_types_are_kept_like_those_of_other_formats(tmp_path: Path, dtype: type, expected: type) -> None:
    array = RNG.integers(0, 200, (5, 7, 4)).astype(dtype)
    read = read_image(Source(written(tmp_path / "v.nii", array), 3))
    assert read.dtype == expected
    np.testing.assert_array_equal(read[..., 0], array[..., 3].T)


def test_masks(tmp_path: Path) -> None:
    labels = RNG.integers(0, 3, (5, 7, 4)).astype(np.float32)
    read = read_mask(Source(written(tmp_path / "m.nii.gz", labels), 2))
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, labels[..., 2].T)


def test_channels_and_single_slices(tmp_path: Path) -> None:
    four = RNG.integers(0, 200, (5, 7, 4, 3)).astype(np.uint8)
    read = read_image(Source(written(tmp_path / "four.nii.gz", four), 1))
    np.testing.assert_array_equal(read, four[:, :, 1].transpose(1, 0, 2))
    assert read_image(Source(tmp_path / "four.nii.gz", 1), 1).shape == (7, 5, 1)
    flat = written(tmp_path / "flat.nii", four[..., 0, 0])
    assert page_count(flat) == 1
    np.testing.assert_array_equal(read_image(Source(flat))[..., 0], four[..., 0, 0].T)
    colours = four.astype(np.uint8).view([("R", "u1"), ("G", "u1"), ("B", "u1")])[..., 0]
    rgb = written(tmp_path / "rgb.nii.gz", colours)
    np.testing.assert_array_equal(read_image(Source(rgb, 2)), four[:, :, 2].transpose(1, 0, 2))


@pytest.mark.parametrize(
    ("shape", "page", "message"),
    [
        ((5, 7, 4), None, r"it holds 4 slices: ask for one by \[\{page\}\] at the end of the pattern"),
        ((5, 7, 4), 4, "it has 4 slices, numbered from 0"),
        ((5, 7, 4, 40), 0, "it has the axes 5x7x4x40, and a volume with at most 16 channels is read"),
        ((5, 7, 4, 2, 2), 0, "it has the axes 5x7x4x2x2"),
    ],
)
def test_what_is_no_picture(tmp_path: Path, shape: tuple[int, ...], page: int | None, message: str) -> None:
    path = written(tmp_path / "v.nii.gz", np.zeros(shape, np.uint8))
    with pytest.raises(DataError, match=rf"v\.nii\.gz(\[\d\])? cannot be read \({message}"):
        read_image(Source(path, page))


@pytest.mark.parametrize("name", ["v.nii", "v.nii.gz"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.9])
def test_truncated_volumes_are_named(tmp_path: Path, name: str, share: float) -> None:
    path = written(tmp_path / name, RNG.integers(0, 255, (40, 50, 6)).astype(np.uint8))
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(DataError, match=rf"{name}\[1\] cannot be read \(.*Expected a readable NIfTI volume"):
        read_image(Source(path, 1))
    with pytest.raises(DataError, match=r"gone\.nii does not exist"):
        page_count(tmp_path / "gone.nii")


def test_a_volume_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "v.nii.gz", HU)
    opened = []
    decode = nifti._decoded
    monkeypatch.setattr(nifti, "_decoded", lambda image: opened.append(image) or decode(image))
    with ThreadPoolExecutor(4) as pool:
        slices = list(pool.map(lambda page: read_image(Source(path, page % 4)), range(40)))
    assert len(opened) == 1
    np.testing.assert_array_equal(slices[-1][..., 0], HU[..., 3].T)
    written(path, HU[:, :, ::-1].copy())
    np.testing.assert_array_equal(read_image(Source(path, 0))[..., 0], HU[..., 3].T)
    assert len(opened) == 2, "the file changed"


def test_few_volumes_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nifti, "KEPT", 0)
    for number in range(5):
        read_image(Source(written(tmp_path / f"{number}.nii.gz", HU), 0))
    assert [key[0].name for key in nifti._volumes.kept] == ["3.nii.gz", "4.nii.gz"]


def test_labels_have_the_geometry_of_the_volume(tmp_path: Path) -> None:
    for name, array, kind in (
        ("a.nii.gz", HU, nibabel.Nifti1Image),
        ("b.nii", np.zeros((5, 7, 4, 3), np.float32), nibabel.Nifti1Image),
        ("c.nii.gz", HU, nibabel.Nifti2Image),
    ):
        like = written(tmp_path / name, array, 2.0 if array.dtype == np.int16 else None, kind)
        slices = [RNG.integers(0, 5, (7, 5), np.uint8) for _ in range(4)]
        nifti.write_labels(tmp_path / "out" / name, slices, like)
        image, labels = nibabel.load(like), nibabel.load(tmp_path / "out" / name)
        assert type(labels) is kind
        assert labels.shape == (5, 7, 4)
        assert labels.get_data_dtype() == np.uint8
        np.testing.assert_array_equal(labels.affine, image.affine)
        for code in ("qform_code", "sform_code", "xyzt_units"):
            assert labels.header[code] == image.header[code]
        np.testing.assert_allclose(labels.header.get_zooms(), image.header.get_zooms()[:3])
        for page, mask in enumerate(slices):
            np.testing.assert_array_equal(read_mask(Source(tmp_path / "out" / name, page)), mask)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.nii.gz", "b.nii", "c.nii.gz"]


def test_without_nibabel_the_message_says_what_to_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "v.nii.gz", HU)
    monkeypatch.setitem(sys.modules, "nibabel", None)
    for look in (page_count, lambda path: read_image(Source(path, 0)), lambda path: image_size(Source(path))):
        with pytest.raises(
            DataError, match=r"v\.nii\.gz is a NIfTI volume, and the package nibabel .* pip install 'segexp\[medical\]'"
        ):
            look(path)


def test_volumes_as_training_data(tmp_path: Path) -> None:
    from segexp.data.layout.pairing import find_data_cases
    from segexp.data.statistics import make_reader

    large = RNG.integers(-1000, 2000, (20, 30, 4)).astype(np.int16)
    for patient in ("p1", "p2"):
        (tmp_path / patient).mkdir()
        written(tmp_path / patient / "ct.nii.gz", large)
        written(tmp_path / patient / "liver.nii.gz", (large > 0).astype(np.uint8))
    data = data_config(
        root=str(tmp_path),
        image="{group}/ct.nii.gz[{page}]",
        mask="{group}/liver.nii.gz[{page}]",
        groups=None,
        classes={"background": 0, "liver": 1},
        ignore=[],
        threshold=None,
        channels=1,
        size=None,
    )
    cases = find_data_cases(data)
    assert [case.id for case in cases] == [f"{patient}/{page}" for patient in ("p1", "p2") for page in range(4)]
    assert {case.group for case in cases} == {"p1", "p2"}
    picture = make_reader(data)(cases[5])
    np.testing.assert_array_equal(picture.image[..., 0], large[..., 1].T)
    np.testing.assert_array_equal(picture.mask, (large[..., 1].T > 0).astype(np.uint8))


def stored_as(path: Path, codes: str, array: np.ndarray = HU, affine: np.ndarray | None = None) -> Path:
    """The same anatomy, RAS with voxels of 0.5 x 0.75 x 2.5, stored with other axes; small letters run the other way."""
    affine = np.diag([0.5, 0.75, 2.5, 1.0]) if affine is None else affine
    image = nibabel.Nifti1Image(array, affine)
    turn = nibabel.orientations.ornt_transform(
        nibabel.orientations.io_orientation(affine), nibabel.orientations.axcodes2ornt(codes)
    )
    nibabel.save(image.as_reoriented(turn), path)
    return path


@pytest.mark.parametrize("codes", ["RAS", "LPS", "SRA", "ASR", "IPL", "LIA"])
def test_slices_of_one_orientation_whatever_the_order_of_the_axes(tmp_path: Path, codes: str) -> None:
    path = stored_as(tmp_path / "v.nii.gz", codes)
    assert nifti.orientation(path)[0] == codes
    assert (page_count(path, "RAS"), page_count(path, "SRA")) == (4, 7)
    assert image_size(Source(path, 2, "RAS")) == (7, 5)
    assert image_size(Source(path, 2, "SRA")) == (5, 4)
    assert nifti.spacing(path, "RAS") == (0.75, 0.5)
    assert nifti.spacing(path, "SRA") == (0.5, 2.5)
    for page in range(4):
        np.testing.assert_array_equal(read_image(Source(path, page, "RAS"))[..., 0], HU[..., page].T)
        np.testing.assert_array_equal(read_image(Source(path, page, "LPS"))[..., 0], HU[::-1, ::-1, page].T)
    masks = [HU[..., page].T > 0 for page in range(4)]
    nifti.write_labels(tmp_path / "m.nii.gz", masks, path, "RAS")
    labels, image = nibabel.load(tmp_path / "m.nii.gz"), nibabel.load(path)
    np.testing.assert_array_equal(labels.affine, image.affine)
    np.testing.assert_array_equal(np.asarray(labels.dataobj), np.asarray(image.dataobj) > 0)


def test_an_oblique_volume_has_the_nearest_orientation(tmp_path: Path) -> None:
    turn = np.deg2rad(20)
    affine = np.diag([1.0, 1, 3, 1])
    affine[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    path = stored_as(tmp_path / "v.nii", "PSL", affine=affine)
    np.testing.assert_array_equal(read_image(Source(path, 1, "RAS"))[..., 0], HU[..., 1].T)


def test_an_affine_without_directions(tmp_path: Path) -> None:
    path = tmp_path / "v.nii"
    image = nibabel.Nifti1Image(HU, None)
    image.header.set_sform(np.diag([1.0, 1, 0, 1]), 1)
    nibabel.save(image, path)
    with pytest.raises(DataError, match=r"its affine has an axis without direction, type data\.orientation=stored"):
        read_image(Source(path, 0, "RAS"))
    np.testing.assert_array_equal(read_image(Source(path, 0))[..., 0], HU[..., 0].T)


def test_the_type_of_the_stored_values(tmp_path: Path) -> None:
    found = {}
    for kind in (np.int16, np.uint8, np.float32):
        path = written(tmp_path / "v.nii", HU.astype(kind))
        found[np.dtype(kind).name] = stored_type(Source(path, 0), read_image(Source(path, 0)))
    assert found == {name: name for name in ("int16", "uint8", "float32")}
    path = written(tmp_path / "v.nii", HU, 0.5)
    assert stored_type(Source(path, 0), read_image(Source(path, 0))) == "float32", "scaled"
