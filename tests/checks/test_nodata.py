"""Findings on nodata: how much is left out, what looks like it, and masks whose nodata value is a class."""

import numpy as np
import pytest

from fixtures.checks import OPEN, applied, only, serious
from fixtures.configs import data_config
from fixtures.nodata import save_tiff, write_strips
from segexp.checks.nodata import find_extremes
from segexp.checks.run import run_checks
from segexp.config.schema import DataConfig
from segexp.config.validation import validate_section

SHARE = "18.75%"
"""Of the strip."""


def examined(root, **keys):
    return run_checks(data_config(OPEN, name="auto", root=str(root), **keys), alignment=False)


@pytest.mark.parametrize(
    ("value", "dtype"),
    [(-9999, np.float32), (-32768, np.int16), (np.finfo(np.float32).min, np.float32), (65535, np.uint16), (1e20, np.float64)],
)
def test_a_value_far_outside_is_named_with_the_key_that_mends_it(tmp_path, value, dtype):
    root = write_strips(tmp_path / "set", value, dtype=dtype)
    finding = only(examined(root), "outlier")
    assert finding.found.startswith("8 images of 8 hold the value ")
    assert "far outside of all others, 5000 to 7999, in up to 19% of the pixels" in finding.found
    assert str(root / "images") in finding.found
    found = examined(root, nodata=applied(data_config(), finding.do).nodata)
    assert f"by their tag GDAL_NODATA or data.nodata={found.data.nodata}, {SHARE} of all pixels" in only(found, "nodata").found
    assert finding.remedy == {"nodata": found.data.nodata}
    assert "outlier" not in serious(found)
    assert {facts.ignored for facts in found.facts.values()} == {192}
    assert min(facts.low for facts in found.facts.values()) == 5000


def test_declared_pixels_are_a_note_and_a_key_that_matches_nothing_a_warning(tmp_path):
    found = examined(write_strips(tmp_path / "set", 0, "0", np.uint16))
    note = only(found, "nodata")
    assert (note.level, note.found) == (
        "note",
        f"8 of 8 images have pixels without data by their tag GDAL_NODATA, {SHARE} of all pixels; they are ignored",
    )
    assert "nodata" not in [finding.kind for finding in examined(tmp_path / "set", nodata="none").findings]
    wrong = only(examined(write_strips(tmp_path / "other", 0, dtype=np.uint16), nodata=-9999), "nodata")
    assert (wrong.level, wrong.found) == ("warning", "No pixel of the 8 images has the value data.nodata=-9999")


def test_a_second_value_is_to_be_written_as_the_first(tmp_path):
    root = write_strips(tmp_path / "set", -9999)
    found = examined(root, nodata=-32768)
    assert only(found, "outlier").do.endswith("write -32768, which is data.nodata, in its place")
    assert not only(found, "outlier").remedy


ROUND = np.hypot(*np.mgrid[-32:32, -32:32]) > 30
"""Outside of the circle that a scanner sees."""


def noise(low, high, dtype):
    return np.random.default_rng(0).integers(low, high, (64, 64)).astype(dtype)


@pytest.mark.parametrize(
    "image",
    [
        np.where(ROUND, np.int16(-1024), noise(-1000, 1500, np.int16)),
        np.where(ROUND, np.int16(-2000), noise(-1024, 1500, np.int16)),
        np.minimum(np.random.default_rng(0).exponential(30000, (64, 64)), 65535).astype(np.uint16),
        np.where(ROUND, np.uint16(0), noise(8000, 9000, np.uint16)),
        np.where(ROUND, np.float32(1), noise(0, 100, np.float32) / 1000),
        np.where(ROUND, np.float32(-1), noise(-500, 1000, np.float32) / 1000),
        np.where(np.arange(4096).reshape(64, 64) == 70, np.uint16(65535), noise(100, 300, np.uint16)),
        np.where(ROUND, np.uint16(0), np.uint16(40000)),
    ],
    ids=["air", "padding", "saturated", "black", "white", "standardised", "hot pixel", "drawn"],
)
def test_ordinary_images_have_no_such_value(tmp_path, image):
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for n in range(4):
        save_tiff(tmp_path / f"images/{n}.tif", np.roll(image, n))
        save_tiff(tmp_path / f"masks/{n}.tif", np.uint8(255 * (np.mgrid[:64, :64][1] > 32 + n)))
    assert "outlier" not in [finding.kind for finding in examined(tmp_path).findings]


def test_extremes_of_each_channel():
    image = np.stack([noise(0, 50, np.float32), noise(4000, 9000, np.float32)], axis=2)
    image[:8] = -9999
    image[8:16, :, 1] = -32768
    first, second = find_extremes(image, None)
    assert (first.low, first.high, dict(first.outliers)) == (0, 49, {-9999: 1 / 8})
    assert (second.low, second.high) == (4000, second.high)
    assert dict(second.outliers) == {-9999: 1 / 8, -32768: 1 / 8}
    assert find_extremes(image.clip(0, 255).astype(np.uint8), None) == ()
    assert find_extremes(image, np.zeros((64, 64), bool)) == ()


def test_masks_whose_nodata_value_is_a_class_are_named(tmp_path):
    root = write_strips(tmp_path / "set", 5000)
    for n in range(8):
        (root / f"masks/{n}.png").unlink()
        mask = np.zeros((32, 32), np.uint8)
        mask[:8], mask[8:12], mask[-1] = 1, 2, 255
        save_tiff(root / f"masks/{n}.tif", mask, "0" if n < 4 else "255")
    found = examined(root)
    assert dict(found.data.classes) == {"background": 0, "class_1": 1, "class_2": 2}
    finding = only(found, "nodata_class")
    assert finding.found.startswith(
        "4 masks declare 0 as nodata (GDAL_NODATA), the value of the class background, and are read"
    )
    assert "data.ignore=[0]" in finding.do


def test_the_key_takes_nan_and_numbers():
    for value, held in [(float("nan"), "nan"), (float("-inf"), "nan"), (0, 0), (-3.5, -3.5), ("none", "none"), (None, None)]:
        assert validate_section(DataConfig, {"name": "x", "root": "x", "nodata": value}, "data").nodata == held
    data = data_config(nodata=float("nan"))
    assert data == data_config(nodata="nan")


@pytest.mark.parametrize(
    ("value", "tag", "dtype"),
    [(np.nan, "nan", np.float32), (-9999, "-9999", np.int16), (7, "7", np.uint8), (255, "255", np.uint8)],
)
def test_classes_are_found_without_the_nodata_value_of_masks(tmp_path, value, tag, dtype):
    root = write_strips(tmp_path / "set", 5000)
    for n in range(8):
        (root / f"masks/{n}.png").unlink()
        mask = np.zeros((32, 32), dtype)
        mask[:8, n:], mask[8:12], mask[-4:] = 1, 2, value
        save_tiff(root / f"masks/{n}.tif", mask, tag)
    found = examined(root)
    assert dict(found.data.classes) == {"background": 0, "class_1": 1, "class_2": 2}
    assert {facts.ignored for facts in found.facts.values()} == {128}
    assert serious(found) == ["background"] or not serious(found)
