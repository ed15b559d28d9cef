import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from fixtures.nodata import save_tiff
from segexp.data.labels.class_table import LabelTable
from segexp.data.labels.modes import MULTILABEL
from segexp.data.labels.multilabel import OverlappingTable
from segexp.data.statistics import DecodedCase, Reader, Statistics, check_masks, image_stats, read_all
from segexp.errors import ConfigError, DataError
from segexp.types import Case, Source

TABLE = LabelTable({"background": 0, "cell": 255})


def save(path, array):
    """Write a PNG, or a TIFF of floats."""
    if array.dtype == np.float32:
        tifffile.imwrite(path, array)
    else:
        assert cv2.imwrite(str(path), array if array.ndim == 2 else array[..., ::-1])
    return Source(path)


def draw(dtype, shape, seed=0):
    rng = np.random.default_rng(seed)
    if dtype == np.float32:
        return rng.normal(3, 2, shape).astype(np.float32)
    return rng.integers(10, np.iinfo(dtype).max // 3, shape).astype(dtype)


def one_case(folder, dtype=np.uint8, shape=(24, 40, 3), seed=0, name="a"):
    image = draw(dtype, shape, seed)
    mask = np.where(np.random.default_rng(seed).random(shape[:2]) < 0.25, 255, 0).astype(np.uint8)
    suffix = "tif" if dtype == np.float32 else "png"
    return Case(name, save(folder / f"{name}.{suffix}", image), (save(folder / f"{name}_mask.png", mask),)), image, mask


def measured(pictures, channels, classes=2):
    statistics = Statistics(channels, classes)
    for picture in pictures:
        statistics.add(picture)
    return statistics


# Reader ------------------------------------------------------------------------------------------------------------------


def test_reader_gives_the_values_of_the_file_and_classes(tmp_path):
    case, image, mask = one_case(tmp_path)
    picture = Reader(3, TABLE)(case)
    np.testing.assert_array_equal(picture.image, image)
    np.testing.assert_array_equal(picture.mask, mask // 255)
    assert picture.mask.dtype == np.uint8


def test_reader_shrinks_the_image_and_leaves_the_mask(tmp_path):
    case, _, mask = one_case(tmp_path, shape=(48, 80, 3))
    picture = Reader(3, TABLE, size=40)(case)
    assert picture.image.shape == (24, 40, 3)
    assert picture.mask.shape == mask.shape


def test_several_masks_are_merged(tmp_path):
    image = save(tmp_path / "a.png", draw(np.uint8, (20, 20)))
    parts = [np.zeros((20, 20), np.uint8) for _ in range(2)]
    parts[0][:5], parts[1][:, :5] = 255, 255
    case = Case("a", image, tuple(save(tmp_path / f"m{n}.png", part) for n, part in enumerate(parts)))
    np.testing.assert_array_equal(Reader(1, TABLE)(case).mask, np.maximum(*parts) // 255)


def test_palette_masks_are_read_as_indices_where_classes_are_values(tmp_path):
    indices = np.arange(400, dtype=np.uint8).reshape(20, 20) % 2
    mask = Image.fromarray(indices)
    mask.putpalette([200, 10, 10, 10, 200, 10])
    mask.save(tmp_path / "m.png")
    case = Case("a", save(tmp_path / "a.png", draw(np.uint8, (20, 20))), (Source(tmp_path / "m.png"),))
    np.testing.assert_array_equal(Reader(1, LabelTable({"background": 0, "cell": 1}))(case).mask, indices)
    by_colour = LabelTable({"background": "#C80A0A", "cell": "#0AC80A"})
    np.testing.assert_array_equal(Reader(1, by_colour)(case).mask, indices)


def test_an_image_without_mask_is_ignored_everywhere(tmp_path):
    case = Case("a", save(tmp_path / "a.png", draw(np.uint8, (20, 24))), ())
    np.testing.assert_array_equal(Reader(1, TABLE)(case).mask, np.full((20, 24), 255))


def test_different_sizes_of_image_and_mask_are_told_with_both_files(tmp_path):
    case, _, _ = one_case(tmp_path)
    save(tmp_path / "a_mask.png", np.zeros((40, 24), np.uint8))
    with pytest.raises(DataError) as caught:
        Reader(3, TABLE)(case)
    message = str(caught.value)
    assert message.startswith(
        f"{tmp_path / 'a_mask.png'} is 40x24 (height x width) and its image {tmp_path / 'a.png'} is 24x40."
    )
    assert "A mask has the size of its image." in message
    assert message.endswith("or take the pair out of the folder.")


def test_a_value_that_no_class_claims_is_told_with_its_file(tmp_path):
    case, _, mask = one_case(tmp_path)
    mask[0, 0] = 7
    save(tmp_path / "a_mask.png", mask)
    with pytest.raises(DataError, match=r"a_mask\.png has 1 pixels? of the value 7"):
        Reader(3, TABLE)(case)


def test_an_image_too_small_to_work_on_is_named(tmp_path):
    case, _, _ = one_case(tmp_path, shape=(20, 200, 3))
    with pytest.raises(ConfigError, match=r"data\.size=64 makes .*a\.png \(20x200.* 6x64 pixels small"):
        Reader(3, TABLE, size=64)(case)


def test_a_readers_text_says_all_that_changes_the_pictures():
    texts = {
        repr(reader)
        for reader in (
            Reader(1, TABLE),
            Reader(3, TABLE),
            Reader(3, TABLE, size=64),
            Reader(3, LabelTable({"background": 0, "cell": 254})),
            Reader(3, LabelTable({"background": 0, "cell": 255}, ignore=[7])),
            Reader(3, LabelTable({"background": 0, "cell": 255}, threshold=127)),
        )
    }
    assert len(texts) == 6
    assert not any(" at 0x" in text for text in texts)  # the text names a folder of decoded pictures: equal in each process
    assert repr(Reader(3, LabelTable({"background": 0, "cell": 255}))) in texts


# Statistics --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 3])
def test_statistics_against_numpy(tmp_path, dtype, channels):
    made = [one_case(tmp_path, dtype, (24 + n, 40, channels)[: 2 if channels == 1 else 3], n, str(n)) for n in range(3)]
    statistics = measured(read_all(Reader(channels, TABLE), [case for case, _, _ in made]), channels)
    found = statistics.fingerprint()
    raw = np.concatenate([image.reshape(-1, channels) for _, image, _ in made]).astype(np.float64)
    low, high = {
        np.uint8: (0, 255), np.uint16: (0, raw.max()), np.float32: (raw.min(), raw.max()),
    }[dtype]  # fmt: skip
    assert statistics.value_range() == pytest.approx((low, high))
    unit = (raw - low) / (high - low)
    assert found.count == 3
    np.testing.assert_allclose(found.mean, unit.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(found.std, unit.std(axis=0), rtol=1e-7)
    np.testing.assert_allclose(found.low, unit.min(axis=0), atol=1e-12)
    np.testing.assert_allclose(found.high, unit.max(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.p_low, np.percentile(unit, 0.5, axis=0), atol=1e-6)
    np.testing.assert_allclose(found.p_high, np.percentile(unit, 99.5, axis=0), atol=1e-6)
    assert found.sizes == {"24x40": 1, "25x40": 1, "26x40": 1}
    share = np.concatenate([mask.ravel() for _, _, mask in made]).mean() / 255
    np.testing.assert_allclose(found.class_share, [1 - share, share])


def test_percentiles_of_large_pictures_come_from_a_sample():
    image = np.random.default_rng(0).integers(0, 256, (600, 700, 1), dtype=np.uint8)
    statistics = measured([DecodedCase(image, np.zeros((600, 700), np.uint8))], 1)
    assert sum(len(sample) for sample in statistics.samples) < 10_000
    assert statistics.fingerprint().p_high[0] == pytest.approx(np.percentile(image, 99.5) / 255, abs=0.01)


def test_statistics_do_not_keep_the_pictures():
    image = np.zeros((300, 300, 1), np.uint8)
    statistics = measured([DecodedCase(image, np.zeros((300, 300), np.uint8))], 1)
    assert not any(np.shares_memory(sample, image) for sample in statistics.samples)


def test_ignored_pixels_have_no_share():
    mask = np.full((16, 16), 255, np.uint8)
    mask[:4], mask[4] = 0, 1
    found = measured([DecodedCase(np.zeros((16, 16, 1), np.uint8), mask)], 1).fingerprint()
    assert found.class_share == [0.8, 0.2]


def test_the_range_of_bytes_is_theirs_whatever_they_hold():
    assert measured([DecodedCase(np.full((4, 4, 1), 9, np.uint8), np.zeros((4, 4), np.uint8))], 1).value_range() == (0, 255)
    assert Statistics(1, 2).value_range() == (0, 255)


def test_the_range_of_a_constant_image_is_not_empty():
    picture = DecodedCase(np.full((4, 4, 1), 2.5, np.float32), np.zeros((4, 4), np.uint8))
    low, high = measured([picture], 1).value_range()
    assert low == 2.5 < high


def test_one_scale_cannot_fit_bytes_and_wide_values():
    kinds = (np.uint8, np.uint16)
    statistics = measured([DecodedCase(np.ones((4, 4, 1), kind), np.zeros((4, 4), np.uint8)) for kind in kinds], 1)
    with pytest.raises(DataError, match=r"values of different types: uint16, uint8\. All 8-bit, or none of them"):
        statistics.fingerprint()


def test_the_fingerprint_is_plain_values():
    found = measured([DecodedCase(np.ones((16, 16, 2), np.float32), np.ones((16, 16), np.uint8))], 2).fingerprint().as_dict()
    assert all(type(value) in (int, float) for values in found.values() if isinstance(values, list) for value in values)
    assert found["sizes"] == {"16x16": 1}


# Reading all -------------------------------------------------------------------------------------------------------------


def numbered(count):
    return [Case(str(n), Source(Path(f"{n}.png")), ()) for n in range(count)]


def fake_picture(case):
    return DecodedCase(np.full((2, 2, 1), int(case.id), np.uint8), np.zeros((2, 2), np.uint8))


@pytest.mark.parametrize("count", [0, 1, 3, 40])
@pytest.mark.parametrize("threads", [1, 4])
def test_pictures_come_in_order_whatever_takes_longer(count, threads):
    late = threading.Event()

    def reader(case):
        late.wait(0.01 if int(case.id) % 4 == 0 else 0)
        return fake_picture(case)

    found = [int(picture.image[0, 0, 0]) for picture in read_all(reader, numbered(count), threads)]
    assert found == list(range(count))


def test_only_a_few_pictures_are_read_ahead():
    read = []

    def reader(case):
        read.append(case.id)
        return fake_picture(case)

    pictures = read_all(reader, numbered(100), threads=2)
    next(pictures)
    threading.Event().wait(0.05)
    assert len(read) <= 2 * 2 + 1
    pictures.close()
    assert len(read) <= 2 * 2 + 1


def test_a_problem_is_raised_at_its_place_and_names_the_file(tmp_path):
    cases = [one_case(tmp_path, seed=n, name=str(n))[0] for n in range(12)]
    (tmp_path / "7.png").write_bytes(b"not a picture")
    pictures = read_all(Reader(3, TABLE), cases)
    assert len([next(pictures) for _ in range(7)]) == 7
    with pytest.raises(DataError, match=r"7\.png cannot be read"):
        next(pictures)
    assert next(pictures, None) is None


def test_other_exceptions_pass_through():
    def reader(case):
        if case.id == "3":
            raise KeyError(case.id)
        return fake_picture(case)

    pictures = read_all(reader, numbered(10), 2)
    assert [int(next(pictures).image[0, 0, 0]) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(KeyError, match="3"):
        next(pictures)


# All one class -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "said"), [(1, "is all one value (class cell)"), (255, "is all one value (ignored everywhere)")]
)
def test_masks_that_are_all_one_class_are_refused(value, said):
    pictures = [DecodedCase(np.zeros((4, 4, 1), np.uint8), np.full((4, 4), value, np.uint8)) for _ in range(3)]
    with pytest.raises(DataError) as caught:
        check_masks(measured(pictures, 1), ("background", "cell"), "training")
    message = str(caught.value)
    assert message.startswith(f"Every mask of the 3 training images {said}.")
    assert "at least two of the classes background, cell" in message
    assert message.endswith("which values data.classes gives to which class.")


def test_masks_with_two_classes_pass_even_if_each_mask_has_one():
    pictures = [DecodedCase(np.zeros((4, 4, 1), np.uint8), np.full((4, 4), value, np.uint8)) for value in (0, 1)]
    check_masks(measured(pictures, 1), ("background", "cell"), "training")


# Classes that may overlap --------------------------------------------------------------------------------------------------


def test_shares_of_overlapping_classes_may_add_up_to_more_than_one(tmp_path):
    image = save(tmp_path / "a.png", draw(np.uint8, (20, 20)))
    cell, nucleus = np.zeros((20, 20), np.uint8), np.zeros((20, 20), np.uint8)
    cell[:10], nucleus[5:10] = 255, 255
    cell[19] = 7
    masks = (save(tmp_path / "c.png", cell), save(tmp_path / "n.png", nucleus))
    table = OverlappingTable({"background": 0, "cell": 255, "nucleus": 255}, ignore=7)
    picture = Reader(1, table)(Case("a", image, masks, classes=("cell", "nucleus")))
    statistics = Statistics(1, 3, MULTILABEL)
    statistics.add(picture)
    assert statistics.fingerprint().class_share == pytest.approx([180 / 380, 200 / 380, 100 / 380])
    assert not image_stats(picture).empty
    check_masks(statistics, table.names, "training")
    nothing = Statistics(1, 3, MULTILABEL)
    nothing.add(DecodedCase(picture.image, picture.mask * 0))
    with pytest.raises(DataError, match=r"Every mask of the 1 training images is all one value \(class background\)"):
        check_masks(nothing, table.names, "training")


# Nodata ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize("labels", [TABLE, OverlappingTable({"background": 0, "cell": 255})])
def test_nodata_pixels_do_not_count_whatever_their_value(tmp_path, dtype, bands, labels):
    """Mean, deviation, extremes, percentiles, range and class shares are those of the columns that hold data."""
    tag, nodata = ("0", 0) if dtype == np.uint16 else ("-9999", -9999)
    array = np.random.default_rng(0).integers(5000, 9000, (32, 40, bands)).astype(dtype)
    array[:, :8] = nodata
    mask = np.uint8(255 * (np.mgrid[:32, :40][1] > 29))
    case = Case("a", save_tiff(tmp_path / "a.tif", array.squeeze(), tag), (save(tmp_path / "m.png", mask),), classes=("cell",))
    picture = Reader(bands, labels)(case)
    found, alone = measured([picture], bands), measured([DecodedCase(array[:, 8:], mask[:, 8:] // 255)], bands)
    assert found.value_range() == alone.value_range()
    for key, value in alone.fingerprint().as_dict().items():
        assert key == "sizes" or found.fingerprint().as_dict()[key] == pytest.approx(value, rel=1e-6, abs=2e-3), key
    np.testing.assert_array_equal(picture.mask[:, :8], 255)
    np.testing.assert_array_equal(picture.mask[:, 8:], mask[:, 8:] // 255)


def test_resizing_does_not_mix_nodata_into_its_neighbours(tmp_path):
    array = np.full((40, 60), 7.0, np.float32)
    array[:, :31] = -9999
    source = save_tiff(tmp_path / "a.tif", array, "-9999")
    mask = save(tmp_path / "m.png", np.zeros((40, 60), np.uint8))
    picture = Reader(1, TABLE, size=30)(Case("a", source, (mask,)))
    assert picture.image.shape == (20, 30, 1)
    assert (picture.image == 7).all()
    assert picture.valid.sum() in (20 * 14, 20 * 15)
    assert measured([picture], 1).low.tolist() == [7]


def test_images_without_any_data_have_no_extremes(tmp_path):
    case, _, _ = one_case(tmp_path, np.float32, (24, 40))
    nothing = save_tiff(tmp_path / "n.tif", np.full((24, 40), -9999, np.float32), "-9999")
    some, none = (Reader(1, TABLE)(Case("a", source, case.masks)) for source in (case.image, nothing))
    assert measured([some, none], 1).fingerprint().mean == measured([some], 1).fingerprint().mean
    assert (none.mask == 255).all()
