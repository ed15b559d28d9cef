"""What is written is whole under its own name, or not there."""

import os
import subprocess
import sys

import pytest

from segexp.atomic import atomic_folder, atomic_write, make_writable, sweep_parts


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


def test_what_a_dead_process_left_is_swept_and_nothing_else(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    names = [
        f".a.png.{dead.pid}.7.part",
        f"deep/.b.nii.gz.{dead.pid}.7.part",
        f".c.png.{os.getppid()}.7.part",
        "d.part",
        ".e.png.x.part",
    ]
    names += [f".old.png.{os.getpid()}.7.part", f".new.png.{os.getpid()}.7.part", f".host.png.{2**40}.7.part"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    os.utime(tmp_path / names[5], (0, 0))  # a process of the same number was here before this one
    assert sweep_parts(tmp_path, alive=[2**40]) == 3
    left = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert left == sorted([*names[2:5], *names[6:]])
