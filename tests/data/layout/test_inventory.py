"""What lies in a folder, with all that is wrong about it, where training stops at the first problem."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from segexp.data.io.images import write_png
from segexp.data.layout.discovery import discover_layout
from segexp.data.layout.infer_classes import infer_channels, infer_classes
from segexp.data.layout.inventory import take_inventory
from segexp.data.layout.pairing import find_cases
from segexp.errors import ConfigError, DataError
from segexp.types import Source

SIDE = ("{split}/{id}.png", "{split}/{id}_mask.png")


def tree(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_what_is_right_is_what_training_finds(tmp_path):
    tree(tmp_path, *(f"{split}/{n}{end}.png" for split in ("train", "val") for n in (2, 10, 1) for end in ("", "_mask")))
    found = take_inventory(tmp_path, *SIDE, groups=r"(\d+)$")
    assert list(found.cases) == find_cases(tmp_path, *SIDE, groups=r"(\d+)$")
    assert [case.id for case in found.cases][:3] == ["train/1", "train/2", "train/10"]
    assert (found.lone_images, found.lone_masks, found.unused, found.problems, found.expected) == ((), (), (), (), "")


def test_everything_that_is_wrong_at_once(tmp_path):
    tree(tmp_path, "train/a.png", "train/a_mask.png", "train/b.png", "train/c_mask.png", "extra/d.png", "train/deep/er/e.jpg")
    tree(tmp_path, "Training/a.png", "train/notes.txt")
    found = take_inventory(tmp_path, *SIDE)
    assert [case.id for case in found.cases] == ["train/a"]
    assert found.lone_images == ("train/b.png",)
    assert found.expected == "train/b_mask.png"
    assert found.lone_masks == ("train/c_mask.png",)
    assert [str(problem).split(". ")[0] for problem in found.problems] == [
        "'extra' in extra/d.png is not a split",
        "train/a.png and Training/a.png both have the id train/a"
        if found.cases[0].image.path.parent.name == "train"
        else "Training/a.png and train/a.png both have the id train/a",
    ]
    assert set(found.unused) == {"extra/d.png", "train/deep/er/e.jpg"}
    with pytest.raises(DataError):
        find_cases(tmp_path, *SIDE)


def test_a_challenge_without_test_masks(tmp_path):
    tree(tmp_path, "train/images/a.png", "train/masks/a.png", "test/images/b.png", "test/images/c.png")
    found = take_inventory(tmp_path, "{split}/images/{id}.png", "{split}/masks/{id}.png")
    assert [case.id for case in found.cases] == ["train/a"]
    assert found.unlabelled == ("test/images/b.png", "test/images/c.png")
    assert found.lone_images == found.unused == ()


def test_stacks_that_are_broken_or_of_other_length(tmp_path):
    for name, pages in (("a", 3), ("b", 4)):
        for folder, count in (("images", pages), ("masks", 3)):
            (tmp_path / folder).mkdir(exist_ok=True)
            tifffile.imwrite(tmp_path / folder / f"{name}.tif", np.zeros((count, 8, 8), np.uint8), photometric="minisblack")
    (tmp_path / "images/c.tif").write_bytes(b"II*\0broken")
    found = take_inventory(tmp_path, "images/{id}.tif[{page}]", "masks/{id}.tif[{page}]")
    assert len(found.cases) == 6
    assert found.lone_images == ("images/b.tif[3]",)
    assert [problem.found.rpartition("/")[2][:5] for problem in found.problems] == ["c.tif", "b.tif"]


def test_groups_that_do_not_fit(tmp_path):
    tree(tmp_path, "train/a1.png", "train/a1_mask.png", "train/b.png", "train/b_mask.png")
    found = take_inventory(tmp_path, *SIDE, groups=r"a\d")
    assert [case.group for case in found.cases] == [None, None]
    assert "1 cases have no group: train/b" in found.problems[0].found
    with pytest.raises(ConfigError, match="no regular expression"):
        take_inventory(tmp_path, *SIDE, groups="(")


def test_what_stops_it_all_the_same(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        take_inventory(tmp_path / "none", *SIDE)
    with pytest.raises(DataError, match="holds no files"):
        take_inventory(tmp_path, *SIDE)
    tree(tmp_path, "a.png")
    with pytest.raises(ConfigError, match="no field in common"):
        take_inventory(tmp_path, "{id}.png", "m.tif[{page}]")


def pictures(root: Path) -> Path:
    mask = np.zeros((8, 8), np.uint8)
    mask[:4] = 255
    for n in range(4):
        write_png(root / f"images/{n}.png", np.full((8, 8), n, np.uint8))
        write_png(root / f"masks/{n}.png", mask)
    return root


def test_a_broken_layout_is_recognised_all_the_same(tmp_path):
    root = pictures(tmp_path)
    (root / "masks/1.png").write_bytes(b"")
    (root / "masks/3.png").unlink()
    with pytest.raises(DataError):
        discover_layout(root)
    found = discover_layout(root, strict=False)
    assert (found.layout["image"], found.layout["mask"]) == ("images/{id}.png", "masks/{id}.png")
    assert found.layout["classes"] == {"background": 0, "foreground": 255}
    assert found.problems == ()
    assert found.unexplained == ("images/3.png",)


def test_what_cannot_be_told_stays_open(tmp_path):
    root = pictures(tmp_path)
    for path in root.glob("*/*.png"):
        path.write_bytes(b"")
    found = discover_layout(root, strict=False)
    assert (found.layout["classes"], found.layout["channels"]) == (None, None)
    assert [problem.found.split(" can be read")[0] for problem in found.problems] == ["None of the 4 masks", "No image"]
    assert "The masks do not tell the classes" in found.reason


def test_unreadable_files_are_passed_over_when_asked_to(tmp_path):
    root = pictures(tmp_path)
    (root / "masks/0.png").write_bytes(b"")
    (root / "images/0.png").write_bytes(b"")
    masks = [[Source(root / f"masks/{n}.png")] for n in range(4)]
    with pytest.raises(DataError, match=r"0\.png cannot be read"):
        infer_classes(masks)
    assert infer_classes(masks, strict=False).classes == {"background": 0, "foreground": 255}
    images = [Source(root / f"images/{n}.png") for n in range(4)]
    with pytest.raises(DataError, match=r"0\.png cannot be read"):
        infer_channels(images)
    assert infer_channels(images, strict=False) == 1


def test_a_channel_taken_for_transparency_is_said(tmp_path):
    root = pictures(tmp_path)
    for n in range(4):
        cv2.imwrite(str(root / f"images/{n}.png"), np.arange(256, dtype=np.uint8).reshape(8, 8, 4))
    found = discover_layout(root)
    assert found.layout["channels"] == 3
    assert found.reason.endswith(". A channel declared as transparency is left out; data.channels=4 reads it")
    assert "transparency" not in discover_layout(root, known=["channels"]).reason


def test_an_id_that_is_read_alike_from_every_mask_is_said_with_patterns_that_pair(tmp_path):
    for n in range(3):
        for ending in ("", "_gm_seg"):
            write_png(tmp_path / f"a_{n}{ending}.png", np.full((16, 16), 255 * (n % 2), np.uint8))
    text = "({id} in data.mask={id}_*seg.png is read as a from a_0_gm_seg.png)"
    typed = "'data.image=\"{id}.png\"' 'data.mask=\"{id}_gm_seg.png\"'"
    found = take_inventory(tmp_path, "{id}.png", "{id}_*seg.png")
    assert (found.misread.strip(), found.better.overrides) == (text, typed)
    with pytest.raises(DataError) as caught:
        find_cases(tmp_path, "{id}.png", "{id}_*seg.png")
    assert text in str(caught.value)
    assert f"or type {typed};" in str(caught.value)
    with pytest.raises(DataError, match=r"matches data\.image=x/\{id\}\.png; .*Type 'data\.image=\"\{id\}\.png\"'"):
        find_cases(tmp_path, "x/{id}.png", "{id}_seg.png")
