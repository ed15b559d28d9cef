"""Generated faults, each found, named with its file and with the line that mends it; clean sets without a word."""

import shutil
import zlib
from functools import partial

import cv2
import numpy as np
import pytest

from fixtures.checks import OPEN, applied, only, read, serious, typed, write
from fixtures.configs import data_config
from segexp.checks.run import find_equal_images, quick_checks, run_checks, run_preflight_checks
from segexp.data import statistics
from segexp.data.datamodule import SegmentationDataModule
from segexp.data.io.images import write_png
from segexp.data.statistics import DecodedCase, image_stats
from segexp.data.transforms import Augment
from segexp.errors import ConfigError, DataError

quickly = partial(run_checks, alignment=False)


@pytest.mark.parametrize("family", ["organ", "membranes", "lesion"])
def test_a_clean_set_has_no_error_and_no_warning(copy, family):
    _, data = copy(family)
    for section in (data, data.changed(**OPEN)):
        found = run_checks(section)
        assert serious(found) == []
        assert not found.failed
        assert len(found.cases) == len(found.facts) == len(found.splits) == 24


def test_what_is_found_out(copy):
    root, data = copy()
    passed = []

    def track(seen, count):
        for each in seen:
            passed.append(count)
            yield each

    found = quickly(data.changed(**OPEN), track=track)
    assert passed == [24] * 24
    assert found.data.image == "{split}/{id}.png"
    assert found.data.classes == {"background": 0, "foreground": 255}
    assert found.layout.startswith(f'Layout of {root}: images and masks side by side, masks end in "_mask". image={{split}}')
    facts = found.facts["train/003"]
    assert (facts.size, facts.channels, facts.dtype) == ((128, 128), 1, "uint8")
    image, mask = read(root / "train/003.png"), read(root / "train/003_mask.png")
    assert (facts.low, facts.high) == (image.min(), image.max())
    assert facts.values == {"0": int((mask == 0).sum()), "255": int((mask == 255).sum())}
    assert facts.shares == pytest.approx([(mask == 0).mean(), (mask == 255).mean()])
    assert found.splits["val/000"] == "val"
    assert quickly(data).layout == f"Layout of {root}: as configured. image={{split}}/{{id}}.png mask={{split}}/{{id}}_mask.png"


def test_a_swapped_mask(copy):
    root, data = copy()
    first, second = root / "train/001_mask.png", root / "train/013_mask.png"
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    found = run_checks(data)
    assert serious(found) == ["swapped"]
    finding = only(found, "swapped")
    assert finding.level == "warning"
    assert finding.cases == ("train/001", "train/013")
    assert f"exchange the names of {first} and {second}" in finding.do


def test_an_inverted_mask(copy):
    root, data = copy()
    write(root / "train/004_mask.png", 255 - read(root / "train/004_mask.png"))
    found = run_checks(data)
    assert serious(found) == ["inverted"]
    assert only(found, "inverted").cases == ("train/004",)
    assert f"{root}/train/004_mask.png over {root}/train/004.png" in only(found, "inverted").do


def test_a_shifted_mask(copy):
    root, data = copy()
    write(root / "train/004_mask.png", np.roll(read(root / "train/004_mask.png"), (12, -8), (0, 1)))
    found = run_checks(data)
    assert serious(found) == ["shifted"]
    assert "train/004 looks shifted by about 12 pixels down and 8 pixels to the left" in only(found, "shifted").found


def test_a_value_that_no_class_claims(copy):
    root, data = copy()
    mask = read(root / "train/007_mask.png")
    mask[40:43, 50:60] = 254
    write(root / "train/007_mask.png", mask)
    found = quickly(data)
    assert serious(found) == ["unclaimed"]
    finding = only(found, "unclaimed")
    assert finding.cases == ("train/007",)
    assert f"The mask value 254 belongs to no class: 30 pixels in {root}/train/007_mask.png" in finding.found
    assert typed(finding.do) == {"classes.organ": [255, 254], "ignore": [254]}
    assert serious(quickly(applied(data, finding.do.partition(", or ")[0]))) == []
    assert serious(quickly(applied(data, finding.do.partition(", or ")[2]))) == []
    made_up = only(quickly(data.changed(**OPEN)), "unclaimed")
    assert made_up.level == "warning"
    assert "data=auto took the mask value 254 for a class of its own" in made_up.found
    assert serious(quickly(applied(data.changed(**OPEN), made_up.do))) == []


