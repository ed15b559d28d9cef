"""The curves of a run, read from the CSV log."""

import pytest

from segexp.report.history import history_section, read_history


@pytest.fixture
def log(tmp_path):
    """Write files of the CSV log; returns the run directory."""

    def log(**files):
        (tmp_path / "csv").mkdir()
        for name, text in files.items():
            (tmp_path / "csv" / f"{name}.csv").write_text(text)
        return tmp_path

    return log


def test_rows_of_training_and_validation_make_one_series_each(log):
    text = "epoch,step,loss/train,loss/val\n0,4,,0.9\n0,4,1.5,\n1,9,0.5,\n"
    assert read_history(log(metrics=text)) == {"loss/val": {0: 0.9}, "loss/train": {0: 1.5, 1: 0.5}}


def test_what_was_before_a_resume_is_there_and_the_later_file_counts(log):
    head = "epoch,loss/train\n"
    files = {"metrics_1": "0,9\n1,8\n", "metrics_2": "1,7\n2,6\n", "metrics_10": "2,5\n3,4\n", "metrics": "3,3\n"}
    found = read_history(log(**{name: head + text for name, text in files.items()}))
    assert found == {"loss/train": {0: 9.0, 1: 7.0, 2: 5.0, 3: 3.0}}


def test_a_line_cut_off_by_a_kill_is_passed_over(log):
    text = "epoch,step,loss/train\n0,4,1.5\n1,9,0.\x00\n2\nnan,nan,nan\n,,\n3,9,nan\n"
    assert read_history(log(metrics=text))["loss/train"] == {0: 1.5}


def test_no_log_is_no_series(tmp_path):
    assert read_history(tmp_path) == {}
    assert "csv/metrics.csv is missing" in history_section({}, ["liver"], None)


def test_section_has_losses_dice_and_learning_rate():
    found = {"loss/train": {0: 1.0, 1: 0.5}, "loss/val": {1: 0.7}, "val/dice": {1: 0.8}, "lr": {0: 1e-3, 1: 0.0}}
    drawn = history_section(found, ["liver"], 1)
    assert drawn.count("<svg") == 3
    assert drawn.count("best: epoch 1") == 2


def test_classes_have_lines_of_their_own_beside_the_mean():
    names = [f"class {n}" for n in range(9)]
    found = {f"val/dice/{name}": {0: 0.1} for name in names} | {"val/dice": {0: 0.1}}
    drawn = history_section(found, names, None)
    assert ">mean over classes</span>" in drawn
    assert ">class 6</span>" in drawn
    assert ">class 7</span>" not in drawn
    assert "the first 7 of 9 classes" in drawn
