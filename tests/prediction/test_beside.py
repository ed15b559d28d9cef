"""Which files are masks of other files."""

from pathlib import Path

import pytest

from segexp.prediction.beside import by_patterns, masks_beside

ROOT = Path("/data/liver/val")
LIVER = {"image": "{split}/{id}.png", "mask": "{split}/{id}_mask.png"}


def masks(names, data, root=ROOT):
    return masks_beside(Path(root), names, data)


def test_side_by_side_by_the_patterns_of_training():
    names = ["000.png", "000_mask.png", "001.png", "002_mask.png"]
    assert masks(names, LIVER) == {"000.png": ("000_mask.png",)}


@pytest.mark.parametrize(("root", "prefix"), [("/d", "liver/val/"), ("/d/liver", "val/"), ("/d/liver/val", "")])
def test_the_input_may_be_the_root_a_folder_in_it_or_one_above(root, prefix):
    names = [f"{prefix}000.png", f"{prefix}000_mask.png"]
    assert masks(names, LIVER, root) == {names[0]: (names[1],)}


def test_two_folders():
    data = {"image": "Tile {group}/images/{id}.jpg", "mask": "Tile {group}/masks/{id}.png"}
    names = ["Tile 1/images/a.jpg", "Tile 1/masks/a.png", "Tile 2/images/a.jpg", "Tile 2/masks/b.png"]
    assert masks(names, data, "/land") == {names[0]: (names[1],)}
    assert masks(["a.jpg"], data, "/land/Tile 1/images") == {}


def test_several_masks_of_one_image():
    data = {"image": "{id}/images/*.png", "mask": "{id}/masks/*.png"}
    names = ["x/images/x.png", "x/masks/1.png", "x/masks/2.png"]
    assert masks(names, data, "/cells") == {"x/images/x.png": ("x/masks/1.png", "x/masks/2.png")}


def test_two_stacks_that_their_patterns_name():
    data = {"image": "train-volume.tif[{id}]", "mask": "train-labels.tif[{id}]"}
    assert masks(["train-labels.tif", "train-volume.tif", "other.tif"], data, "/isbi") == {
        "train-volume.tif": ("train-labels.tif",)
    }


def test_another_format_alone_makes_no_mask():
    data = {"image": "{id}.jpg", "mask": "{id}.png"}
    assert masks(["a.png", "b.png"], data, "/photos") == {}
    assert masks(["a.png", "a.jpg", "b.png"], data, "/photos") == {"a.jpg": ("a.png",)}


@pytest.mark.parametrize("ending", ["_mask", "_segmentation", "_label", "_seg", "-mask"])
def test_common_endings_need_no_pattern(ending):
    names = ["s/a.jpg", f"s/a{ending}.png", f"b{ending}.png", "a.png"]
    assert masks(names, {"image": "x/{id}.tif", "mask": "y/{id}.tif"}) == {"s/a.jpg": (f"s/a{ending}.png",)}
    assert masks(names, {}) == {"s/a.jpg": (f"s/a{ending}.png",)}


def test_short_endings_say_too_little():
    assert masks(["eye.png", "eye_L.png"], {}) == {}


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("images/a.jpg", "masks/a.png"),
        ("x/image/a.jpg", "x/label/a.png"),
        ("image_7.png", "mask_7.png"),
        ("train-volume.tif", "train-labels.tif"),
    ],
)
def test_words_that_stand_for_each_other(image, mask):
    assert masks([image, mask], {}) == {image: (mask,)}
    assert masks([mask], {}) == {}
    assert masks([image, f"other/{mask}"], {}) == {}


def test_masks_of_several_classes():
    data = {"image": "{id}/image.png", "mask": {"cell": "{id}/cell.png", "nucleus": "{id}/nucleus_*.png"}}
    names = ["a/image.png", "a/cell.png", "a/nucleus_1.png", "a/nucleus_2.png", "b/image.png", "b/cell.png", "c/cell.png"]
    assert masks(names, data, "/cells") == {
        "a/image.png": ("a/cell.png", "a/nucleus_1.png", "a/nucleus_2.png"),
        "b/image.png": ("b/cell.png",),
    }
    assert by_patterns(Path("/cells"), names, data, "nucleus") == {"a/image.png": ("a/nucleus_1.png", "a/nucleus_2.png")}
    flat = {"image": "{id}.png", "mask": {"cell": "{id}_cell.png", "nucleus": "{id}_nucleus.png"}}
    assert masks(["a.png", "a_cell.png", "a_nucleus.png"], flat, "/x") == {"a.png": ("a_cell.png", "a_nucleus.png")}