def test_soft_masks(copy):
    root, data = copy()
    for path in (root / "train").glob("*_mask.png"):
        write(path, cv2.GaussianBlur(read(path), (0, 0), 1.0))
    found = quickly(data)
    assert serious(found) == ["soft_mask"]
    finding = only(found, "soft_mask")
    assert finding.found.startswith("16 of 24 masks are soft")
    assert set(finding.cases) == {case.id for case in found.cases if case.split == "train"}
    assert typed(finding.do) == {"threshold": 127}
    again = quickly(applied(data, finding.do))
    assert serious(again) == []
    assert only(again, "soft_mask").found == "16 of 24 masks have soft borders, parted by data.threshold=127"


def test_soft_masks_of_a_few_values_do_not_become_classes(copy):
    root, data = copy()
    for path in root.glob("*/*_mask.png"):
        small = cv2.resize(read(path), (64, 64), interpolation=cv2.INTER_NEAREST)
        soft = cv2.resize(small, (128, 128), interpolation=cv2.INTER_LINEAR)
        write(path, (soft // 64 * 64).clip(0, 255))
    found = quickly(data.changed(**OPEN))
    assert serious(found) == []
    assert only(found, "soft_mask").found == "24 of 24 masks have soft borders, parted by data.threshold=96"
    assert (found.data.classes, found.data.threshold) == ({"background": 0, "foreground": 192}, 96)


def test_a_duplicate_across_the_split(copy):
    root, data = copy()
    for end in (".png", "_mask.png"):
        shutil.copy(root / f"train/002{end}", root / f"val/002{end}")
    found = quickly(data)
    assert serious(found) == ["duplicate"]
    finding = only(found, "duplicate")
    assert finding.level == "error"
    assert finding.cases == ("train/002", "val/002")
    assert f"({root}/val/002.png and its mask)" in finding.do


def test_a_copy_across_the_split_and_one_with_another_mask(copy):
    root, data = copy()
    write(root / "val/002.png", np.clip(read(root / "train/002.png") * 0.9 + 12, 0, 255).astype(np.uint8))
    shutil.copy(root / "train/002_mask.png", root / "val/002_mask.png")
    assert serious(quickly(data)) == ["near_duplicate"]
    shutil.copy(root / "train/002.png", root / "val/002.png")
    mask = read(root / "val/002_mask.png")
    mask[:, :3] = 255
    write(root / "val/002_mask.png", mask)
    found = quickly(data)
    assert serious(found) == ["duplicate", "contradiction"]
    assert f"{root}/train/002_mask.png against {root}/val/002_mask.png" in only(found, "contradiction").found


def test_a_shared_patient_across_the_split(copy):
    root, data = copy()
    table = root / "mapping.csv"
    rows = table.read_text().splitlines()
    table.write_text("\n".join(row[: row.rindex(",")] + ",A" if row.startswith("val,000,") else row for row in rows))
    found = quickly(data)
    assert serious(found) == ["leakage"]
    finding = only(found, "leakage")
    assert finding.level == "error"
    assert "A (8 in train, as train/000 and 1 in val, as val/000)" in finding.found
    assert typed(finding.do) == {"folds": 3, "fold": 0}
    assert serious(quickly(applied(data, finding.do))) == []


def test_unmatched_files(copy):
    root, data = copy()
    (root / "val/001.png").unlink()
    (root / "train/005_mask.png").rename(root / "train/005_msk.png")
    for section in (data, data.changed(**OPEN)):
        image, mask = (f for f in quickly(section).findings if f.kind == "unmatched")
        assert image.cases == ("train/005.png", "train/005_msk.png")
        assert "(for train/005.png it would be train/005_mask.png)" in image.found
        assert mask.cases == ("val/001_mask.png",)
        assert mask.do.endswith(f"correct the patterns, data.image ({data.image}) or data.mask ({data.mask})")


def test_wrong_size_and_broken_files(copy):
    root, data = copy()
    write(root / "train/004_mask.png", read(root / "train/004_mask.png")[:100])
    for name in ("train/006.png", "train/008_mask.png"):
        content = (root / name).read_bytes()
        (root / name).write_bytes(content[: len(content) // 2])
    (root / "val/000.png").write_bytes(b"")
    for section in (data, data.changed(**OPEN)):
        found = quickly(section)
        assert serious(found) == ["unreadable", "size"]
        assert only(found, "unreadable").cases == ("train/006", "train/008", "val/000")
        assert f"{root}/train/008_mask.png cannot be read" in only(found, "unreadable").found
        assert f"{root}/train/004_mask.png is 100x128 (height x width)" in only(found, "size").found
        assert "train/006" not in found.facts
        assert found.facts["train/008"].values == {}


def test_many_faults_at_once_are_all_told(copy):
    root, data = copy()
    write(root / "train/004_mask.png", 255 - read(root / "train/004_mask.png"))
    write(root / "train/001_mask.png", np.minimum(read(root / "train/001_mask.png"), 254))
    (root / "train/009.png").write_bytes(b"no picture")
    (root / "val/003_mask.png").unlink()
    shutil.copy(root / "train/012.png", root / "val/001.png")
    found = run_checks(data)
    assert {"unclaimed", "unreadable", "unmatched", "duplicate"} <= set(serious(found))
    assert ("train/004",) in [finding.cases for finding in found.findings if finding.kind == "inverted"]
    assert [finding.level for finding in found.findings] == sorted(finding.level for finding in found.findings)


def test_images_and_masks_exchanged(copy):
    _, data = copy()
    found = quickly(data.changed(image=data.mask, mask=data.image))
    assert serious(found) == ["exchanged"]
    assert typed(only(found, "exchanged").do) == {"image": data.image, "mask": data.mask}


def test_masks_of_other_values_than_typed(copy):
    _, data = copy()
    found = quickly(data.changed(classes={"background": 0, "organ": 1}))
    assert serious(found) == ["unclaimed"]
    assert only(found, "unclaimed").do == "Type data.classes.organ=255"


def test_no_folder_no_layout_no_case(copy, tmp_path):
    _, data = copy()
    missing = quickly(data.changed(root=str(tmp_path / "none")))
    assert serious(missing) == ["layout"]
    assert "Type data.root=DIR" in only(missing, "layout").do
    (tmp_path / "other").mkdir()
    write(tmp_path / "other" / "x.png", np.zeros((4, 4), np.uint8))
    assert "No known layout fits" in only(quickly(data.changed(**OPEN, root=str(tmp_path / "other"))), "layout").found
    nothing = quickly(data.changed(image="x/{id}.png", mask="y/{id}.png", groups=None))
    assert serious(nothing) == ["no_case", "unused"]
    assert nothing.cases == []


def test_a_wrong_key_is_an_error_of_the_command_line(copy):
    _, data = copy()
    with pytest.raises(ConfigError, match="unknown field"):
        quickly(data.changed(image="{name}.png"))
    with pytest.raises(ConfigError, match="Both a and b claim"):
        quickly(data.changed(classes={"a": 0, "b": 0}))


def test_a_split_that_cannot_be_made_is_a_finding(copy):
    _, data = copy()
    found = quickly(data.changed(folds=40, fold=0))
    assert serious(found) == ["split"]
    assert found.splits == {}
    assert len(found.facts) == 24


# Classes that may overlap --------------------------------------------------------------------------------------------------


@pytest.fixture
def overlapping(cells, tmp_path):
    """A copy of cells with nuclei inside, and its data section."""
    root = shutil.copytree(cells / "data", tmp_path / "cells")
    patterns = {"cell": "{id}/cell.png", "nucleus": "{id}/nucleus_*.png"}
    classes = {"background": 0, "cell": 255, "nucleus": 255}
    labels = {"labels": "overlapping", "mask": patterns, "optional_masks": ["nucleus"], "classes": classes}
    base = {"groups": None, "ignore": [], "threshold": None, "size": None, "crop": None, "val_fraction": 0.25}
    rest = {"test_fraction": 0.0, "folds": None, "fold": None, "channels": 1, "image": "{id}/image.png"}
    return root, data_config({**base, **rest, **labels}, name="cells", root=str(root))


def test_overlapping_classes_are_examined_by_themselves(overlapping):
    root, data = overlapping
    found = run_checks(data)
    assert serious(found) == []
    facts = found.facts["c1"]
    cell = read(root / "c1/cell.png")
    assert facts.shares[:2] == pytest.approx([(cell == 0).mean(), (cell == 255).mean()])
    assert 0 < facts.shares[2] < facts.shares[1]
    assert found.facts["c7"].shares[2] == 0, "without nuclei"


def test_faults_in_the_files_of_one_class_are_named_with_it(overlapping):
    root, data = overlapping
    spoiled = read(root / "c1/nucleus_1.png")
    spoiled[:3] = 7
    cv2.imwrite(str(root / "c1/nucleus_1.png"), spoiled)
    (root / "c2/cell.png").unlink()
    cv2.imwrite(str(root / "c3/cell.png"), read(root / "c3/cell.png")[:32])
    found = quickly(data)
    texts = {finding.kind: finding for finding in found.findings if finding.level == "error"}
    assert set(texts) == {"unclaimed", "unmatched", "size"}
    assert "192 pixels in" in texts["unclaimed"].found
    assert "claimed are 0 (background), 255 (nucleus)" in texts["unclaimed"].found
    assert "'data.classes.nucleus=[255, 7]'" in texts["unclaimed"].do
    assert texts["unmatched"].found == "1 of 8 images has no mask: c2/image.png (for c2/image.png it would be c2/cell.png)"
    assert "data.mask ({id}/cell.png for cell and {id}/nucleus_*.png for nucleus)" in texts["unmatched"].do
    assert texts["size"].cases == ("c3",)


def test_the_layout_of_overlapping_classes_is_not_guessed(overlapping):
    _, data = overlapping
    with pytest.raises(ConfigError, match=r"data\.labels=overlapping with a layout that is to be found out"):
        run_checks(data.changed(image=None))


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


def write_quick(root, name, image=None, mask=None, seed=0):
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
            write_quick(tmp_path, f"{split}/{n}")
    return tmp_path


def ready(root, **keys):
    data = data_config(DATA | {"root": str(root), "batch_size": 2} | keys)
    made = SegmentationDataModule(data, Augment(crop=data.crop))
    made.setup()
    return made


def found(root, **data):
    return {(finding.level, finding.kind): finding for finding in quick_checks(ready(root, **data))}


def test_sound_data_are_passed_without_a_word(root):
    assert quick_checks(ready(root)) == []


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
        write_quick(root, name, image=np.full((32, 32), 7, np.uint8))
    assert quick_checks(ready(root)) == []


def test_the_same_checksum_is_not_yet_the_same_picture(root, monkeypatch):
    made = ready(root)
    made.image_stats = [statistics.ImageStats(1, frozenset({1})) for _ in made.image_stats]
    assert set(find_equal_images(made)[0]) == {made.cases[0].id}
    assert quick_checks(made) == []


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
        write_quick(root, f"train/{n}", mask=np.zeros((32, 32), np.uint8))
    findings = found(root)
    assert findings["warning", "empty"].found.startswith("10 of 16 training masks have no foreground: train/10")
    assert len(findings["warning", "empty"].cases) == 10


def test_very_little_foreground_is_said_with_the_line_to_type(root):
    for n in range(6):
        mask = np.zeros((32, 32), np.uint8)
        mask[5, 5:9] = 255
        write_quick(root, f"train/{n}", mask=mask)
    assert "Type data.crop=32 data.foreground_crops=0.33," in found(root)["warning", "rare"].do
    cropped = found(root, crop=16)["warning", "rare"]
    assert cropped.found == "Only 0.39 % of the training pixels are foreground"
    assert "Type data.foreground_crops=0.33" in cropped.do


def test_a_glance_tells_pictures_apart_and_empty_masks():
    image, mask = np.arange(64, dtype=np.uint8).reshape(8, 8, 1), np.zeros((8, 8), np.uint8)
    first = image_stats(DecodedCase(image, mask))
    assert first == image_stats(DecodedCase(image.copy(), mask))
    others = [image + 1, image.reshape(4, 16, 1), image.astype(np.uint16), np.flipud(image)]
    assert all(image_stats(DecodedCase(other, mask)).checksum != first.checksum for other in others)
    assert first.empty
    assert image_stats(DecodedCase(image, np.full((8, 8), 255, np.uint8))).empty
    mask[3, 3] = 1
    assert not image_stats(DecodedCase(image, mask)).empty


def test_errors_are_refused_unless_they_are_allowed_and_notes_are_kept_for_the_check(root):
    for end in ("", "_mask"):
        shutil.copy(root / f"train/2{end}.png", root / f"val/7{end}.png")
    said = []
    with pytest.raises(
        DataError, match=r"train/2 = val/7. What is scored must be new to the network\. .* data.allow_leakage=true"
    ):
        run_preflight_checks(ready(root), said.append)
    assert said == []
    run_preflight_checks(ready(root, allow_leakage=True), said.append)
    assert [text.partition(":")[0] for text in said] == ["Error"]
