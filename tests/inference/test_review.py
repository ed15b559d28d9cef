"""review.csv: the order of its rows, and what is kept of an earlier one."""

import resource
from pathlib import Path

import numpy as np
import pytest

from segexp.errors import ConfigError, DataError
from segexp.inference.inputs import Job
from segexp.inference.review import NAME, UNRECORDED, Review, append_rows, masks_in, read_earlier, read_rows, write_rows
from segexp.types import DataSpec


def test_rows_come_back(tmp_path):
    rows = [{"file": 'a,"b"\n.png', "share": "0.5", "more": "x"}, {"file": "é.png"}]
    path = write_rows(tmp_path / "t.csv", ("file", "share"), rows)
    assert read_rows(path) == [{"file": 'a,"b"\n.png', "share": "0.5"}, {"file": "é.png", "share": ""}]
    assert path.read_bytes().startswith(b"file,share\n")
    assert [each.name for each in tmp_path.iterdir()] == ["t.csv"]


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00\x81", b"", b'file\n"' + 200_000 * b"x"])
def test_a_table_that_is_missing_or_broken_has_no_rows(content, tmp_path):
    if content is not None:
        (tmp_path / "t.csv").write_bytes(content)
    assert read_rows(tmp_path / "t.csv") == []


def test_a_row_that_is_cut_off_is_read_as_far_as_it_goes(tmp_path):
    (tmp_path / "t.csv").write_text("file,share\na.png,0.5\nb.png")
    assert read_rows(tmp_path / "t.csv") == [{"file": "a.png", "share": "0.5"}, {"file": "b.png", "share": ""}]


