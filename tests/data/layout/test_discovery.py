"""Layouts recognised on small real trees; classes and channels; what is refused; the four real sets."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from segexp.data.io.images import write_png
from segexp.data.labels.class_table import LabelTable, read_labels
from segexp.data.layout.discovery import DiscoveredLayout, discover_layout
from segexp.data.layout.pairing import find_cases
from segexp.errors import DataError

BINARY = np.array([[0, 255, 0], [255, 255, 0]], np.uint8)
GRAY = np.arange(6, dtype=np.uint8).reshape(2, 3)
COLOUR = np.dstack([GRAY, GRAY + 1, GRAY + 2])


def picture(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".png":
        write_png(path, array)
    else:
        Image.fromarray(array).save(path)


def make(root: Path, images: str, masks: str, names: list[str] | None = None, mask: np.ndarray = BINARY) -> Path:
    for name in names or ["1", "2", "10"]:
        picture(root / images.format(name), COLOUR)
        picture(root / masks.format(name), mask)
    return root


def check(root: Path, image: str, mask: str, count: int, unexplained: int = 0) -> DiscoveredLayout:
    found = discover_layout(root)
    assert (found.layout["image"], found.layout["mask"]) == (image, mask)
    assert len(found.unexplained) == unexplained
    assert f"image={image} mask={mask} pairs" in found.reason
    cases = find_cases(root, image, mask, groups=found.layout["groups"])
    assert len(cases) == count
    table = LabelTable(found.layout["classes"], found.layout["ignore"], found.layout["threshold"])
    for case in cases:
        read_labels(case.masks, table)
    return found


@pytest.mark.parametrize(
    ("images", "masks", "image", "mask"),
    [
        ("{}.png", "{}_mask.png", "{id}.png", "{id}_mask.png"),
        ("{}.jpg", "{}_mask.png", "{id}.jpg", "{id}_mask.png"),
        ("data/{}.png", "data/{}_segmentation.png", "data/{id}.png", "data/{id}_segmentation.png"),
        ("{}_sat.jpg", "{}_mask.png", "{id}_sat.jpg", "{id}_mask.png"),
        ("images/{}.jpg", "masks/{}.png", "images/{id}.jpg", "masks/{id}.png"),
        ("images/{}.jpg", "masks/{}_mask.gif", "images/{id}.jpg", "masks/{id}_mask.gif"),
        ("imgs/{}.png", "labels/{}.png", "imgs/{id}.png", "labels/{id}.png"),
        ("img/{}.png", "gt/{}.png", "img/{id}.png", "gt/{id}.png"),
        ("x/{}.png", "annotations/{}.png", "x/{id}.png", "annotations/{id}.png"),
        ("Training_Images/{}.jpg", "Training_Labels/{}.png", "Training_Images/{id}.jpg", "Training_Labels/{id}.png"),
        ("train/image/{}.png", "train/label/{}.png", "{split}/image/{id}.png", "{split}/label/{id}.png"),
        ("train/images/{}.jpg", "train/masks/{}_mask.png", "{split}/images/{id}.jpg", "{split}/masks/{id}_mask.png"),
        ("images/train/{}.jpg", "labels/train/{}.png", "images/{split}/{id}.jpg", "labels/{split}/{id}.png"),
        ("imagesTr/{}_0000.png", "labelsTr/{}.png", "imagesTr/{id}_0000.png", "labelsTr/{id}.png"),
        ("JPEGImages/{}.jpg", "SegmentationClass/{}.png", "JPEGImages/{id}.jpg", "SegmentationClass/{id}.png"),
        ("images/{}_training.tif", "1st_manual/{}_manual1.gif", "images/{id}_training.tif", "1st_manual/{id}_manual1.gif"),
        ("photos/{}.jpg", "segmentations/{}_lesion.png", "photos/{id}.jpg", "segmentations/{id}_lesion.png"),
        ("rgb/{}-rgb.png", "masks/{}-water.png", "rgb/{id}-rgb.png", "masks/{id}-water.png"),
        ("slices/{}_ct.png", "labels/{}.png", "slices/{id}_ct.png", "labels/{id}.png"),
        ("b/{}.png", "a/{}.png", "b/{id}.png", "a/{id}.png"),
        ("images/{}.png", "masks/0/{}.png", "images/{id}.png", "masks/0/{id}.png"),
        ("train/Data/{}.png", "train/Ground/{}.png", "{split}/Data/{id}.png", "{split}/Ground/{id}.png"),
        ("all/{}.jpg", "all/{}.png", "all/{id}.jpg", "all/{id}.png"),
        ("all/{}.png", "all/{}_gm_seg.png", "all/{id}.png", "all/{id}_gm_seg.png"),
        ("raw/{}.tif", "labels/labels0000{}.png", "raw/{id}.tif", "labels/labels0000{id}.png"),
    ],
)
def test_common_layouts(tmp_path: Path, images: str, masks: str, image: str, mask: str) -> None:
    found = check(make(tmp_path, images, masks), image, mask, 3)
    assert found.layout["classes"] == {"background": 0, "foreground": 255}
    assert found.layout["channels"] == 3
    assert set(found.layout) == {"image", "mask", "groups", "classes", "ignore", "threshold", "channels"}


def test_an_ending_of_ones_own_stands_a_few_names_without_it(tmp_path: Path) -> None:
    make(tmp_path, "photos/{}.png", "masks/{}_lesion.png", ["a_1", "a_2", "a_3", "b"])
    picture(tmp_path / "masks/overview.png", BINARY)
    picture(tmp_path / "photos/b_2.png", COLOUR)
    found = discover_layout(tmp_path, strict=False)
    assert (found.layout["image"], found.layout["mask"]) == ("photos/{id}.png", "masks/{id}_lesion.png")
    assert found.unexplained == ("masks/overview.png", "photos/b_2.png")


def test_files_that_pair_by_their_names_are_masks_only_if_they_hold_few_values(tmp_path: Path) -> None:
    make(tmp_path, "photos/{}.png", "thumbs/{}_small.png", mask=COLOUR)
    with pytest.raises(DataError, match="No known layout fits"):
        discover_layout(tmp_path)


def test_side_by_side_in_splits(tmp_path: Path) -> None:
    make(tmp_path, "train/{}.png", "train/{}_mask.png")
    make(tmp_path, "Val/{}.png", "Val/{}_mask.png", ["1"])
    found = check(tmp_path, "{split}/{id}.png", "{split}/{id}_mask.png", 4)
    assert found.name == 'images and masks side by side, masks end in "_mask"'


def test_numbered_folders_are_groups(tmp_path: Path) -> None:
    for k in (1, 2, 10):
        make(tmp_path, f"Tile {k}/images/{{}}.jpg", f"Tile {k}/masks/{{}}.png")
    check(tmp_path, "Tile {group}/images/{id}.jpg", "Tile {group}/masks/{id}.png", 9)


def test_patient_folders_are_groups(tmp_path: Path) -> None:
    for name in ("anna", "bert"):
        make(tmp_path, f"scans/{name}/{name}_{{}}.tif", f"scans/{name}/{name}_{{}}_mask.tif")
    check(tmp_path, "scans/{group}/{id}.tif", "scans/{group}/{id}_mask.tif", 6)


def test_object_masks_in_a_folder_per_image(tmp_path: Path) -> None:
    for k, name in enumerate(("00ae", "0a7d", "ff01")):
        picture(tmp_path / name / "images" / f"{name}.png", COLOUR)
        for number in range(k + 1):
            picture(tmp_path / name / "masks" / f"{number:02d}.png", BINARY)
    found = check(tmp_path, "{id}/images/*.png", "{id}/masks/*.png", 3)
    assert found.name == "one folder per image, with a mask file per object"


def test_two_stacks(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "train-volume.tif", np.stack([GRAY] * 5), photometric="minisblack")
    tifffile.imwrite(tmp_path / "train-labels.tif", np.stack([BINARY] * 5), photometric="minisblack")
    tifffile.imwrite(tmp_path / "test-volume.tif", np.stack([GRAY] * 5), photometric="minisblack")
    found = check(tmp_path, "train-volume.tif[{id}]", "train-labels.tif[{id}]", 5, unexplained=1)
    assert (found.name, found.layout["channels"]) == ("two stacks of 5 pages", 1)


def test_a_folder_of_stacks_keeps_each_together(tmp_path: Path) -> None:
    for name in ("p", "q"):
        for folder, page in (("images", GRAY), ("labels", BINARY)):
            (tmp_path / folder).mkdir(exist_ok=True)
            tifffile.imwrite(tmp_path / folder / f"{name}.tif", np.stack([page] * 3), photometric="minisblack")
    found = check(tmp_path, "images/{id}.tif[{page}]", "labels/{id}.tif[{page}]", 6)
    assert found.layout["groups"] == "^(.*)/"


def test_class_masks_are_taken_before_object_masks(tmp_path: Path) -> None:
    make(tmp_path, "JPEGImages/{}.jpg", "SegmentationClass/{}.png")
    make(tmp_path, "JPEGImages/{}.jpg", "SegmentationObject/{}.png")
    check(tmp_path, "JPEGImages/{id}.jpg", "SegmentationClass/{id}.png", 3, unexplained=3)


def test_folders_called_images_are_taken_before_others(tmp_path: Path) -> None:
    make(tmp_path, "depth/{}.png", "masks/{}.png")
    make(tmp_path, "images/{}.png", "masks/{}.png")
    check(tmp_path, "images/{id}.png", "masks/{id}.png", 3, unexplained=3)


def test_more_files_win_and_the_rest_is_named(tmp_path: Path) -> None:
    make(tmp_path, "images/{}.jpg", "masks/{}.png")
    make(tmp_path, "extra/{}.png", "extra/{}_mask.png", ["7"])
    found = check(tmp_path, "images/{id}.jpg", "masks/{id}.png", 3, unexplained=2)
    assert "pairs 6 of 8 picture files; not used: extra/7.png, extra/7_mask.png; next best would pair 2" in found.reason


def test_formats_that_differ_from_file_to_file(tmp_path: Path) -> None:
    make(tmp_path, "images/{}.jpg", "masks/{}.png", ["1"])
    make(tmp_path, "images/{}.PNG", "masks/{}.gif", ["2"])
    check(tmp_path, "images/{id}.{jpg,png}", "masks/{id}.{gif,png}", 2)


@pytest.mark.parametrize(
    ("values", "classes", "ignore", "threshold"),
    [
        ([0, 1], {"background": 0, "foreground": 1}, [], None),
        ([0, 1, 2, 3], {"background": 0, "class_1": 1, "class_2": 2, "class_3": 3}, [], None),
        ([0, 1, 2, 255], {"background": 0, "class_1": 1, "class_2": 2}, [255], None),
        ([0, 128, 255], {"background": 0, "class_128": 128, "class_255": 255}, [], None),
        ([1, 2, 2, 3], {"background": 2, "class_1": 1, "class_3": 3}, [], None),
        ([*[0] * 40, *[255] * 40, *range(3, 40, 3)], {"background": 0, "foreground": 255}, [], 127),
    ],
)
def test_classes_by_value(
    tmp_path: Path, values: list[int], classes: dict[str, int], ignore: list[int], threshold: int | None
) -> None:
    found = discover_layout(make(tmp_path, "images/{}.jpg", "masks/{}.png", mask=np.array([values], np.uint8)))
    assert found.layout["classes"] == classes
    assert found.layout["ignore"] == ignore
    assert found.layout["threshold"] == threshold
    assert "(from 3 mask files)" in found.reason


def colours(*hexes: str) -> np.ndarray:
    return np.array([[tuple(bytes.fromhex(text)) for text in hexes]], np.uint8)


def test_classes_by_colour(tmp_path: Path) -> None:
    mask = colours("3C1098", "8429F6", "8429F6", "9B9B9B")
    found = discover_layout(make(tmp_path / "a", "images/{}.jpg", "masks/{}.png", mask=mask))
    assert found.layout["classes"] == {"background": "#8429F6", "class_1": "#3C1098", "class_2": "#9B9B9B"}
    mask = colours("FF0000", "FF0000", "000000", "00FF00")
    found = discover_layout(make(tmp_path / "b", "images/{}.jpg", "masks/{}.png", mask=mask))
    assert found.layout["classes"] == {"background": "#000000", "class_1": "#00FF00", "class_2": "#FF0000"}


def test_rare_specks_are_ignored_with_a_reason(tmp_path: Path) -> None:
    mask = np.repeat(colours("3C1098", "8429F6"), 4000, axis=1)
    make(tmp_path, "images/{}.jpg", "masks/{}.png", [str(k) for k in range(12)], mask)
    speck = mask.copy()
    speck[0, :3] = 0
    picture(tmp_path / "masks" / "5.png", speck)
    found = discover_layout(tmp_path)
    assert found.layout["ignore"] == ["#000000"]
    assert found.layout["classes"] == {"background": "#8429F6", "class_1": "#3C1098"}
    assert "#000000 ignored, 3 of 96000 pixels" in found.reason


def test_gray_masks_stored_as_colour_are_gray(tmp_path: Path) -> None:
    found = discover_layout(make(tmp_path, "images/{}.png", "masks/{}.png", mask=np.dstack([BINARY] * 3)))
    assert found.layout["classes"] == {"background": 0, "foreground": 255}


def test_channels(tmp_path: Path) -> None:
    root = make(tmp_path, "images/{}.png", "masks/{}.png")
    picture(root / "images" / "2.png", np.dstack([GRAY] * 3))
    assert discover_layout(root).layout["channels"] == 3
    for name in ("1", "2", "10"):
        picture(root / "images" / f"{name}.png", np.dstack([GRAY] * 3) if name == "1" else GRAY)
    assert discover_layout(root).layout["channels"] == 1


def nothing(root: Path) -> None:
    for name in ("a", "b", "c"):
        picture(root / "stuff" / f"{name}.png", COLOUR)


def two_folders_of_masks(root: Path) -> None:
    make(root, "images/{}.jpg", "masks_a/{}.png")
    make(root, "images/{}.jpg", "masks_b/{}.png")


def one_value(root: Path) -> None:
    make(root, "images/{}.jpg", "masks/{}.png", mask=BINARY * 0)


def a_photo_as_mask(root: Path) -> None:
    make(root, "images/{}.jpg", "masks/{}.png", mask=np.arange(256, dtype=np.uint8)[None])


def half(root: Path) -> None:
    make(root, "images/{}.jpg", "masks/{}.png")
    for k in range(20):
        picture(root / "unlabelled" / f"{k}.png", COLOUR)


def lost(root: Path) -> None:
    make(root, "images/{}.jpg", "masks/{}.png")
    (root / "masks" / "2.png").unlink()


def many_colours(root: Path) -> None:
    shades = np.arange(300, dtype=np.uint16)
    make(
        root,
        "images/{}.jpg",
        "masks/{}.png",
        mask=np.dstack([shades[None] % 256, shades[None] // 256, shades[None] % 7]).astype(np.uint8),
    )


def odd_channels(root: Path) -> None:
    make(root, "images/{}.tif", "masks/{}.png")
    tifffile.imwrite(root / "images" / "1.tif", np.zeros((2, 3, 5), np.uint8), photometric="minisblack", planarconfig="contig")


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (
            nothing,
            r"No known layout fits .*; seen there: stuff/a\.png, stuff/b\.png\. .*Type where their masks are: "
            r"data=auto data\.root=\S+ 'data\.image=\"stuff/\{id\}\.png\"' 'data\.mask=\"DIR/\{id\}\.png\"'",
        ),
        (two_folders_of_masks, r"fits 2 layouts equally well, 6 files each\..*masks_[ab].* or .*masks_[ab]"),
        (one_value, r"All 3 masks looked at, such as .*hold the value 0 alone"),
        (a_photo_as_mask, r"The masks hold 256 different values, from 0 to 255\..*data\.threshold=127"),
        (
            half,
            r"in images and masks, pairs 6 of 26 picture files.*At least half.*'data\.mask=\"masks/\{id\}\.png\"'",
        ),
        (lost, r"1 of 3 images have no mask: images/2\.jpg"),
        (many_colours, r"The masks hold 300 different colours.*Save the masks again without loss"),
        (odd_channels, r"different channels: .* has 3, .* has 5"),
    ],
)
def test_what_is_refused(tmp_path: Path, build: Callable[[Path], None], words: str) -> None:
    build(tmp_path)
    with pytest.raises(DataError, match=words):
        discover_layout(tmp_path)


def test_missing_and_empty_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        discover_layout(tmp_path / "gone")
    with pytest.raises(DataError, match="holds no files"):
        discover_layout(tmp_path)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataError, match=r"No known layout fits .*seen there: no picture"):
        discover_layout(tmp_path)


@pytest.mark.parametrize(
    ("name", "image", "mask", "count", "unexplained", "channels"),
    [
        ("liver", "{split}/{id}.png", "{split}/{id}_mask.png", 140, 0, 1),
        ("isbi", "{split}/image/{id}.png", "{split}/label/{id}.png", 30, 12, 1),
        (
            "skin",
            "ISIC-2017_Training_Data/{id}.jpg",
            "ISIC-2017_Training_Part1_GroundTruth/{id}_segmentation.png",
            98,
            4,
            3,
        ),
        ("landcover", "Tile {group}/images/{id}.jpg", "Tile {group}/masks/{id}.png", 32, 0, 3),
    ],
)
def test_real_data(real_data: Path, name: str, image: str, mask: str, count: int, unexplained: int, channels: int) -> None:
    found = check(real_data / name, image, mask, count, unexplained)
    assert found.layout["channels"] == channels
    if name == "landcover":
        assert found.layout["ignore"] == ["#000000"]
        expected = {"#8429F6", "#3C1098", "#6EC1E4", "#9B9B9B", "#E2A929", "#FEDD3A"}
        assert set(found.layout["classes"].values()) == expected
        assert found.layout["classes"]["background"] == "#8429F6"
    else:
        assert found.layout["classes"] == {"background": 0, "foreground": 255}


def test_an_ending_that_images_and_masks_share_is_part_of_the_name(tmp_path: Path) -> None:
    make(tmp_path, "images/{}_t1.png", "masks/{}_t1.png")
    found = discover_layout(tmp_path)
    assert (found.layout["image"], found.layout["mask"]) == ("images/{id}.png", "masks/{id}.png")
    assert "next best" not in found.reason
