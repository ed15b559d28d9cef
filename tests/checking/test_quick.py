"""The cheap part of the check, on data that were just set up: duplicates, groups, classes."""

import shutil
import zlib

import numpy as np
import pytest

from segexp.checking.quick import equal_pictures, look_over, quick
from segexp.data import inspect
from segexp.data.augment import Augment
from segexp.data.datamodule import SegmentationDataModule
from segexp.data.files.images import write_png
from segexp.data.inspect import Picture, glance
from segexp.errors import DataError

DATA = {
    "name": "made",
    "image": "{split}/{id}.png",
    "mask": "{split}/{id}_mask.png",
    "groups": None,
    "classes": {"background": 0, "thing": 255},
    "ignore": [],
    "threshold": None,
    "channels": 1,
    "size": None,
    "crop": None,
    "repeat": 1,
    "normalize": "dataset",
    "val_fraction": 0.2,
    "test_fraction": 0.0,
    "folds": None,
    "fold": None,
    "cache": "ram",
}


def write(root, name, image=None, mask=None, seed=0):
    if image is None:
        image = np.random.default_rng([seed, zlib.crc32(name.encode())]).integers(0, 255, (32, 32), np.uint8)
    if mask is None:
        mask = np.zeros((32, 32), np.uint8)
        mask[8:20, 8:20] = 255
    write_png(root / f"{name}.png", image)
    write_png(root / f"{name}_mask.png", mask)


@pytest.fixture
def root(tmp_path):
    for split, count in (("train", 6), ("val", 3)):
        for n in range(count):
            write(tmp_path, f"{split}/{n}")
    return tmp_path


def ready(root, **data):
    made = SegmentationDataModule(DATA | {"root": str(root)} | data, Augment(crop=data.get("crop")), batch_size=2)
    made.setup()
    return made


def found(root, **data):
    return {(finding.level, finding.kind): finding for finding in quick(ready(root, **data))}


def test_sound_data_are_passed_without_a_word(root):
    assert quick(ready(root)) == []


@pytest.mark.parametrize("cache", ["ram", "disk", "none"])
def test_a_training_picture_in_the_validation_split_is_an_error(root, cache, monkeypatch, tmp_path_factory):
    monkeypatch.setenv("SEGEXP_CACHE", str(tmp_path_factory.mktemp("cache")))
    for end in ("", "_mask"):
        shutil.copy(root / f"train/2{end}.png", root / f"val/7{end}.png")
    for _ in range(2):  # the second time from the cache
        findings = found(root, cache=cache)
        assert list(findings) == [("error", "duplicate")]
        assert findings["error", "duplicate"].cases == ("train/2", "val/7")


def test_a_picture_twice_in_training_is_a_warning(root):
    for end in ("", "_mask"):
        shutil.copy(root / f"train/2{end}.png", root / f"train/9{end}.png")
    assert list(found(root)) == [("warning", "duplicate")]


def test_equal_pictures_with_different_masks_contradict_each_other(root):
    shutil.copy(root / "train/2.png", root / "train/9.png")
    write_png(root / "train/9_mask.png", np.tri(32, dtype=np.uint8) * 255)
    assert ("error", "contradiction") in found(root)


def test_pictures_of_one_value_are_no_duplicates(root):
    for name in ("train/8", "train/9", "val/9"):
        write(root, name, image=np.full((32, 32), 7, np.uint8))
    assert quick(ready(root)) == []


def test_the_same_checksum_is_not_yet_the_same_picture(root, monkeypatch):
    made = ready(root)
    made.glances = [inspect.Glance(1, False) for _ in made.glances]
    assert set(equal_pictures(made)[0]) == {made.cases[0].id}
    assert quick(made) == []


def test_a_group_in_both_splits_is_an_error(root):
    rows = "".join(f"{split},{n},p{n % 4}\n" for split, count in (("train", 6), ("val", 3)) for n in range(count))
    (root / "who.csv").write_text("split,name,patient\n" + rows)
    findings = found(root, groups={"file": "who.csv", "match": "{split}/{name}", "column": "patient"})
    assert list(findings) == [("error", "leakage")]
    assert "p0" in findings["error", "leakage"].found


def test_what_training_masks_lack_is_said(root):
    findings = found(root, classes={"background": 0, "thing": 255, "other": 9})
    assert findings["warning", "absent"].found == "No training mask has a pixel of other"
    for n in range(10, 20):
        write(root, f"train/{n}", mask=np.zeros((32, 32), np.uint8))
    findings = found(root)
    assert findings["warning", "empty"].found.startswith("10 of 16 training masks have no foreground: train/10")
    assert len(findings["warning", "empty"].cases) == 10


def test_very_little_foreground_is_said_with_the_line_to_type(root):
    for n in range(6):
        mask = np.zeros((32, 32), np.uint8)
        mask[5, 5:9] = 255
        write(root, f"train/{n}", mask=mask)
    assert "data.crop=256 data.foreground_crops=0.33" in found(root)["warning", "rare"].do
    cropped = found(root, crop=16)["warning", "rare"]
    assert cropped.found == "Only 0.39 % of the training pixels are foreground"
    assert "Type data.foreground_crops=0.33" in cropped.do


def test_a_glance_tells_pictures_apart_and_empty_masks():
    image, mask = np.arange(64, dtype=np.uint8).reshape(8, 8, 1), np.zeros((8, 8), np.uint8)
    first = glance(Picture(image, mask))
    assert first == glance(Picture(image.copy(), mask))
    others = [image + 1, image.reshape(4, 16, 1), image.astype(np.uint16), np.flipud(image)]
    assert all(glance(Picture(other, mask)).checksum != first.checksum for other in others)
    assert first.empty
    assert glance(Picture(image, np.full((8, 8), 255, np.uint8))).empty
    mask[3, 3] = 1
    assert not glance(Picture(image, mask)).empty


def test_errors_are_refused_unless_they_are_allowed_and_notes_are_kept_for_the_check(root):
    for end in ("", "_mask"):
        shutil.copy(root / f"train/2{end}.png", root / f"val/7{end}.png")
    said = []
    with pytest.raises(
        DataError, match=r"train/2 = val/7. What is scored must be new to the network\. .* data.allow_leakage=true"
    ):
        look_over(ready(root), said.append)
    assert said == []
    look_over(ready(root, allow_leakage=True), said.append)
    assert [text.partition(":")[0] for text in said] == ["Error"]
