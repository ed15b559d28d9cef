"""A pattern for each class that may overlap: which file is of which class, and what is missing."""

from pathlib import Path

import pytest

from segexp.data.layout.inventory import take_inventory
from segexp.data.layout.pairing import find_cases
from segexp.errors import ConfigError, DataError

NESTED = ("{id}/image.png", {"cell": "{id}/cell.png", "nucleus": "{id}/nucleus_*.png"})
FLAT = ("{split}/{id}.png", {"cell": "{split}/{id}_cell.png", "nucleus": "{split}/{id}_cell_nucleus.png"})


def tree(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def shown(root, cases):
    return {
        case.id: [(mask.path.relative_to(root).as_posix(), name) for mask, name in zip(case.masks, case.classes, strict=True)]
        for case in cases
    }


def test_each_mask_is_of_a_class(tmp_path):
    files = [f"{n}/{name}.png" for n in (2, 10) for name in ("image", "cell", "nucleus_1", "nucleus_2")]
    cases = find_cases(tree(tmp_path, *files), *NESTED)
    assert shown(tmp_path, cases) == {
        str(n): [(f"{n}/cell.png", "cell"), (f"{n}/nucleus_1.png", "nucleus"), (f"{n}/nucleus_2.png", "nucleus")]
        for n in (2, 10)
    }
    assert list(take_inventory(tmp_path, *NESTED).cases) == cases


def test_a_file_is_of_the_class_whose_pattern_says_most(tmp_path):
    cases = find_cases(tree(tmp_path, "train/a.png", "train/a_cell.png", "train/a_cell_nucleus.png"), *FLAT)
    assert shown(tmp_path, cases) == {"train/a": [("train/a_cell.png", "cell"), ("train/a_cell_nucleus.png", "nucleus")]}
    assert list(take_inventory(tmp_path, *FLAT).cases) == cases


def test_a_missing_file_is_an_error(tmp_path):
    tree(tmp_path, "a/image.png", "a/cell.png", "a/nucleus_1.png", "b/image.png", "b/cell.png")
    message = (
        r"1 of 2 images have no mask of nucleus: b/image\.png \(for b/image\.png it would be b/nucleus_\*\.png\)\. "
        r"data\.image=\{id\}/image\.png and data\.mask\.nucleus=\{id\}/nucleus_\*\.png pair files with the same id\. .*"
        r"; or type 'data\.optional_masks=\[nucleus\]' if nucleus is not there where its file is missing\."
    )
    with pytest.raises(DataError, match=message):
        find_cases(tmp_path, *NESTED)
    found = take_inventory(tmp_path, *NESTED)
    assert (found.lone_images, found.expected) == (("b/image.png",), "b/nucleus_*.png")
    assert [case.id for case in found.cases] == ["a"]


def test_a_missing_file_of_an_optional_class_is_none(tmp_path):
    tree(tmp_path, "a/image.png", "a/cell.png", "a/nucleus_1.png", "b/image.png", "b/cell.png")
    cases = find_cases(tmp_path, *NESTED, optional=["nucleus"])
    assert shown(tmp_path, cases)["b"] == [("b/cell.png", "cell")]
    found = take_inventory(tmp_path, *NESTED, optional=["nucleus"])
    assert list(found.cases) == cases
    assert not found.lone_images


def test_an_optional_class_has_a_file_somewhere(tmp_path):
    tree(tmp_path, "a/image.png", "a/cell.png")
    with pytest.raises(
        DataError, match=r"No file below .* matches data\.mask\.nucleus=\{id\}/nucleus_\*\.png\. A class without"
    ):
        find_cases(tmp_path, *NESTED, optional=["nucleus"])


def test_a_mask_without_an_image_is_an_error_also_of_an_optional_class(tmp_path):
    tree(tmp_path, "a/image.png", "a/cell.png", "a/nucleus_1.png", "b/nucleus_1.png")
    with pytest.raises(DataError, match=r"^1 masks have no image: b/nucleus_1\.png\. data\.image="):
        find_cases(tmp_path, *NESTED, optional=["nucleus"])
    assert take_inventory(tmp_path, *NESTED, optional=["nucleus"]).lone_masks == ("b/nucleus_1.png",)


def test_two_classes_with_one_pattern(tmp_path):
    tree(tmp_path, "a/image.png", "a/cell.png")
    with pytest.raises(ConfigError, match=r"data\.mask\.cell and data\.mask\.nucleus are both \{id\}/cell\.png\. They name"):
        find_cases(tmp_path, "{id}/image.png", {"cell": "{id}/cell.png", "nucleus": "{id}/cell.png"})


def test_a_wrong_pattern_is_named_with_its_class(tmp_path):
    with pytest.raises(ConfigError, match=r"data\.mask\.nucleus=\{di\}\.png has the unknown field \{di\}"):
        find_cases(tmp_path, "{id}/image.png", {"cell": "{id}/cell.png", "nucleus": "{di}.png"})
    with pytest.raises(ConfigError, match=r"data\.image=\{id\}\.png and data\.mask\.cell=m\.tif\[\{page\}\] have no field in"):
        find_cases(tree(tmp_path, "a.png"), "{id}.png", {"cell": "m.tif[{page}]", "nucleus": "{id}_n.png"})


def test_a_test_split_without_masks_is_left_out(tmp_path, caplog):
    tree(tmp_path, "train/a.png", "train/a_cell.png", "train/a_cell_nucleus.png", "test/b.png")
    assert [case.id for case in find_cases(tmp_path, *FLAT)] == ["train/a"]
    assert [case.id for case in find_cases(tmp_path, *FLAT, optional=["nucleus"])] == ["train/a"]
    assert take_inventory(tmp_path, *FLAT).unlabelled == ("test/b.png",)
    assert "The test split has no masks: its 1 images are left out." in caplog.text
