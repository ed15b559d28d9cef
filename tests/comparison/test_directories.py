"""Which directories are runs, and why some are not finished."""

import pytest

from segexp.comparison.directories import find_runs, unfinished
from segexp.errors import DataError

CASES = {"a": [0.9], "b": [0.8]}


def test_a_run_a_study_and_a_folder_of_runs(make_run, tmp_path):
    one = make_run(tmp_path / "runs" / "liver" / "unet" / "2026-01-01_10", CASES)
    other = make_run(tmp_path / "runs" / "liver" / "unetpp" / "2026-01-01_11", CASES)
    (tmp_path / "runs" / ".hidden" / "checkpoints").mkdir(parents=True)
    assert find_runs(one) == [one]
    assert find_runs(tmp_path / "runs" / "liver") == [one, other]
    assert find_runs(tmp_path / "runs") == [one, other]


def test_what_lies_too_deep_is_not_looked_for(make_run, tmp_path):
    make_run(tmp_path / "a" / "b" / "c" / "d" / "run", CASES)
    with pytest.raises(DataError, match="holds no run"):
        find_runs(tmp_path)


def test_a_folder_without_runs_says_what_there_is(tmp_path):
    (tmp_path / "pictures").mkdir()
    with pytest.raises(DataError) as caught:
        find_runs(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} holds no run: there is pictures. A run directory (with metrics.json and cases.csv), or a folder of them, "
        "was expected. Type the directory that training printed, as in python -m segexp.compare runs/liver/unet/DATE_TIME."
    )
    with pytest.raises(DataError, match="holds no run: there is nothing"):
        find_runs(tmp_path / "pictures")


def test_a_path_that_is_not_there_or_is_a_file(tmp_path):
    (tmp_path / "liver").mkdir()
    (tmp_path / "table.csv").touch()
    with pytest.raises(DataError, match=r"/livre does not exist\. .* was expected\. Did you mean liver\?"):
        find_runs(tmp_path / "livre")
    with pytest.raises(DataError, match=r"table.csv is a file\. The directory of a run or of a study was expected\. Type"):
        find_runs(tmp_path / "table.csv")


def test_why_a_run_is_not_finished(make_run, tmp_path):
    run = make_run(tmp_path / "run", CASES)
    assert unfinished(run) == ""
    (run / "metrics.json").unlink()
    assert unfinished(run) == "stopped, or still running"
    (run / "checkpoints" / "last.ckpt").unlink()
    assert unfinished(run) == "stopped before the first epoch ended"
    (run / "failed.txt").write_text("segexp: There is no picture.\n\nTraceback …")
    assert unfinished(run) == "failed: There is no picture"
