"""The pattern language and the pairing, on trees of empty files; every message; groups; the real data sets."""

import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from segexp.config.composition import compose, to_plain
from segexp.config.schema import DataConfig
from segexp.data.labels.class_table import LabelTable, read_labels
from segexp.data.layout.pairing import find_cases, list_files
from segexp.data.layout.patterns import natural_key, parse_pattern
from segexp.errors import ConfigError, DataError, SegexpError
from segexp.types import Case


def tree(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def ids(cases: list[Case]) -> list[str]:
    return [case.id for case in cases]


@pytest.mark.parametrize(
    ("pattern", "name", "fields"),
    [
        ("{id}.png", "a.png", {"id": "a"}),
        ("{id}.png", "a.PNG", {"id": "a"}),
        ("{id}.png", "b/a.png", None),
        ("{id}.png", ".png", None),
        ("{split}/{id}_mask.png", "train/a_mask_mask.PNG", {"split": "train", "id": "a_mask"}),
        ("{split}/{id}_mask.png", "train/a_MASK.png", None),
        ("Tile {group}/images/{id}.jpg", "Tile 12/images/x y.jpg", {"group": "12", "id": "x y"}),
        ("{id}/images/{id}.png", "7/images/7.png", {"id": "7"}),
        ("{id}/images/{id}.png", "7/images/8.png", None),
        ("{id}/masks/*.png", "7/masks/anything.png", {"id": "7"}),
        ("{id}/masks/*.png", "7/masks/deep/er.png", None),
        ("masks/{id}_mask.{gif,png}", "masks/a_mask.gif", {"id": "a"}),
        ("masks/{id}_mask.{gif,png}", "masks/a_mask.jpg", None),
        ("{imgs,images}/{id}.png", "imgs/a.png", {"id": "a"}),
        ("images/{id}.*", "images/a.b.TIFF", {"id": "a.b"}),
        ("images/{id}.*", "images/readme.md", None),
        ("a+b(1)/{id}.png", "a+b(1)/c.png", {"id": "c"}),
        ("./images/{id}.png", "images/c.png", {"id": "c"}),
        ("train1/{id}.png", "train10/c.png", None),
        ("v.tif[{id}]", "v.tif", {}),
        ("{id}.tif[{page}]", "v.tif", {"id": "v"}),
    ],
)
def test_pattern(pattern: str, name: str, fields: dict[str, str] | None) -> None:
    assert parse_pattern(pattern, "data.image").match(name) == fields


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("{idd}.png", r"data\.image=\{idd\}\.png has the unknown field \{idd\}\. Did you mean id\?"),
        ("", "data.image is ''. A pattern of file names is needed. Type for example"),
        (None, "data.image is None"),
        ("/abs/{id}.png", r"leaves data\.root.*Change data\.root=DIR"),
        ("../{id}.png", r"leaves data\.root"),
        ("{split}/a.png", r"has no \{id\}.*Write \{id\} into data\.image"),
        ("{id}.tif[{id}]", r"uses \{id\} for the file and for the page.*Write \[\{page\}\]"),
        ("{id}.tif[{split}]", r"numbers pages by \{split\}"),
    ],
)
def test_wrong_patterns(pattern: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_pattern(pattern, "data.image")


def test_side_by_side_with_split_in_natural_order(tmp_path: Path) -> None:
    names = [f"{split}/{k}{end}.png" for split in ("train", "Valid") for k in (10, 2, 1) for end in ("", "_mask")]
    cases = find_cases(tree(tmp_path, *names, "readme.md"), "{split}/{id}.png", "{split}/{id}_mask.png")
    assert ids(cases) == ["train/1", "train/2", "train/10", "val/1", "val/2", "val/10"]
    assert [case.split for case in cases] == ["train"] * 3 + ["val"] * 3
    assert cases[3].image.path == tmp_path / "Valid" / "1.png"
    assert [source.path for source in cases[3].masks] == [tmp_path / "Valid" / "1_mask.png"]


def test_the_more_general_pattern_swallows_nothing_either_way(tmp_path: Path) -> None:
    tree(tmp_path, "a.png", "a_mask.png", "b.png", "b_mask.png")
    assert ids(find_cases(tmp_path, "{id}.png", "{id}_mask.png")) == ["a", "b"]
    assert ids(find_cases(tmp_path, "{id}.*", "{id}_mask.*")) == ["a", "b"]
    other = tree(tmp_path / "other", "a_img.png", "a.png")
    assert find_cases(other, "{id}_img.png", "{id}.png")[0].masks[0].path.name == "a.png"


@pytest.mark.parametrize(
    ("split", "words"),
    [("train", "train Training TR"), ("val", "val valid Validation dev"), ("test", "test Testing")],
)
def test_all_split_words(tmp_path: Path, split: str, words: str) -> None:
    for word in words.split():
        root = tree(tmp_path / word, f"{word}/a.png", f"{word}/a_mask.png")
        case = find_cases(root, "{split}/{id}.png", "{split}/{id}_mask.png")[0]
        assert (case.split, case.id) == (split, f"{split}/a")


def test_an_unknown_split_word(tmp_path: Path) -> None:
    tree(tmp_path, "trian/a.png", "trian/a_mask.png")
    with pytest.raises(DataError, match=r"'trian' in trian/a\.png is not a split.*train, val or test.*Did you mean train"):
        find_cases(tmp_path, "{split}/{id}.png", "{split}/{id}_mask.png")


def test_groups_by_field_and_several_masks(tmp_path: Path) -> None:
    tree(tmp_path, "p1/x/images/a.png", "p1/x/masks/10.png", "p1/x/masks/9.png", "p2/y/images/a.png", "p2/y/masks/1.png")
    cases = find_cases(tmp_path, "{group}/{id}/images/*.png", "{group}/{id}/masks/*.png")
    assert ids(cases) == ["p1/x", "p2/y"]
    assert [case.group for case in cases] == ["p1", "p2"]
    assert [mask.path.name for mask in cases[0].masks] == ["9.png", "10.png"]


def test_masks_of_all_splits_in_one_folder(tmp_path: Path) -> None:
    tree(tmp_path, "train/a.jpg", "val/b.JPG", "masks/a_mask.gif", "masks/b_mask.png")
    cases = find_cases(tmp_path, "{split}/{id}.jpg", "masks/{id}_mask.{gif,png}")
    assert [(case.id, case.masks[0].path.name) for case in cases] == [("train/a", "a_mask.gif"), ("val/b", "b_mask.png")]
    tree(tmp_path, "val/a.jpg")
    with pytest.raises(DataError, match=r"train/a\.jpg and val/a\.jpg both have the id a"):
        find_cases(tmp_path, "{split}/{id}.jpg", "masks/{id}_mask.{gif,png}")


def test_clutter_is_not_seen(tmp_path: Path) -> None:
    clutter = [".DS_Store", "._a.png", "Thumbs.db", "desktop.ini", ".git/a.png", "__MACOSX/a.png"]
    tree(tmp_path, "a.png", "a_mask.png", *clutter)
    assert list_files(tmp_path, 3) == ["a.png", "a_mask.png"]
    (tmp_path / "loop").symlink_to(tmp_path)
    assert list_files(tmp_path, 3) == ["a.png", "a_mask.png"]


def test_linked_folders_are_followed(tmp_path: Path) -> None:
    tree(tmp_path / "elsewhere", "a.png", "a_mask.png")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "train").symlink_to(tmp_path / "elsewhere")
    assert ids(find_cases(tmp_path / "root", "{split}/{id}.png", "{split}/{id}_mask.png")) == ["train/a"]


