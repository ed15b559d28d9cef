"""What is written is whole under its own name, or not there."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from segexp.atomic import (
    SEAL,
    atomic_folder,
    atomic_write,
    is_intact,
    make_writable,
    sealed,
    sweep_parts,
    sync_folders,
    write_json,
)

OPEN = Path("/proc/self/fd")


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


# The disk ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def synced(monkeypatch):
    """Names of what was waited for, in order, and "rename"."""
    order, rename = [], Path.replace
    monkeypatch.setattr(os, "fsync", lambda handle: order.append((OPEN / str(handle)).readlink().name))
    monkeypatch.setattr(Path, "replace", lambda part, path: (order.append("rename"), rename(part, path)))
    return order


@pytest.mark.skipif(not OPEN.is_dir(), reason="the names of open files are read from /proc")
def test_the_content_is_on_the_disk_before_the_name_and_the_name_after_it(tmp_path, synced):
    with atomic_write(tmp_path / "a.json") as part:
        part.write_text("1")
    assert synced == [part.name, "rename", tmp_path.name]
    synced.clear()
    with atomic_write(tmp_path / "a.png", durable=False) as part:
        part.write_text("1")
    assert synced == [part.name, "rename"]
    sync_folders([tmp_path, tmp_path, tmp_path / "missing"])
    assert synced[2:] == [tmp_path.name]


@pytest.mark.skipif(not OPEN.is_dir(), reason="the names of open files are read from /proc")
def test_all_files_of_a_folder_are_on_the_disk_before_its_name(tmp_path, synced):
    with atomic_folder(tmp_path / "demo") as draft:
        (draft / "a.png").write_bytes(b"1")
    assert synced == ["a.png", draft.name, tmp_path.name]


def test_a_file_system_without_fsync_is_no_error(tmp_path, monkeypatch):
    def unknown(_):
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", unknown)
    write_json(tmp_path / "a.json", {"a": 1})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": 1}


def test_a_full_disk_names_the_file_and_keeps_the_one_of_before(tmp_path, monkeypatch):
    write_json(tmp_path / "a.json", [1])

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        write_json(tmp_path / "a.json", [2])
    assert caught.value.filename == str(tmp_path / "a.json")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["[\n 1\n]\n"]


def test_sealed_values_are_intact_until_one_changes():
    content = sealed({"a": (1, 2.5), 3: "x"})
    there = json.loads(json.dumps(content))
    assert is_intact(there)
    assert sealed(there) == there
    assert not is_intact({**there, "a": [1, 2.25]})
    assert not is_intact({key: value for key, value in there.items() if key != SEAL})


def test_a_folder_is_tested_by_two_processes_at_the_same_moment(tmp_path, monkeypatch):
    touch = Path.touch

    def touched_and_deleted_by_another(path, *args, **keys):
        touch(path, *args, **keys)
        path.unlink()

    monkeypatch.setattr(Path, "touch", touched_and_deleted_by_another)
    make_writable(tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
