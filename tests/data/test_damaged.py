"""Files that cannot be read, by check, train and predict: all of them are named, and the override that is printed works."""

import csv
import re
import shlex
import shutil

import numpy as np
import pytest
import tifffile

from fixtures.configs import data_config
from fixtures.prediction import predict, ramp, run, save  # noqa: F401
from segexp.checks.run import run_checks
from segexp.data.damaged import UnreadableFilesError, exclude_override
from segexp.data.datamodule import SegmentationDataModule
from segexp.data.io.images import read_image
from segexp.data.io.raw import max_pixels
from segexp.data.layout.discovery import discover_layout
from segexp.data.layout.inventory import take_inventory
from segexp.data.layout.pairing import find_cases
from segexp.errors import ConfigError, DataError, UnreadableError
from segexp.types import Source

CLASSES = {
    "classes": {"background": 0, "liver": 255},
    "ignore": [],
    "threshold": None,
    "channels": 1,
    "crop": None,
    "batch_size": 2,
}
SIDE = ("{split}/{id}.png", "{split}/{id}_mask.png")


@pytest.fixture
def damaged(slices, tmp_path):
    """Ten cases of which an image and a mask are cut off; the data section."""
    root = shutil.copytree(slices, tmp_path / "pictures")
    for name in ("train/002.png", "val/001_mask.png"):
        (root / name).write_bytes((root / name).read_bytes()[:200])
    return root, data_config(
        {"image": SIDE[0], "mask": SIDE[1], "groups": None, "size": None, **CLASSES}, name="cut", root=str(root)
    )


def excluded(text):
    """The files that a printed override leaves out."""
    return re.search(r"'data\.exclude=\[(.*?)\]'", text)[1].split(", ")


def test_training_names_all_files_and_what_leaves_them_out(damaged):
    root, data = damaged
    with pytest.raises(DataError) as error:
        SegmentationDataModule(data).setup()
    assert error.value.found == (
        f"2 files cannot be used: {root}/train/002.png cannot be read (image file is truncated); "
        f"{root}/val/001_mask.png cannot be read (image file is truncated)"
    )
    assert excluded(error.value.do) == ["train/002.png", "val/001_mask.png"]
    module = SegmentationDataModule(data.changed(exclude=excluded(error.value.do)))
    module.setup()
    assert {case.id for case in module.cases}.isdisjoint({"train/002", "val/001"})
    assert len(module.cases) == 8


def test_check_names_all_files_and_what_leaves_them_out(damaged):
    root, data = damaged
    for section in (data, data.changed(image=None, mask=None, classes=None, channels=None)):
        (finding,) = [each for each in run_checks(section, alignment=False).findings if each.kind == "unreadable"]
        assert finding.found.startswith("2 files cannot be used: ")
        assert f"{root}/val/001_mask.png cannot be read" in finding.found
        assert excluded(finding.do) == ["train/002.png", "val/001_mask.png"]
        again = run_checks(section.changed(exclude=excluded(finding.do)), alignment=False)
        assert len(again.cases) == 8
        assert not [each for each in again.findings if each.kind in ("unreadable", "unmatched")]


def test_damaged_stacks_and_pages_are_in_one_message(tmp_path):
    pages = np.tile(np.arange(32, dtype=np.uint8) * 8, (3, 32, 1))
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
        for name in "abcd":
            values = pages if folder == "images" else np.uint8(255) * (pages > 100)
            tifffile.imwrite(tmp_path / folder / f"{name}.tif", values, photometric="minisblack")
    (tmp_path / "images" / "a.tif").write_bytes(b"II*\0\0\0\0\0")
    tifffile.imwrite(tmp_path / "images" / "b.tif", pages.astype(np.complex64), photometric="minisblack")
    patterns = {"image": "images/{id}.tif[{page}]", "mask": "masks/{id}.tif[{page}]"}
    data = data_config({**patterns, "groups": None, "size": None, **CLASSES}, name="stacks", root=str(tmp_path))
    with pytest.raises(UnreadableFilesError) as error:
        SegmentationDataModule(data).setup()
    assert error.value.found == (
        f"2 files cannot be used: {tmp_path}/images/a.tif cannot be read (it has no page); "
        f"{tmp_path}/images/b.tif[0] cannot be read (it holds 1024 values of type complex64, and real numbers are read)"
    )
    left = find_cases(tmp_path, *patterns.values(), exclude=excluded(error.value.do))
    assert {case.id.split("/")[0] for case in left} == {"c", "d"}
    layout = discover_layout(tmp_path, strict=False)  # the first pair does not decide
    assert layout.layout["image"] == "images/{id}.tif[{page}]"