def test_missing_empty_and_unmatched_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = ("images/{id}.png", "masks/{id}.png")
    with pytest.raises(DataError, match=r"data folder .*gone does not exist\. .*Type data\.root=DIR"):
        find_cases(tmp_path / "gone", *both)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=rf"data folder gone does not exist \(from {tmp_path}\)"):
        find_cases("gone", *both)
    (tmp_path / "empty" / "sub").mkdir(parents=True)
    with pytest.raises(DataError, match=r"data folder .*empty holds no files"):
        find_cases(tmp_path / "empty", *both)
    with pytest.raises(DataError, match=r"file\.txt is a file"):
        find_cases(tree(tmp_path, "file.txt") / "file.txt", *both)
    root = tree(tmp_path / "other", "imgs/a.png", "imgs/b.png", "imgs/c.png", "imgs/d.png")
    with pytest.raises(DataError) as error:
        find_cases(root, *both)
    assert "matches data.image=images/{id}.png; seen there: imgs/a.png, imgs/b.png, imgs/c.png and 1 more." in str(error.value)
    assert f"data=auto data.root={root}" in str(error.value)


def test_every_unmatched_file_is_named_both_ways(tmp_path: Path) -> None:
    tree(tmp_path, *(f"Training/{k}.png" for k in range(14)), "Training/0_mask.png", "Training/77_mask.png")
    with pytest.raises(DataError) as error:
        find_cases(tmp_path, "{split}/{id}.png", "{split}/{id}_mask.png")
    text = str(error.value)
    assert text.startswith("13 of 14 images have no mask: Training/1.png, Training/10.png,")
    assert "and 3 more (for Training/1.png it would be Training/1_mask.png)" in text
    assert "1 masks have no image: Training/77_mask.png." in text
    assert "pair files with the same split, id" in text


