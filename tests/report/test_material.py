"""Data, settings, machine and command of a run."""

import shlex
from pathlib import Path

import pytest

from segexp.config.saved import Saved
from segexp.report.about import About
from segexp.report.material import ABSENT, command, command_section, differences, duration, memory, settings_section, value_text

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
