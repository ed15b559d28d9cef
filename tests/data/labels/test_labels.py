"""Mask values to classes, every message, and the colours of classes."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from segexp.data.io.images import read_mask, write_png
from segexp.data.labels.class_table import LabelTable, merge_masks, read_labels
from segexp.data.layout.pairing import find_cases
from segexp.errors import ConfigError, DataError
from segexp.types import Source

COLOURS = {"other": "#9B9B9B", "building": "#3c1098", "water": ["#E2A929", "#0000FF"]}


def test_values_and_lists_of_values() -> None:
    table = LabelTable({"background": 0, "liver": 255, "vessel": [3, 4]}, ignore=[9])
    raw = np.array([[0, 255, 3], [4, 9, 0]], np.uint8)
    coded = table.encode(raw)
    assert coded.dtype == np.uint8
    assert coded.tolist() == [[0, 1, 2], [2, 255, 0]]
    assert table.encode(raw.astype(np.uint16)).tolist() == coded.tolist()
    assert table.encode(raw.astype(np.float32)).tolist() == coded.tolist()
    assert table.encode(np.dstack([raw] * 3)).tolist() == coded.tolist()
    assert table.names == ("background", "liver", "vessel")


def test_16_bit_and_negative_values() -> None:
    table = LabelTable({"background": 0, "cell": 40000}, ignore=-1)
    assert table.encode(np.array([[0, 40000]], np.uint16)).tolist() == [[0, 1]]
    assert table.encode(np.array([[0, 40000, -1]], np.float32)).tolist() == [[0, 1, 255]]


def test_colours_and_gray_masks_against_them() -> None:
    table = LabelTable(COLOURS, ignore="#000000")
    raw = np.array([[(155, 155, 155), (60, 16, 152), (226, 169, 41)], [(0, 0, 255), (0, 0, 0), (155, 155, 155)]], np.uint8)
    assert table.encode(raw).tolist() == [[0, 1, 2], [2, 255, 0]]
    assert table.encode(np.array([[155, 0]], np.uint8)).tolist() == [[0, 255]]
    assert table.encode(raw.astype(np.uint16) * 257).tolist() == table.encode(raw).tolist()
    mixed = LabelTable({"background": 0, "red": "#FF0000"})
    assert mixed.encode(np.array([[(0, 0, 0), (255, 0, 0)]], np.uint8)).tolist() == [[0, 1]]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32])
def test_any_is_every_value_that_nothing_else_names(dtype: type) -> None:
    table = LabelTable({"background": 0, "nucleus": "any", "debris": 9}, ignore=[255])
    raw = np.array([[0, 1, 9], [200, 255, 254]], dtype)
    assert table.encode(raw).tolist() == [[0, 1, 2], [1, 255, 1]]
    if dtype != np.uint8:
        assert table.encode(np.array([[0, 40_000, 70_000]], np.float32)).tolist() == [[0, 1, 1]]
    assert (table.by_value, table.takes_any) == (True, True)
    assert LabelTable({"cell": "any", "edge": 0}).encode(raw).tolist() == [[1, 0, 0], [0, 0, 0]]
    assert LabelTable({"a": 0, "b": [3, "any"]}).encode(raw).tolist() == [[0, 1, 1], [1, 1, 1]]
    assert LabelTable.from_dict(json.loads(json.dumps(table.as_dict()))) == table


def test_any_colour_and_any_index_of_a_palette(tmp_path: Path) -> None:
    raw = np.array([[(0, 0, 0), (0, 0, 255), (7, 8, 9), (224, 224, 192)]], np.uint8)
    table = LabelTable({"background": 0, "object": "any"}, ignore=["#E0E0C0"])
    assert table.encode(raw).tolist() == [[0, 1, 1, 255]]
    assert (table.by_value, LabelTable({"land": "#8429F6", "rest": "any"}).by_value) == (True, False)
    assert LabelTable({"land": "#070809", "rest": "any"}).encode(raw).tolist() == [[1, 1, 0, 1]]
    assert LabelTable({"land": "#8429F6", "rest": "any"}).palette[0] == (132, 41, 246)
    write_png(tmp_path / "objects.png", np.array([[0, 1, 255]], np.uint8), ((0, 0, 0), (0, 0, 0), *[(9, 8, 7)] * 254))
    voc = LabelTable({"background": 0, "object": "any"}, ignore=[255])
    assert read_labels([Source(tmp_path / "objects.png")], voc).tolist() == [[0, 1, 255]]


def test_the_files_of_the_objects_of_an_image_are_one_mask(tmp_path: Path) -> None:
    for k in (1, 2, 3):
        write_png(tmp_path / f"{k}.png", np.where(np.arange(5) == k, 7 * k, 0).astype(np.uint8)[None])
    table = LabelTable({"background": 0, "object": "any"})
    assert read_labels([Source(tmp_path / f"{k}.png") for k in (1, 2, 3)], table).tolist() == [[0, 1, 1, 1, 0]]


@pytest.mark.parametrize("more", [{}, {"threshold": 0.5}])
def test_no_class_takes_nan(more: dict[str, float]) -> None:
    table = LabelTable({"a": 0, "b": 1 if more else "any"}, **more)
    with pytest.raises(DataError, match=r"^m\.tif has 2 pixels of the value NaN\. Replace them by a number"):
        table.encode(np.array([[0, np.nan, 1, np.nan]], np.float32), "m.tif")


def test_masks_that_number_objects_are_recognised_as_such() -> None:
    raw = np.kron(np.arange(12).reshape(3, 4), np.ones((5, 5), int)).astype(np.uint8)
    with pytest.raises(DataError, match=r"If the values number objects, type 'data\.classes=\{bg: 0, cell: any\}'"):
        LabelTable({"bg": 0, "cell": 255}).encode(raw)


def test_indices_are_no_soft_mask() -> None:
    raw = np.tile(np.kron(np.array([[0, 2, 0, 3, 4], [5, 0, 255, 0, 2]]), np.ones((5, 5), int)), (2, 2)).astype(np.uint8)
    with pytest.raises(DataError) as error:
        LabelTable({"bg": 0, "cell": 255}).encode(raw)
    assert "threshold" not in str(error.value)


def test_a_gray_mask_three_pixels_wide_is_no_colour() -> None:
    with pytest.raises(DataError, match=r"2 pixels of the value 7"):
        LabelTable({"a": 0, "b": 1}).encode(np.array([[0, 1, 7], [0, 1, 7]], np.uint8))


@pytest.mark.parametrize(
    ("classes", "expected"), [({"background": 0, "lesion": 255}, [[0, 0, 1]]), ({"cell": 255, "wall": 0}, [[1, 1, 0]])]
)
def test_threshold_keeps_the_meaning_of_the_values(classes: dict[str, int], expected: list[list[int]]) -> None:
    table = LabelTable(classes, threshold=127)
    assert table.encode(np.array([[3, 127, 128]], np.uint8)).tolist() == expected
    assert table.encode(np.array([[(3, 4, 5), (120, 130, 125), (200, 199, 201)]], np.uint8)).tolist() == expected


def test_threshold_of_small_values_and_with_ignore() -> None:
    assert LabelTable({"no": 0, "it": 1}, threshold=0.5).encode(np.array([[0.2, 0.7]], np.float32)).tolist() == [[0, 1]]
    table = LabelTable({"no": 0, "it": 255}, ignore=[77], threshold=127)
    assert table.encode(np.array([[77, 78, 200]], np.uint8)).tolist() == [[255, 0, 1]]


def test_an_unclaimed_value_names_file_value_and_remedy() -> None:
    table = LabelTable({"background": 0, "liver": 255}, ignore=[5])
    with pytest.raises(DataError) as error:
        table.encode(np.array([[0, 255, 7, 7, 8]], np.uint8), "train/007_mask.png")
    assert str(error.value) == (
        "train/007_mask.png has 2 pixels of the value 7, which no class claims; also 8 (1 pixel). "
        "Claimed are 0 (background), 255 (liver), ignored are 5. "
        "Type 'data.ignore=[5, 7]' to leave such pixels out, or give it to a class: 'data.classes.liver=[255, 7]'."
    )


def test_an_unclaimed_colour_is_written_as_one() -> None:
    raw = np.zeros((2, 2, 3), np.uint8)
    raw[0, 0] = (60, 16, 152)
    with pytest.raises(
        DataError, match=r'm\.png has 3 pixels of the value #000000.*#3C1098 \(building\).*data\.ignore=\["#000000"\]'
    ):
        LabelTable(COLOURS).encode(raw, "m.png")


def test_a_soft_mask_is_recognised_as_such(tmp_path: Path) -> None:
    disc = (np.hypot(*np.mgrid[-32:32, -32:32]) < 20).astype(np.uint8) * 255
    Image.fromarray(disc).save(tmp_path / "soft.jpg", quality=60)
    raw = read_mask(Source(tmp_path / "soft.jpg"))
    classes = {"background": 0, "lesion": 255}
    with pytest.raises(DataError, match=r"looks JPEG-compressed or anti-aliased: type data\.threshold=127"):
        LabelTable(classes).encode(raw, "soft.jpg")
    agree = LabelTable(classes, threshold=127).encode(raw) == disc // 255
    assert agree.mean() > 0.99


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        (None, "data.classes is None"),
        (["a", "b"], "Each class is given by name"),
        ({"a": 0}, "names 1 classes. 2 to 250"),
        ({str(k): k for k in range(251)}, "names 251 classes"),
        ({1: 0, "b": 1}, "a class called 1 (int)"),
        ({False: 0, "b": 1}, "a class called False (bool). A class name is text; yes, no"),
        ({"a": 0, "b": None}, "names 2 classes, but only 1 have a value or colour. Every class needs one; b has none"),
        ({"a": 0, "b": [], "c": 2}, "Type data.classes.b=VALUE, or remove the class with '~data.classes.b'."),
        ({"a": 0, "b c": [], "d": 2}, "Type 'data.classes={a: 0, b c: VALUE, d: 2}', or remove the class from data.classes."),
        ({"a": 0, "ß": []}, "Type ß: VALUE below classes in the file of the data set."),
        ({"a": 0, "b": []}, "b has none. Type data.classes.b=VALUE."),
        ({"a": 0, "b": "red"}, "data.classes.b has 'red'"),
        ({"a": 0, "b": 0.5}, "data.classes.b has 0.5"),
        ({"a": 0, "b": True}, "data.classes.b has True"),
        ({"a": 0, "b": [1, 0]}, "Both a and b claim the mask value 0"),
        ({"a": 0, "b": "#000000"}, "Both a and b claim the mask value #000000"),
        ({"a": 300, "b": 300}, "Both a and b claim the mask value 300"),
        ({"a": "any", "b": "any"}, "Both a and b claim the mask value any"),
    ],
)
def test_wrong_classes(classes: object, words: str) -> None:
    with pytest.raises(ConfigError) as error:
        LabelTable(classes)  # type: ignore[arg-type]
    assert words in str(error.value)
    assert "ype" in str(error.value) or "rite" in str(error.value) or "Remove" in str(error.value)


def test_wrong_ignore_and_threshold() -> None:
    two = {"a": 0, "b": 1}
    with pytest.raises(ConfigError, match=r"Both b and data\.ignore claim the mask value 1"):
        LabelTable(two, ignore=[1])
    with pytest.raises(ConfigError, match=r"data\.ignore has 'black'"):
        LabelTable(two, ignore="black")
    with pytest.raises(ConfigError, match=r"data\.threshold=127 with 3 classes"):
        LabelTable({**two, "c": 2}, threshold=127)
    with pytest.raises(ConfigError, match=r"2 classes given by colour.*data\.threshold=null"):
        LabelTable({"a": "#FF0000", "b": 1}, threshold=127)
    with pytest.raises(ConfigError, match=r"2 classes of which one takes any value.*data\.threshold=null"):
        LabelTable({"a": 0, "b": "any"}, threshold=127)
    with pytest.raises(ConfigError, match=r"data\.ignore has 'any'"):
        LabelTable(two, ignore="any")
    with pytest.raises(ConfigError, match=r"A threshold is a number"):
        LabelTable(two, threshold="half")  # type: ignore[arg-type]


def test_palette_has_own_and_distinct_colours() -> None:
    assert LabelTable({"background": 0, "liver": 255}).palette == ((0, 0, 0), (230, 159, 0))
    assert LabelTable(COLOURS).palette == ((155, 155, 155), (60, 16, 152), (226, 169, 41))
    mixed = LabelTable({"a": 7, "b": "#E69F00", "c": 1, "d": "#000000"}).palette
    assert mixed[1] == (230, 159, 0)
    assert len(set(mixed)) == 4
    assert len(set(LabelTable({str(k): k for k in range(250)}).palette)) == 250


def test_round_trips() -> None:
    table = LabelTable(COLOURS, ignore=["#000000", 7])
    plain = json.loads(json.dumps(table.as_dict()))
    assert LabelTable.from_dict(plain) == table
    table.encode(np.full((1, 1, 3), (60, 16, 152), np.uint8))
    assert len(pickle.dumps(table)) < 1000
    assert pickle.loads(pickle.dumps(table)) == table
    assert LabelTable.from_dict(LabelTable({"a": 0, "b": 255}, threshold=99).as_dict()).threshold == 99


def test_merge_lets_the_later_mask_win() -> None:
    first, second = np.array([[0, 1, 1, 0]], np.uint8), np.array([[0, 0, 2, 255]], np.uint8)
    assert merge_masks([first, second]).tolist() == [[0, 1, 2, 255]]
    assert first.tolist() == [[0, 1, 1, 0]]
    with pytest.raises(DataError, match=r"different sizes, \(1, 4\) and \(2, 4\).*beside a\.png"):
        merge_masks([first, np.zeros((2, 4), np.uint8)], "a.png")


def test_read_labels_takes_palette_indices_for_values_and_colours_for_colours(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", np.array([[0, 1, 2]], np.uint8), ((0, 0, 0), (128, 0, 0), (0, 128, 0)))
    source = [Source(tmp_path / "a.png")]
    by_value = LabelTable({"background": 0, "cat": 1, "dog": 2})
    by_colour = LabelTable({"background": "#000000", "dog": "#008000", "cat": "#800000"})
    assert by_value.by_value
    assert not by_colour.by_value
    assert read_labels(source, by_value).tolist() == [[0, 1, 2]]
    assert read_labels(source, by_colour).tolist() == [[0, 2, 1]]


def test_read_labels_merges_objects(tmp_path: Path) -> None:
    for k in range(3):
        one = np.zeros((1, 3), np.uint8)
        one[0, k] = 255
        tifffile.imwrite(tmp_path / f"{k}.tif", one)
    sources = [Source(tmp_path / f"{k}.tif") for k in range(2)]
    assert read_labels(sources, LabelTable({"background": 0, "cell": 255})).tolist() == [[1, 1, 0]]


def test_landcover_masks_agree_whether_palette_or_rgb(real_data: Path) -> None:
    classes = {"unlabeled": "#9B9B9B", "building": "#3C1098", "land": "#8429F6", "road": "#6EC1E4"}
    classes |= {"vegetation": "#FEDD3A", "water": "#E2A929"}
    table = LabelTable(classes, ignore=["#000000"])
    cases = find_cases(real_data / "landcover", "Tile {group}/images/{id}.jpg", "Tile {group}/masks/{id}.png")
    of = {case.id: read_labels(case.masks, table) for case in cases}
    # Pixel counts by Pillow's own convert("RGB"): a palette mask, and the one with 678 specks.
    assert np.bincount(of["2/image_part_001"].ravel()).tolist() == [0, 63406, 155233, 58257]
    assert int((of["6/image_part_005"] == 255).sum()) == 678
    with pytest.raises(DataError, match=r"image_part_005\.png has 678 pixels of the value #000000"):
        read_labels(next(c.masks for c in cases if c.id == "6/image_part_005"), LabelTable(classes))


def test_several_masks_of_one_image_need_a_background_to_be_laid_over_each_other(tmp_path: Path) -> None:
    files = [Source(tmp_path / f"{n}.png") for n in range(2)]
    for n, source in enumerate(files):
        write_png(source.path, np.full((4, 4), n, np.uint8))
    table = LabelTable({"field": 0, "wood": 1})
    assert read_labels(files, table, files[0]).tolist() == [[1] * 4] * 4
    with pytest.raises(DataError, match=r"has 2 masks, .* and no class is the background .*data.background=CLASS"):
        read_labels(files, LabelTable({"field": 0, "wood": 1}, background=False), files[0])