def test_partners_are_left_out_in_both_directions(cells, tmp_path, caplog):
    patterns = ("{id}/image.png", {"cell": "{id}/cell.png", "nucleus": "{id}/nucleus_*.png"})
    root = cells / "data"
    for name in ("c2/image.png", "c2/cell.png", "c2/nucleus_1.png"):
        cases = find_cases(root, *patterns, optional=["nucleus"], exclude=[name])
        assert [case.id for case in cases] == [f"c{n}" for n in range(8) if n != 2]
        assert list(take_inventory(root, *patterns, optional=["nucleus"], exclude=[name]).cases) == cases
    assert caplog.text == ""
    assert len(find_cases(root, *patterns, optional=["nucleus"], exclude=["c9/image.png"])) == 8
    assert "data.exclude names c9/image.png, which the data folder does not hold" in caplog.text


def test_the_override_keeps_what_was_excluded_and_odd_names(tmp_path):
    line = exclude_override([f"{tmp_path}/a, b'.png", f"{tmp_path}/001.png"], tmp_path, ["old.png"])
    assert shlex.split(line) == ['data.exclude=[old.png, "a, b\'.png", "001.png"]']


def test_an_empty_folder_named_as_an_image_is_reported(damaged):
    root, _ = damaged
    (root / "train" / "003.png").unlink()
    (root / "train" / "003.png").mkdir()
    assert "train/003" in {case.id for case in find_cases(root, *SIDE)}
    (root / "train" / "003.png" / "inside.png").touch()
    assert take_inventory(root, *SIDE).lone_masks == ("train/003_mask.png",)


def test_a_limit_on_pixels_can_be_raised_and_is_checked(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((20, 30), np.uint8))
    monkeypatch.setenv("SEGEXP_MAX_PIXELS", "599")
    with pytest.raises(
        UnreadableError, match=r"a.tif declares 20x30 pixels .*more than the 599 of.*export SEGEXP_MAX_PIXELS=600"
    ):
        read_image(Source(tmp_path / "a.tif"))
    monkeypatch.setenv("SEGEXP_MAX_PIXELS", "600")
    assert read_image(Source(tmp_path / "a.tif")).shape == (20, 30, 1)
    monkeypatch.setenv("SEGEXP_MAX_PIXELS", "many")
    with pytest.raises(ConfigError, match="SEGEXP_MAX_PIXELS is 'many'"):
        max_pixels()


def test_prediction_goes_on_and_names_what_it_left(run, predict, tmp_path, ramp, save):  # noqa: F811
    folder = tmp_path / "mixed"
    save(folder / "good.png", ramp())
    (folder / "no_page.tif").write_bytes(b"II*\0\0\0\0\0")
    (folder / "folder.png").mkdir()
    (folder / "dangling.png").symlink_to("nowhere.png")
    tifffile.imwrite(folder / "complex.tif", np.ones((20, 20), np.complex64))
    told = predict(f"checkpoint={run}", "input=mixed", "output=out")
    assert told.code == 1
    assert "4 of 5 images could not be predicted" in told.err
    assert "no_page.tif (cannot be read (it has no page))" in told.err
    with (tmp_path / "out" / "review.csv").open(newline="", encoding="utf-8") as file:
        failed = {row["image"] for row in csv.DictReader(file) if row["flags"].startswith("not predicted: ")}
    assert failed == {"no_page.tif", "folder.png", "dangling.png", "complex.tif"}
    assert (tmp_path / "out" / "good.png").exists()
