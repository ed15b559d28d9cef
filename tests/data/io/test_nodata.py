"""Pixels without data: by the tag GDAL_NODATA or by the key, of images and of masks."""

import numpy as np
import pytest
import tifffile

from fixtures.nodata import save_tiff
from segexp.data.io.images import mask_nodata, read_image, read_image_and_valid, read_mask
from segexp.data.labels.class_table import LabelTable, read_labels
from segexp.errors import DataError, NotFiniteImageError
from segexp.types import IGNORE, Source

LOWEST = np.finfo(np.float32).min


@pytest.mark.parametrize(
    ("dtype", "value", "tag"),
    [
        (np.float32, -9999, "-9999"),
        (np.float32, np.nan, "nan"),
        (np.float32, np.inf, "-1.#QNAN"),
        (np.float32, LOWEST, "-3.40282346600000016e+38"),
        (np.float64, -1.7976931348623157e308, "-1.7976931348623157e+308 "),
        (np.float32, np.nan, "-9999"),
        (np.int16, -32768, "-32768"),
        (np.int32, -2147483648, "-2147483648"),
        (np.uint16, 65535, "65535"),
        (np.uint16, 0, "0"),
        (np.uint8, 0, "0"),
    ],
)
@pytest.mark.parametrize("bands", [1, 3])
def test_pixels_of_the_declared_value_hold_no_data(tmp_path, dtype, value, tag, bands):
    array = np.arange(1, 1 + 24 * bands).reshape((4, 6, bands)).astype(dtype)
    array[:, 0] = value
    image, valid = read_image_and_valid(save_tiff(tmp_path / "a.tif", array.squeeze(), tag))
    assert valid is not None
    np.testing.assert_array_equal(valid, np.arange(6)[None].repeat(4, 0) > 0)
    np.testing.assert_array_equal(image[valid], array[:, 1:].reshape(-1, bands))
    mean = array[:, 1:].astype(float).mean((0, 1))
    np.testing.assert_allclose(image[~valid], np.broadcast_to(mean, (4, bands)), atol=0.5 if array.dtype.kind == "u" else 1e-5)


@pytest.mark.parametrize(("dtype", "tag"), [(np.uint8, "-9999"), (np.uint8, "256"), (np.uint16, "0.5"), (np.uint8, "none")])
def test_a_value_that_the_type_does_not_have_matches_nothing(tmp_path, dtype, tag):
    array = np.arange(24, dtype=dtype).reshape(4, 6)
    image, valid = read_image_and_valid(save_tiff(tmp_path / "a.tif", array, tag))
    assert valid is None
    np.testing.assert_array_equal(image[..., 0], array)


def test_a_colour_is_nodata_where_all_channels_are_and_a_measurement_where_one_is(tmp_path):
    colours = np.full((2, 3, 3), 90, np.uint8)
    colours[0, 0], colours[1, 1, 2] = 0, 0
    image, valid = read_image_and_valid(save_tiff(tmp_path / "a.tif", colours, "0"))
    assert np.argwhere(~valid).tolist() == [[0, 0]]
    assert image[1, 1].tolist() == [90, 90, 0]
    reals = np.where(colours == 0, np.float32(-9999), np.float32(colours))
    image, valid = read_image_and_valid(save_tiff(tmp_path / "b.tif", reals, "-9999"))
    assert np.argwhere(~valid).tolist() == [[0, 0], [1, 1]]
    assert (image == 90).all()


def test_the_key_counts_beside_the_tag_and_none_for_neither(tmp_path):
    array = np.array([[1, -9999, -32768, 4]], np.float32).repeat(2, 0)
    for tag, key, gone in [
        (None, None, []),
        (None, -9999, [1]),
        ("-32768", None, [2]),
        ("-32768", -9999, [1, 2]),
        ("-32768", "nan", [2]),
        ("-32768", "none", []),
    ]:
        path = save_tiff(tmp_path / "a.tif", array, tag).path
        _, valid = read_image_and_valid(Source(path, nodata=key))
        assert (np.ones(4, bool) if valid is None else valid[0]).tolist() == [n not in gone for n in range(4)], (tag, key)


def test_nan_without_a_declared_value_is_refused_with_the_key(tmp_path):
    source = save_tiff(tmp_path / "a.tif", np.array([[np.nan, 1]], np.float32))
    for each in (source, Source(source.path, nodata="none")):
        with pytest.raises(NotFiniteImageError, match=r"a\.tif holds 1 values that are NaN .*Train with data\.nodata=nan"):
            read_image(each)
    assert read_image(Source(source.path, nodata="nan"))[..., 0].tolist() == [[1, 1]]


def test_an_image_without_any_data_is_black(tmp_path):
    image, valid = read_image_and_valid(save_tiff(tmp_path / "a.tif", np.full((3, 4), -9999, np.float32), "-9999"))
    assert not valid.any()
    assert not image.any()


@pytest.mark.parametrize(
    ("dtype", "value", "tag"), [(np.uint8, 255, "255"), (np.float32, np.nan, "nan"), (np.int16, -9999, "-9999")]
)
@pytest.mark.parametrize("threshold", [None, 0.5])
def test_pixels_of_a_mask_without_data_are_ignored(tmp_path, dtype, value, tag, threshold):
    source = save_tiff(tmp_path / "m.tif", np.array([[0, 1, value]]).repeat(2, 0).astype(dtype), tag)
    table = LabelTable({"background": 0, "roof": 1}, threshold=threshold)
    assert read_labels([source], table)[0].tolist() == [0, 1, IGNORE]
    assert read_labels([source], LabelTable({"background": 0, "roof": "any"}))[0].tolist() == [0, 1, IGNORE]


def test_a_class_keeps_its_value_that_the_mask_declares_as_nodata(tmp_path):
    source = save_tiff(tmp_path / "m.tif", np.array([[0, 1, 2]], np.uint8), "0")
    assert mask_nodata(source) == 0
    assert read_labels([source], LabelTable({"background": 0, "roof": [1, 2]}))[0].tolist() == [0, 1, 1]
    assert read_labels([source], LabelTable({"wood": 1, "roof": 2}))[0].tolist() == [IGNORE, 0, 1]


def test_nan_in_a_mask_that_does_not_declare_it_is_refused(tmp_path):
    with pytest.raises(DataError, match="1 values that are NaN"):
        read_mask(save_tiff(tmp_path / "m.tif", np.array([[0, np.nan]], np.float32), "-9999"))


@pytest.mark.parametrize(("dtype", "value"), [(np.uint8, 255), (np.uint8, 0), (np.uint16, 65535), (bool, 1)])
def test_the_tag_names_a_stored_value_also_where_white_is_0(tmp_path, dtype, value):
    array = np.array([[value, 40, 41, 42]]).repeat(2, 0) if dtype is not bool else np.array([[1, 0, 0, 0]]).repeat(2, 0)
    tags = [(42113, 2, 0, str(value), True)]
    tifffile.imwrite(tmp_path / "a.tif", array.astype(dtype), photometric="miniswhite", metadata=None, extratags=tags)
    _, valid = read_image_and_valid(Source(tmp_path / "a.tif"))
    assert valid[0].tolist() == [False, True, True, True]
