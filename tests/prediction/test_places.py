"""Where outputs go, and what they must not be written over."""

from pathlib import Path

import pytest

from segexp.errors import ConfigError, DataError
from segexp.prediction.inputs import Inventory, Job
from segexp.prediction.places import check_collisions, check_writable, pair_up


def test_one_input_goes_straight_into_the_output(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a").mkdir()
    assert pair_up(["a"], ["out"]) == [(Path("a"), Path("out"))]
    assert pair_up(["a/1.png"], ["out"]) == [(Path("a/1.png"), Path("out"))]


def test_several_get_a_folder_each(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a/scans", "b/scans", "c/other"):
        Path(name).mkdir(parents=True)

    def outputs(inputs, *named):
        return [str(output) for _, output in pair_up(inputs, named)]

    assert outputs(["a/scans", "c/other"], "out") == ["out/scans", "out/other"]
    assert outputs(["a/scans", "b/scans", "c/other"], "out") == ["out/a/scans", "out/b/scans", "out/other"]
    assert outputs(["a/scans", "x.png", "y.png"], "out") == ["out/scans", "out", "out"]
    assert outputs(["a/scans", "b/scans"], "one", "two") == ["one", "two"]


def test_what_cannot_be_paired(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a").mkdir()
    with pytest.raises(ConfigError, match=rf"input names {tmp_path}/a twice\. Each folder or file once .*'input=\[DIR,DIR\]'"):
        pair_up(["a", "./a"], ["out"])
    with pytest.raises(ConfigError, match="input names nothing"):
        pair_up([], ["out"])
    with pytest.raises(ConfigError, match=r"output names 2 folders for 1 inputs\. One folder for all, or one for each"):
        pair_up(["a"], ["out", "more"])


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
