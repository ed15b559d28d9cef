"""The curves of a run, read from the CSV log."""

import shlex
from pathlib import Path

import pytest

from segexp.config.saved_runs import Saved
from segexp.evaluation.run_info import About
from segexp.reporting.run_sections import (
    ABSENT,
    command,
    command_section,
    differences,
    duration,
    history_section,
    memory,
    read_history,
    settings_section,
    value_text,
)


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


KEPT = Saved(("data.root=my pictures", "model=unet", "+tags=[a,b]"), {"model": "unet", "data": "liver"}, (), "/home/me")


def test_differences_are_found_at_any_depth():
    usual = {"model": {"width": 64, "depth": 5}, "loss": {"terms": {"ce": {"weight": 1.0}}}, "seed": 0, "later": 1}
    own = {"model": {"width": 16, "depth": 5, "mine": True}, "loss": {"terms": {"ce": {"weight": 0.5}}}, "seed": 0}
    assert list(differences(own, usual)) == [
        ("model.width", 16, 64),
        ("model.mine", True, ABSENT),
        ("loss.terms.ce.weight", 0.5, 1.0),
    ]


def test_where_a_run_lies_is_no_difference():
    assert list(differences({"run_dir": "a", "study": "b", "resume": "c"}, {"run_dir": None})) == []


def test_values_are_one_line():
    assert value_text("liver") == "liver"
    assert value_text(None) == "null"
    assert value_text([1, {"a": True}]) == '[1, {"a": true}]'
    assert value_text(ABSENT) == "(none)"
    assert len(value_text(["x"] * 1000)) < 310


def test_the_command_can_be_typed_as_it_stands():
    text = command(Saved(KEPT.overrides, {}, (Path("my conf"),), "/home/me"))
    assert shlex.split(text) == ["python", "-m", "segexp.train", "--config-dir=my conf", *KEPT.overrides]
    assert "'data.root=my pictures'" in text


def test_the_command_of_a_job_is_that_of_a_run():
    assert (
        command(Saved(("model=unet", "study=nets", "resume=runs/x", "run_dir=y"), {}, (), ""))
        == "python -m segexp.train model=unet"
    )


def test_an_unknown_command_is_said():
    assert ".hydra/overrides.yaml is missing or broken" in command_section(None)
    assert "Typed in /home/me;" in command_section(KEPT)


def test_settings_are_set_against_the_defaults_of_the_same_options():
    config = {"model": {"_target_": "segexp.models.UNet", "width": 7}, "data": {"name": "<liver>"}}
    markup = settings_section(About(config), KEPT)
    assert "data=liver, model=unet" in markup
    assert "<td>model.width</td><td>7</td><td>64</td>" in markup
    assert "model._target_" not in markup.partition("<details>")[0], "it is the default"
    assert "&lt;liver&gt;" in markup


@pytest.mark.parametrize(
    ("kept", "expected"),
    [
        (None, "How they differ from the defaults is not known"),
        (Saved((), {}, (), ""), "How they differ from the defaults is not known"),
        (Saved((), {"model": "gone"}, (), ""), "The defaults of these options are no longer there."),
    ],
)
def test_unknown_defaults_are_said(kept, expected):
    assert expected in settings_section(About({"seed": 0}), kept)


def test_numbers_have_units():
    assert [duration(s) for s in (12.3, 366, 20_000, None, "x")] == ["12 seconds", "6.1 minutes", "5.6 hours", "", ""]
    assert [memory(m) for m in (1_240_633_344, None)] == ["1.24 GB", ""]
