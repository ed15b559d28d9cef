"""What an input holds, and what its outputs are called."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from segexp.errors import DataError
from segexp.prediction.inputs import Earlier, Job, take_stock
from segexp.types import Source


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
    return take_stock(Path(given), Path(output), channels, data or {}, Earlier(**earlier))


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