def test_prefixes_and_order_pair_nothing(tmp_path: Path) -> None:
    tree(tmp_path, "images/1.png", "images/2.png", "masks/10.png", "masks/20.png")
    with pytest.raises(DataError, match=r"2 of 2 images have no mask.*2 masks have no image: masks/10\.png, masks/20\.png"):
        find_cases(tmp_path, "images/{id}.png", "masks/{id}.png")


def test_two_files_with_one_id(tmp_path: Path) -> None:
    tree(tmp_path, "images/a.png", "images/a.jpg", "masks/a.png")
    with pytest.raises(
        DataError, match=r"images/a\.jpg and images/a\.png both have the id a.*data\.image=images/\{id\}\.\*.*Remove one"
    ):
        find_cases(tmp_path, "images/{id}.*", "masks/{id}.png")
    with pytest.raises(DataError, match=r"images/a\.jpg and images/a\.png both have the id a.*data\.mask="):
        find_cases(tmp_path, "masks/{id}.png", "images/{id}.*")
    twice = tree(tmp_path / "twice", "Train/a.png", "training/a.png", "Train/a_m.png", "training/a_m.png")
    with pytest.raises(DataError, match="both have the id train/a"):
        find_cases(twice, "{split}/{id}.png", "{split}/{id}_m.png")


def test_patterns_that_cannot_pair(tmp_path: Path) -> None:
    tree(tmp_path, "a.png")
    with pytest.raises(ConfigError, match=r"are both \{id\}\.png"):
        find_cases(tmp_path, "{id}.png", "{id}.png")
    with pytest.raises(ConfigError, match=r"have no field in common.*Write \{id\} into both"):
        find_cases(tmp_path, "{id}.png", "m.tif[{page}]")


def test_images_alone(tmp_path: Path) -> None:
    tree(tmp_path, "images/a.png", "images/b.png", "masks/a.png", "masks/z.png")
    assert ids(find_cases(tmp_path, "images/{id}.png", None)) == ["a", "b"]
    cases = find_cases(tmp_path, "images/{id}.png", "masks/{id}.png", require_masks=False)
    assert [len(case.masks) for case in cases] == [1, 0]


