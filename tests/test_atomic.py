"""What is written is whole under its own name, or not there."""

import pytest

from segexp.atomic import atomic_folder, atomic_write, make_writable


def half_written(path):
    path.write_text("half")
    path.parent.write_text("fails")


def test_a_file_gets_its_name_when_it_is_whole(tmp_path):
    target = tmp_path / "scores.csv"
    with atomic_write(target) as part:
        part.write_text("one")
        assert not target.exists()
    assert target.read_text() == "one"
    assert list(tmp_path.iterdir()) == [target]


def test_a_failure_leaves_the_file_of_before_and_no_part(tmp_path):
    target = tmp_path / "scores.csv"
    target.write_text("before")
    with pytest.raises(IsADirectoryError), atomic_write(target) as part:
        half_written(part)
    assert target.read_text() == "before"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_gets_its_name_when_it_is_whole_and_can_be_read_by_others(tmp_path):
    target = tmp_path / "deep" / "demo"
    with atomic_folder(target) as draft:
        (draft / "a.png").write_bytes(b"1")
        assert not target.exists()
    assert [p.name for p in target.iterdir()] == ["a.png"]
    assert target.stat().st_mode & 0o777 == 0o755
    assert list(target.parent.iterdir()) == [target]


def test_a_folder_that_fails_is_not_there(tmp_path):
    with pytest.raises(IsADirectoryError), atomic_folder(tmp_path / "demo") as draft:
        half_written(draft / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_the_faster_writer_of_a_folder_wins(tmp_path):
    target = tmp_path / "demo"
    with atomic_folder(target) as draft:
        (draft / "a.png").write_bytes(b"2")
        target.mkdir()
        (target / "a.png").write_bytes(b"1")
    assert (target / "a.png").read_bytes() == b"1"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_that_cannot_have_its_name_says_so(tmp_path):
    target = tmp_path / "demo"
    target.write_text("a file")
    with pytest.raises(OSError), atomic_folder(target):  # noqa: PT011
        pass
    assert target.read_text() == "a file"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_is_made_and_tried(tmp_path):
    make_writable(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="Not a directory"):
        make_writable(tmp_path / "file" / "inside")
