"""What an input holds, and what its outputs are called."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from fixtures.configs import data_config
from segexp.errors import DataError
from segexp.inference.inputs import (
    HANDFUL,
    EarlierOutputs,
    Job,
    different_values,
    file_safe_names,
    image_stem,
    image_suffix,
    list_inputs,
    masks_beside,
    masks_by_patterns,
    refuse_masks,
)
from segexp.inference.out_of_distribution import TrainingStats
from segexp.types import Source

ROOT = Path("/data/liver/val")
LIVER = {"image": "{split}/{id}.png", "mask": "{split}/{id}_mask.png"}


def masks(names, data, root=ROOT):
    return masks_beside(Path(root), names, data_config(data))


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
    assert masks_by_patterns(Path("/cells"), names, data_config(data), "nucleus") == {
        "a/image.png": ("a/nucleus_1.png", "a/nucleus_2.png")
    }
    flat = {"image": "{id}.png", "mask": {"cell": "{id}_cell.png", "nucleus": "{id}_nucleus.png"}}
    assert masks(["a.png", "a_cell.png", "a_nucleus.png"], flat, "/x") == {"a.png": ("a_cell.png", "a_nucleus.png")}


@pytest.fixture
def folder(tmp_path):
    """Makes empty files below the input; returns it."""

    def made(*names):
        for name in names:
            path = tmp_path / "in" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path / "in"

    return made


def stock(given, output=Path("elsewhere"), channels=1, data=None, **earlier):
    return list_inputs(Path(given), Path(output), channels, data_config(data), EarlierOutputs(**earlier))


def named(inventory):
    return {job.image: job.stem for job in inventory.jobs}


def test_pictures_at_any_depth_in_natural_order(folder):
    given = folder("b10.png", "b2.JPG", "x/y/z/w/v/u/a.bmp", ".hidden.png", "Thumbs.db", "notes.txt", ".git/a.png")
    inventory = stock(given)
    assert list(named(inventory).items()) == [("b2.JPG", "b2"), ("b10.png", "b10"), ("x/y/z/w/v/u/a.bmp", "x/y/z/w/v/u/a")]
    assert inventory.notices == ()


def test_equal_stems_keep_their_formats(folder):
    given = folder("a.jpg", "a.png", "sub/a.png", "a.jpg.png", "b.tif")
    assert named(stock(given)) == {
        "a.jpg": "a.jpg",
        "a.png": "a.png",
        "a.jpg.png": "a.jpg.png",
        "sub/a.png": "sub/a",
        "b.tif": "b",
    }


def test_a_file_by_itself(folder):
    given = folder("a.png", "a_mask.png")
    assert named(stock(given / "a_mask.png")) == {"a_mask.png": "a_mask"}
    with pytest.raises(DataError, match=r"input=.*notes\.txt is no picture that can be read, by its name"):
        stock(folder("notes.txt") / "notes.txt")


def test_what_is_left_out_is_counted(folder):
    given = folder("a.png", "a_mask.png", "b.png", "b_mask.png", "a_pred.png", "c_pred.png")
    inventory = stock(given, suffix="_pred")
    assert list(named(inventory)) == ["a.png", "b.png", "c_pred.png"]
    assert inventory.masks == {"a.png": ("a_mask.png",), "b.png": ("b_mask.png",)}
    assert inventory.notices == (
        "1 file left out (written by an earlier run): a_pred.png",
        "2 files left out (masks of images here): a_mask.png, b_mask.png",
    )


def test_outputs_inside_the_input_are_left_out(folder):
    given = folder("a.png", "out/a.png", "out/overlay/a.png", "other/b.png").resolve()
    assert list(named(stock(given, given / "out", folders=frozenset({given / "out"})))) == ["a.png", "other/b.png"]


def test_outputs_in_the_input_itself_are_known_by_the_review(folder):
    given = folder("a.jpg", "a.png", "overlay/a.png").resolve()
    folders = frozenset({given})
    assert len(stock(given, given, folders=folders).jobs) == 3, "nothing says that a run wrote them"
    found = stock(given, given, folders=folders, files=frozenset({given / "a.png"}))
    assert list(named(found)) == ["a.jpg"]


def test_a_folder_above_may_be_the_output(folder):
    given = folder("x/a.png").resolve()
    assert list(named(stock(given / "x", given, folders=frozenset({given})))) == ["a.png"]


def test_pages(tmp_path):
    (tmp_path / "in").mkdir()
    gray, colour = np.zeros((3, 8, 9), np.uint8), np.zeros((3, 8, 9, 3), np.uint8)
    tifffile.imwrite(tmp_path / "in" / "gray.tif", gray, photometric="minisblack")
    tifffile.imwrite(tmp_path / "in" / "colour.tif", colour, photometric="rgb")
    tifffile.imwrite(tmp_path / "in" / "one.tif", gray[0])
    (tmp_path / "in" / "cut.tif").write_bytes((tmp_path / "in" / "gray.tif").read_bytes()[:20])

    def pages(channels):
        return {job.image: job.pages for job in stock(tmp_path / "in", channels=channels).jobs}

    assert pages(1) == {"colour.tif": 3, "cut.tif": None, "gray.tif": 3, "one.tif": None}
    assert pages(3) == {"colour.tif": 3, "cut.tif": None, "gray.tif": None, "one.tif": None}
    assert pages(5)["gray.tif"] == 3


def test_the_sources_of_a_job():
    stack = Job(Path("s.tif"), "sub/s.tif", "sub/s", 2)
    assert stack.sources == (Source(Path("s.tif"), 0), Source(Path("s.tif"), 1))
    assert [stack.label(source) for source in stack.sources] == ["sub/s.tif[0]", "sub/s.tif[1]"]
    one = Job(Path("a.png"), "a.png", "a")
    assert (one.sources, one.label(one.sources[0]), one.volume) == ((Source(Path("a.png")),), "a.png", False)
    assert Job(Path("v.NII.gz"), "v.NII.gz", "v", 1).volume


def test_missing_and_empty_inputs(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=rf"input=nowhere does not exist \(from {tmp_path}\)\. A folder .* Type input=DIR"):
        stock("nowhere")
    given = folder("notes.txt", "b.csv")
    with pytest.raises(DataError, match=r"holds no image; seen there: b\.csv, notes\.txt\. Files ending in png, jpg.*nii\.gz"):
        stock(given)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"input=empty holds no image; it is empty\. .*Type input=DIR with the folder"):
        stock("empty")
    given = folder("only/a.png").resolve()
    with pytest.raises(DataError, match=r"no image to predict; 1 file left out \(written by an earlier run\): only/a\.png"):
        stock(given, folders=frozenset({given / "only"}))


@pytest.mark.parametrize(
    ("name", "stem", "ending"),
    [
        ("a.png", "a", ".png"),
        ("sub/a.b.JPG", "sub/a.b", ".JPG"),
        ("scan.nii.gz", "scan", ".nii.gz"),
        ("Scan.NII.GZ", "Scan", ".NII.GZ"),
        ("scan.nii", "scan", ".nii"),
        ("Ä µ.tiff", "Ä µ", ".tiff"),
        ("archive.gz", "archive.gz", ""),
        ("png", "png", ""),
        ("notes.txt", "notes.txt", ""),
        (".png", ".png", ""),
    ],
)
def test_stem_and_ending(name, stem, ending):
    assert (image_stem(name), image_suffix(name)) == (stem, ending)


def test_class_names_as_parts_of_file_names():
    assert file_safe_names(["cell", "whole cell", "zellkern_größe"]) == ("cell", "whole_cell", "zellkern_größe")
    assert file_safe_names(["a/b", "a b", "A_B", "?"]) == ("a_b", "a_b2", "A_B3", "4")


NUMBERS = {"std": 0.25, "low": 0.0, "high": 1.0, "p_low": 0.0, "p_high": 1.0}
MANY = TrainingStats(1, (0.0, 255.0), mean=np.array([0.5]), **{key: np.array([value]) for key, value in NUMBERS.items()})
TWO = TrainingStats(1, (0.0, 255.0), np.array([0.5]), *(np.array([value]) for value in (0.5, 0.0, 1.0, 0.0, 1.0)))
NONE = TrainingStats(1, (0.0, 255.0), *(np.array([]) for _ in range(6)))


@pytest.fixture
def jobs(tmp_path, save):
    """Makes jobs of pictures."""

    def made(*arrays):
        files = [save(tmp_path / f"{n}.png", array) for n, array in enumerate(arrays)]
        return [Job(file, file.name, file.stem) for file in files]

    return made


def mask(values):
    return np.arange(20 * 30).reshape(20, 30).astype(np.uint8) % values * 10


def test_a_folder_of_masks(jobs):
    with pytest.raises(
        DataError,
        match=r"The first 8 files hold only a handful of different values, as masks do: 0\.png \(2\), 1\.png \(2\), "
        r"2\.png \(2\) and 5 more\. Images with many values.* Type input=DIR .* or check=false if these are the images",
    ):
        refuse_masks(jobs(*[mask(2)] * 9), MANY)
    with pytest.raises(DataError, match=r"The file holds only a handful of different values, as masks do: 0\.png \(16\)"):
        refuse_masks(jobs(mask(HANDFUL)), MANY)
    colours = np.array([(0, 0, 0), (60, 16, 152), (226, 169, 41)], np.uint8)
    with pytest.raises(DataError, match=r"0\.png \(3\)"):
        refuse_masks(jobs(colours[np.arange(600).reshape(20, 30) % 3]), MANY)


def test_images_are_not(jobs, ramp, tmp_path):
    refuse_masks(jobs(mask(2), mask(2), ramp()), MANY)
    refuse_masks(jobs(mask(HANDFUL + 1)), MANY)
    refuse_masks(jobs(mask(1), mask(1)), MANY)  # blank: flagged, not refused
    refuse_masks(jobs(mask(2)), TWO)  # the training images were such
    refuse_masks(jobs(mask(2)), NONE)
    (tmp_path / "cut.png").write_bytes(b"cut")
    refuse_masks([Job(tmp_path / "cut.png", "cut.png", "cut")], MANY)


def test_values_are_counted_until_they_are_many():
    assert different_values(np.zeros((3, 4, 1), np.uint8)) == 1
    assert different_values(np.arange(60, dtype=np.uint16).reshape(5, 12, 1)) == HANDFUL + 1
    corners = np.zeros((2, 2, 3), np.float32)
    corners[0, 1], corners[1, 0, 2] = 0.5, 0.25
    assert different_values(corners) == 3