def test_a_table_that_cannot_be_written_says_what_to_type(tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(DataError) as caught:
        write_rows(tmp_path / "out" / "t.csv", ("file",), [{"file": "a"}])
    assert str(caught.value).startswith(f"{Path(tmp_path, 'out', 't.csv')} cannot be written (Not a directory)")


def test_the_table_of_before_stays_where_writing_fails(tmp_path):
    path = write_rows(tmp_path / "t.csv", ("file",), [{"file": "a"}])

    def rows():
        yield {"file": "b"}
        raise OSError(28, "No space left on device")

    with pytest.raises(DataError, match="No space left on device"):
        write_rows(path, ("file",), rows())
    assert read_rows(path) == [{"file": "a"}]
    assert [each.name for each in tmp_path.iterdir()] == ["t.csv"]


SPEC = DataSpec("toy", ("background", "liver", "tumour"), 1, ((0, 0, 0), (1, 1, 1), (2, 2, 2)))


def test_flags_then_disagreement_then_entropy(tmp_path):
    review = Review(tmp_path, SPEC)
    classes = np.array([[0, 1, 1, 2]], np.uint8)
    review.rows["calm.png"] = review.row("calm.png", "calm.png", [], {"entropy": 0.1, "disagreement": 0.2}, classes)
    review.rows["unsure.png"] = review.row("unsure.png", "unsure.png", [], {"entropy": 0.9, "disagreement": 0.2}, classes)
    review.rows["torn.png"] = review.row(
        "torn.png", "torn.png", [], {"entropy": 0.0, "disagreement": 0.7, "mutual_information": 0.3}, classes
    )
    review.rows["odd.png"] = review.row("odd.png", "odd.png", ["dark", "small"], {"entropy": 0.0, "disagreement": 0.0}, classes)
    review.rows["broken.png"] = review.row("broken.png", "", ["not predicted: it is cut"])
    assert review.write() == tmp_path / NAME
    lines = (tmp_path / NAME).read_text(encoding="utf-8").splitlines()
    assert lines[0] == "image,mask,flags,disagreement,mutual_information,entropy,share_liver,share_tumour,size"
    assert lines[1] == "broken.png,,not predicted: it is cut,,,,,,"
    assert lines[2] == "odd.png,odd.png,dark; small,0.0000,,0.0000,0.5000,0.2500,1x4"
    assert [line.partition(",")[0] for line in lines[3:]] == ["torn.png", "unsure.png", "calm.png"]


def test_rows_of_before_are_kept_while_their_masks_are_there(tmp_path):
    review = Review(tmp_path, SPEC)
    for name in ("a.png", "b.png"):
        review.rows[name] = review.row(name, name, [], {"entropy": 0.1}, np.zeros((2, 2), np.uint8))
        (tmp_path / name).touch()
    review.rows["c.png"] = review.row("c.png", "", ["not predicted"])
    review.write()
    assert set(read_earlier(tmp_path)) == {"a.png", "b.png"}
    (tmp_path / "a.png").unlink()
    assert masks_in(read_earlier(tmp_path).values()) == ["b.png"]


@pytest.mark.parametrize("content", [b"", b"image\n", b"\xff\xfe\x00broken", b"other,columns\n1,2\n"])
def test_a_broken_review_counts_as_none(tmp_path, content):
    (tmp_path / NAME).write_bytes(content)
    assert read_earlier(tmp_path) == {}


def test_nothing_to_say_writes_nothing(tmp_path):
    assert Review(tmp_path, SPEC).write() is None
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_gone(tmp_path):
    review = Review(tmp_path / "gone", SPEC)
    review.rows["a.png"] = review.row("a.png", "a.png", [])
    with pytest.raises(DataError, match=r"gone/review\.csv cannot be written \(No such file"):
        review.write()


def test_masks_of_overlapping_classes(tmp_path):
    spec = DataSpec("toy", ("no", "cell", "nucleus"), 1, ((0, 0, 0),) * 3, overlapping=True)
    review = Review(tmp_path, spec)
    review.rows["a.png"] = review.row(
        "a.png", "a_cell.png;a_nucleus.png", [], {"entropy": 0.1}, np.array([[0, 1, 3, 3]], np.uint8)
    )
    review.write()
    assert (tmp_path / NAME).read_text().splitlines()[1].endswith(",0.7500,0.5000,1x4"), "shares may add up to more than 1"
    (tmp_path / "a_cell.png").touch()
    assert not read_earlier(tmp_path), "one of the two is missing"
    (tmp_path / "a_nucleus.png").touch()
    assert masks_in(read_earlier(tmp_path).values()) == ["a_cell.png", "a_nucleus.png"]


def test_rows_are_appended_after_what_a_killed_process_left(tmp_path):
    path, columns = tmp_path / "t.csv", ("file", "settings")
    append_rows(path, columns, [{"file": "a", "settings": "x"}])
    with path.open("a") as file:
        file.write("b,")
    append_rows(path, columns, [{"file": "c", "settings": "x"}, {"file": "d", "settings": "x"}])
    assert path.read_text() == "file,settings\na,x\nc,x\nd,x\n"


def recorded(folder, settings, *names):
    review = Review(folder, SPEC, settings=settings)
    for name in names:
        (folder / name).touch()
    review.append([review.row(name, name, [], {"entropy": 0.1}, np.zeros((2, 2), np.uint8)) for name in names])
    review.load()
    return review


@pytest.mark.parametrize("before", ["", "file,settings\na,x\n"])
def test_of_a_row_that_finds_no_room_nothing_is_written(tmp_path, before):
    """A limit on the size of files stands for a full disk: it lets the beginning of the row through."""
    path, columns = tmp_path / "review.csv", ["file", "settings"]
    if before:
        path.write_text(before)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 20, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            append_rows(path, columns, [{"file": "b" * 40, "settings": "x"}])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (path.read_text() if path.exists() else "") == before
    append_rows(path, columns, [{"file": "b", "settings": "x"}])
    assert path.read_text() == (before or "file,settings\n") + "b,x\n"


def test_rows_of_the_file_without_those_that_are_cut_off_or_done_again(tmp_path):
    review = recorded(tmp_path, "network ab", "a.png", "b.png", "c.png")
    review.append([review.row("d.png", "", ["not predicted"]), review.row("e.png", "", ["not predicted"])])
    with (tmp_path / NAME).open("a") as file:
        file.write("f.png,f.png,,,,0.1,,,2x2,netw")
    (tmp_path / "f.png").touch()
    (tmp_path / "b.png").unlink()
    review.load()
    assert list(review.rows) == ["a.png", "c.png", "d.png", "e.png"]
    review.drop({"c.png"}, {"e.png"})
    review.load()
    assert sorted(review.rows) == ["a.png", "e.png"]
    review.drop({"a.png"}, ())
    assert not (tmp_path / NAME).exists()


def test_masks_of_other_settings_are_refused(tmp_path):
    recorded(tmp_path, "network ab", "a.png", "b.png").check_settings()
    with pytest.raises(ConfigError) as caught:
        recorded(tmp_path, "network ab; tta flips").check_settings()
    assert str(caught.value) == (
        f"{tmp_path / NAME} lists 2 masks of another network or other settings (network ab) than those of this command "
        "(network ab; tta flips). One network and one set of settings for all masks of a folder were expected. Type output=DIR "
        "with another folder, or overwrite=true to predict all images again."
    )


def test_a_table_without_settings_is_kept(tmp_path):
    earlier = Review(tmp_path, SPEC)
    earlier.rows["a.png"] = earlier.row("a.png", "a.png", [])
    earlier.write()
    review = recorded(tmp_path, "network ab", "a.png")
    assert review.rows["a.png"]["settings"] == UNRECORDED
    review.check_settings()
    assert review.lists(Job(tmp_path / "x" / "a.png", "a.png", "a"), ("a.png",))
    assert not review.lists(Job(tmp_path / "x" / "a.png", "a.png", "a"), ("a_seg.png",))
