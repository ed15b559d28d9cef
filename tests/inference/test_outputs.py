"""What is written for an image, under which names, and that it is whole."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from segexp.errors import ConfigError, DataError
from segexp.inference.inputs import Inventory, Job
from segexp.inference.outputs import (
    MaskWriter,
    OutputOptions,
    PredictedImage,
    check_collisions,
    check_writable,
    resolve_output_dirs,
)
from segexp.types import DataSpec, Source

PICTURE = Job(Path("a.JPG"), "s/a.JPG", "s/a")
STACK, VOLUME = Job(Path("b.tiff"), "b.tiff", "b", 2), Job(Path("c.nii"), "c.nii", "c", 1)
SPEC = DataSpec("toy", ("background", "liver"), 1, ((0, 0, 0), (230, 159, 0)))
ALL = OutputOptions("_x", overlay=True, probabilities="tiff", labels=True, panel=True, uncertainty=True)


def test_names_of_the_masks():
    assert [OutputOptions().masks(job) for job in (PICTURE, STACK, VOLUME)] == [("s/a.png",), ("b.tiff",), ("c.nii",)]
    assert [OutputOptions("_x").masks(job) for job in (PICTURE, STACK, VOLUME)] == [("s/a_x.png",), ("b_x.tiff",), ("c_x.nii",)]


def test_names_of_everything():
    assert list(ALL.files(PICTURE)) == [
        "overlay/s/a_x.png",
        "probabilities/s/a_x.tif",
        "panels/s/a_x.png",
        "uncertainty/s/a_x.png",
        "uncertainty/s/a_x.npz",
        "labels/s/a_x.png",
        "s/a_x.png",
    ]
    assert list(OutputOptions(overlay=True, labels=True).files(STACK)) == [
        "overlay/b/0000.png",
        "overlay/b/0001.png",
        "labels/b.tiff",
        "b.tiff",
    ]
    assert list(OutputOptions(labels=True).files(VOLUME)) == ["c.nii"], "class indices are in it already"


def test_what_is_promised_is_written(tmp_path):
    writer = MaskWriter(tmp_path, ALL, SPEC)
    classes = np.zeros((20, 30), np.uint8)
    classes[5:9] = 1
    found = PredictedImage(
        classes,
        np.zeros((20, 30, 1), np.uint8),
        None,
        np.full((2, 20, 30), 0.5, np.float32),
        np.ones((20, 30), np.float32),
    )
    assert not writer.done(PICTURE)
    writer.write_extras(PICTURE, Source(Path("a.JPG")), found)
    assert not writer.done(PICTURE)
    writer.write_mask(PICTURE, [classes])
    assert writer.done(PICTURE)
    files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert files == sorted(ALL.files(PICTURE))


@pytest.mark.parametrize("job", [PICTURE, STACK], ids=["picture", "stack"])
def test_a_mask_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch, job):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="No space"):
        MaskWriter(tmp_path, OutputOptions(), SPEC).write_mask(job, [np.zeros((4, 5), np.uint8)] * 2)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


LAYERS = OutputOptions("_x", overlay=True, labels=True, panel=True, layers=("whole cell", "nucleus"))


def test_classes_that_may_overlap_have_a_mask_each():
    assert LAYERS.masks(PICTURE) == ("s/a_x_whole_cell.png", "s/a_x_nucleus.png")
    assert LAYERS.masks(STACK) == ("b_x_whole_cell.tiff", "b_x_nucleus.tiff")
    assert LAYERS.masks(VOLUME) == ("c_x_whole_cell.nii", "c_x_nucleus.nii")
    assert list(LAYERS.files(VOLUME))[-3:] == ["labels/c_x.nii", *LAYERS.masks(VOLUME)], "the bit sets are in no mask"


def test_the_masks_of_overlapping_classes(tmp_path):
    spec = DataSpec("toy", ("no", "whole cell", "nucleus"), 1, ((0, 0, 0), (230, 159, 0), (86, 180, 233)), overlapping=True)
    writer = MaskWriter(tmp_path, LAYERS, spec)
    sets = np.zeros((20, 30), np.uint8)
    sets[5:15] = 1
    sets[8:12] = 3
    truth = sets.copy()
    truth[:2] = 255
    writer.write_extras(PICTURE, Source(Path("a.JPG")), PredictedImage(sets, np.zeros((20, 30, 1), np.uint8), truth))
    assert not writer.done(PICTURE)
    writer.write_mask(PICTURE, [sets])
    assert writer.done(PICTURE)
    cell, nucleus = (np.asarray(Image.open(tmp_path / name)) for name in LAYERS.masks(PICTURE))
    assert np.array_equal(cell, np.where(sets & 1, 255, 0))
    assert np.array_equal(nucleus, np.where(sets & 2, 255, 0))
    assert np.array_equal(np.asarray(Image.open(tmp_path / "labels/s/a_x.png")), sets)
    drawn = np.asarray(Image.open(tmp_path / "overlay/s/a_x.png"))
    assert tuple(drawn[5, 9]) == spec.palette[1]
    assert tuple(drawn[8, 9]) == spec.palette[2], "the inner class keeps its line"
    writer.write_mask(STACK, [sets, sets * 0])
    assert [page.sum() for page in tifffile.imread(tmp_path / "b_x_nucleus.tiff")] == [255 * 120, 0]


def test_one_input_goes_straight_into_the_output(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a").mkdir()
    assert resolve_output_dirs(["a"], ["out"]) == [(Path("a"), Path("out"))]
    assert resolve_output_dirs(["a/1.png"], ["out"]) == [(Path("a/1.png"), Path("out"))]


def test_several_get_a_folder_each(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a/scans", "b/scans", "c/other"):
        Path(name).mkdir(parents=True)

    def outputs(inputs, *named):
        return [str(output) for _, output in resolve_output_dirs(inputs, named)]

    assert outputs(["a/scans", "c/other"], "out") == ["out/scans", "out/other"]
    assert outputs(["a/scans", "b/scans", "c/other"], "out") == ["out/a/scans", "out/b/scans", "out/other"]
    assert outputs(["a/scans", "x.png", "y.png"], "out") == ["out/scans", "out", "out"]
    assert outputs(["a/scans", "b/scans"], "one", "two") == ["one", "two"]


def test_what_cannot_be_paired(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a").mkdir()
    with pytest.raises(ConfigError, match=rf"input names {tmp_path}/a twice\. Each folder or file once .*'input=\[DIR,DIR\]'"):
        resolve_output_dirs(["a", "./a"], ["out"])
    with pytest.raises(ConfigError, match="input names nothing"):
        resolve_output_dirs([], ["out"])
    with pytest.raises(ConfigError, match=r"output names 2 folders for 1 inputs\. One folder for all, or one for each"):
        resolve_output_dirs(["a"], ["out", "more"])


def inventory(root, *names, output="out", masks=None):
    return Inventory(root, Path(output), tuple(Job(root / name, name, name[:-4]) for name in names), masks or {})


def test_collisions(tmp_path):
    here = inventory(tmp_path, "a.jpg", output=tmp_path, masks={"a.jpg": ("a_mask.png",)})
    (job,) = here.jobs
    check_collisions([here], {job: [tmp_path / "a.png"]})
    for name in ("a.jpg", "a_mask.png"):
        with pytest.raises(ConfigError, match=rf"predicted for .*a\.jpg would be written over .*{name}.* Type output=DIR"):
            check_collisions([here], {job: [tmp_path / name]})
    one, two = inventory(tmp_path / "x", "a.png"), inventory(tmp_path / "y", "a.png")
    with pytest.raises(
        ConfigError, match=r"x/a\.png and .*y/a\.png would both be written to out/a\.png\..*'output=\[DIR,DIR\]'"
    ):
        check_collisions([one, two], {one.jobs[0]: [Path("out/a.png")], two.jobs[0]: [Path("out/a.png")]})


def test_an_output_that_cannot_be_written(tmp_path):
    check_writable(tmp_path / "new" / "folder")
    assert list((tmp_path / "new" / "folder").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(
        DataError, match=r"file/out cannot be written \(Not a directory\)\. A folder .* Make room, or type output=DIR"
    ):
        check_writable(tmp_path / "file" / "out")
    with pytest.raises(ConfigError, match=r"output=.*mask\.png names a file\. A folder was expected.*Type output=DIR"):
        check_writable(tmp_path / "mask.png")
    (tmp_path / "odd.png").mkdir()
    check_writable(tmp_path / "odd.png")


def test_ignored_pixels_of_a_prediction_have_a_value_of_no_class(tmp_path):
    """Where no class is the background, pixels without data are 255, which is 127 where 255 is the second class."""
    classes = np.array([[0, 1, 255]], np.uint8).repeat(2, 0)
    MaskWriter(tmp_path, OutputOptions(), SPEC).write_mask(Job(Path("a.png"), "a.png", "two"), [classes])
    three = DataSpec("toy", ("field", "wood", "water"), 1, ((1, 2, 3), (4, 5, 6), (7, 8, 9)), background=False)
    MaskWriter(tmp_path, OutputOptions(), three).write_mask(Job(Path("a.png"), "a.png", "three"), [classes])
    for name, values, colours in (("two", [0, 255, 127], None), ("three", [0, 1, 255], [[1, 2, 3], [4, 5, 6], [0, 0, 0]])):
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert np.asarray(picture)[0].tolist() == values
            assert colours is None or np.asarray(picture.convert("RGB"))[0].tolist() == colours