def test_an_unlabelled_test_split_is_left_out_with_a_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tree(tmp_path, "train/images/a.png", "train/masks/a.png", "test/images/b.png", "test/images/c.png")
    both = ("{split}/images/{id}.png", "{split}/masks/{id}.png")
    assert ids(find_cases(tmp_path, *both)) == ["train/a"]
    assert "test split has no masks: its 2 images are left out" in caplog.text
    assert ids(find_cases(tmp_path, *both, require_masks=False, splits=["test"])) == ["test/b", "test/c"]
    tree(tmp_path, "test/masks/b.png")
    with pytest.raises(DataError, match=r"1 of 3 images have no mask: test/images/c\.png"):
        find_cases(tmp_path, *both)


def test_stacks_one_case_per_page(tmp_path: Path) -> None:
    for name, pages in (("v.tif", 12), ("l.tif", 12), ("short.tif", 11)):
        tifffile.imwrite(tmp_path / name, np.zeros((pages, 8, 8), np.uint8), photometric="minisblack")
    cases = find_cases(tmp_path, "v.tif[{id}]", "l.tif[{id}]")
    assert ids(cases) == [str(k) for k in range(12)]
    assert (cases[10].image.page, cases[10].masks[0].page) == (10, 10)
    assert str(cases[10].image) == f"{tmp_path}/v.tif[10]"
    with pytest.raises(DataError, match=r"v\.tif has 12 pages and .*short\.tif has 11"):
        find_cases(tmp_path, "v.tif[{id}]", "short.tif[{id}]")


def test_a_folder_of_stacks_and_pages_against_files(tmp_path: Path) -> None:
    for name in ("images/p.tif", "images/q.tif", "masks/p.tif", "masks/q.tif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        tifffile.imwrite(tmp_path / name, np.zeros((3, 8, 8), np.uint8), photometric="minisblack")
    cases = find_cases(tmp_path, "images/{id}.tif[{page}]", "masks/{id}.tif[{page}]", groups="^(.*)/")
    assert ids(cases) == ["p/0", "p/1", "p/2", "q/0", "q/1", "q/2"]
    assert [case.group for case in cases] == ["p"] * 3 + ["q"] * 3
    tree(tmp_path, "flat/0.png", "flat/1.png")
    with pytest.raises(DataError, match=r"1 of 3 images have no mask: images/p\.tif\[2\]"):
        find_cases(tmp_path, "images/p.tif[{id}]", "flat/{id}.png")


@pytest.fixture
def slices(tmp_path: Path) -> Path:
    tree(tmp_path, *(f"train/{k}{end}.png" for k in range(3) for end in ("", "_mask")))
    (tmp_path / "map.csv").write_text("split;name here;scan\ntrain;0;A\ntrain;1;A\ntrain;2;B\n", encoding="utf-8-sig")
    return tmp_path


SIDE = ("{split}/{id}.png", "{split}/{id}_mask.png")
TABLE = {"file": "map.csv", "match": "{split}/{name here}", "column": "scan"}


def test_groups_from_a_table_or_an_expression(slices: Path) -> None:
    assert [case.group for case in find_cases(slices, *SIDE, groups=TABLE)] == ["A", "A", "B"]
    assert [case.group for case in find_cases(slices, *SIDE, groups={"regex": "[01]$|2"})] == ["0", "1", "2"]
    assert [case.group for case in find_cases(slices, *SIDE, groups=r"^(\w+)/")] == ["train"] * 3


@pytest.mark.parametrize(
    ("groups", "error", "words"),
    [
        ({"fil": "map.csv"}, ConfigError, r"unknown key 'fil'\. Did you mean file"),
        ({"file": "map.csv"}, ConfigError, r"has the keys file\. It takes either regex, or file with match and column"),
        ({}, ConfigError, r"has the keys \(none\)"),
        ({**TABLE, "column": "scam"}, ConfigError, r"map\.csv has no column 'scam'.*split, name here, scan.*Did you mean scan"),
        ({**TABLE, "file": "no.csv"}, DataError, r"table of groups .*no\.csv cannot be read \(No such file"),
        (
            {**TABLE, "match": "{name here}"},
            DataError,
            r"has no scan for 3 of 3 cases: train/0, .*gives for example 0\. Add the rows",
        ),
        ("(", ConfigError, r"data\.groups=\( is no regular expression"),
        ("^z", DataError, r"3 cases have no group: train/0, train/1, train/2.*must fit every id"),
    ],
)
def test_wrong_groups(slices: Path, groups: object, error: type[SegexpError], words: str) -> None:
    with pytest.raises(error, match=words):
        find_cases(slices, *SIDE, groups=groups)  # type: ignore[arg-type]


def test_a_table_that_contradicts_itself_or_lacks_a_row(slices: Path) -> None:
    text = (slices / "map.csv").read_text(encoding="utf-8-sig")
    (slices / "map.csv").write_text(text + "train;2;C\n")
    with pytest.raises(DataError, match=r"puts train/2 into the groups B and C"):
        find_cases(slices, *SIDE, groups=TABLE)
    (slices / "map.csv").write_text("\n".join(text.splitlines()[:-1]))
    with pytest.raises(DataError, match=r"no scan for 1 of 3 cases: train/2"):
        find_cases(slices, *SIDE, groups=TABLE)


def test_natural_order() -> None:
    names = ["b", "a10", "a2", "a", "10", "2", "a2b", "002"]
    assert sorted(names, key=natural_key) == ["002", "2", "10", "a", "a2", "a2b", "a10", "b"]


@pytest.mark.slow
def test_a_hundred_thousand_files(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
        for k in range(50_000):
            os.close(os.open(tmp_path / folder / f"{k}.png", os.O_CREAT | os.O_WRONLY))
    start = time.perf_counter()
    assert len(find_cases(tmp_path, "images/{id}.png", "masks/{id}.png")) == 50_000
    assert time.perf_counter() - start < 15  # about 2 s on an idle machine


def composed(name: str) -> dict[str, Any]:
    """The data section as it is composed, plain values."""
    data: dict[str, Any] = to_plain(compose("train", [f"data={name}"]))["data"]
    return data


def test_all_data_configurations_have_the_same_keys_and_parse(conf: Path) -> None:
    names = sorted(path.stem for path in (conf / "data").glob("*.yaml") if not path.stem.startswith("_"))
    assert set(names) >= {"auto", "demo", "isbi", "isbi_stack", "landcover", "liver", "nested", "paired_folders", "skin"}
    for name in names:
        data = composed(name)
        assert set(data) == set(DataConfig.model_fields), name
        assert data["name"] == name
        assert "_target_" not in (conf / "data" / f"{name}.yaml").read_text()
        if data["image"] is not None:
            assert parse_pattern(data["image"], "data.image").fields >= {"id"}
            assert parse_pattern(data["mask"], "data.mask").fields >= {"id"}
            LabelTable(data["classes"], data["ignore"], data["threshold"])


@pytest.mark.parametrize(
    ("name", "count", "splits"),
    [
        ("liver", 140, {"train": 120, "val": 20}),
        ("isbi", 30, {None: 30}),
        ("isbi_stack", 30, {None: 30}),
        ("skin", 98, {None: 98}),
        ("landcover", 32, {None: 32}),
    ],
)
def test_real_data_by_their_configuration(real_data: Path, name: str, count: int, splits: dict[str | None, int]) -> None:
    data = composed(name)
    root = real_data / data["root"].removeprefix("data/")
    cases = find_cases(root, data["image"], data["mask"], groups=data["groups"])
    assert len(cases) == count
    assert Counter(case.split for case in cases) == splits
    assert all(len(case.masks) == 1 for case in cases)
    table = LabelTable(data["classes"], data["ignore"], data["threshold"])
    seen = set().union(*(np.unique(read_labels(case.masks, table)).tolist() for case in cases))
    assert seen - {255} == set(range(len(table.names)))
    if name == "liver":
        groups = Counter((case.split, case.group) for case in cases)
        assert groups == {("train", "A"): 46, ("train", "B"): 48, ("train", "C"): 26, ("val", "D"): 20}
    if name == "landcover":
        assert Counter(case.group for case in cases) == {**{str(k): 5 for k in range(1, 7)}, "7": 1, "8": 1}
