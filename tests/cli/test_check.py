"""The check command in this process: what it prints, what it writes, and when it fails."""

import shutil

import numpy as np
import pytest
import yaml

from segexp.cli.check import main
from segexp.config.composition import compose
from segexp.config.schema import CheckConfig
from segexp.data.io.images import write_png


@pytest.fixture
def data(slices, tmp_path):
    """A copy of the small slices, to put faults into."""
    return shutil.copytree(slices, tmp_path / "slices")


@pytest.fixture
def check(tmp_path, capsys, monkeypatch):
    """Type a check command; returns exit code, and what was printed."""
    monkeypatch.chdir(tmp_path)

    def typed(*words):
        code = main([str(word) for word in words])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return typed


def liver(data, *more):
    return "data=liver", f"data.root={data}", "data.size=64", *more


def test_sound_data(check, data, tmp_path):
    code, out, err = check(*liver(data))
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[-1] == "Nothing found that stands in the way of training."
    assert lines[-2] == "Page: checks/liver/check.html"
    facts = {line[:25].strip(): line[25:].strip() for line in lines if line.startswith(("cases", "sizes", "mask values"))}
    assert facts["cases"] == "10 (5 train, 5 val)"
    assert facts["sizes (height x width)"] == "64x64"
    assert facts["mask values"] == "0 = background; 255 = liver"
    assert [path.name for path in (tmp_path / "checks" / "liver").iterdir()] == ["check.html"]
    assert "Check of liver" in (tmp_path / "checks" / "liver" / "check.html").read_text()


def test_an_error_is_said_by_the_exit_code_and_last_of_all(check, data):
    for end in ("", "_mask"):
        shutil.copy(data / f"train/000{end}.png", data / f"val/900{end}.png")
    code, out, _ = check(*liver(data, "data.groups=null", "output=there"))
    assert code == 1
    assert "Errors (1)\n- 1 pair of cases in different splits" in out
    assert "train/000 = val/900" in out
    assert out.splitlines()[-1] == "1 error: training cannot work as it stands, or its scores would be wrong."
    assert "Page: there/check.html" in out


@pytest.mark.slow
def test_any_folder_gets_a_configuration_that_trains(check, data, tmp_path, train, small):
    code, out, _ = check("data=auto", f"data.root={data}")
    assert code == 0
    command = next(line for line in out.splitlines() if line.startswith("To train with it: "))
    assert command == "To train with it: python -m segexp.train --config-dir 'checks/slices' data=slices"
    file = tmp_path / "checks" / "slices" / "data" / "slices.yaml"
    assert yaml.safe_load(file.read_text())["mask"] == "{split}/{id}_mask.png"
    assert "Proposed configuration" in (tmp_path / "checks" / "slices" / "check.html").read_text()
    rest = [word for word in small if not word.startswith("data")]
    assert train("--config-dir", "checks/slices", "data=slices", *rest, "trainer.max_epochs=1", "run_dir=run") == 0


def test_a_configuration_that_a_person_changed_stays(check, data, tmp_path):
    words = ("data=auto", f"data.root={data}", "output=there")
    check(*words)
    file = tmp_path / "there" / "data" / "slices.yaml"
    written = file.read_text()
    assert "it stays" not in check(*words)[1]
    file.write_text(written.replace("size: null", "size: 32"))
    _, out, _ = check(*words)
    assert "there/data/slices.yaml exists and differs from the proposal; it is kept." in out
    assert "size: 32" in file.read_text()
    assert check(*words, "propose=false")[1].count("Proposed") == 0


def test_a_known_data_set_is_proposed_on_request_under_a_name_of_its_own(check, data, tmp_path):
    check(*liver(data, "propose=true"))
    values = yaml.safe_load((tmp_path / "checks" / "liver" / "data" / "liver_auto.yaml").read_text())
    assert values["classes"] == {"background": 0, "liver": 255}
    assert values["size"] == 64


def test_classes_that_are_not_known_give_no_configuration(check, tmp_path):
    rng = np.random.default_rng(0)
    for n in range(3):
        for folder in ("images", "masks"):
            write_png(tmp_path / "odd" / folder / f"{n}.png", rng.integers(0, 65535, (32, 32), np.uint16))
    code, out, _ = check("data=auto", "data.root=odd")
    assert code == 1
    assert "No configuration is proposed: layout and classes must be known first." in out


@pytest.mark.slow
def test_an_overfit_test(check, data, small, tmp_path):
    words = [word for word in small if not word.startswith("data")]
    code, out, _ = check(*liver(data, "fit=true", "optimizer.lr=0.01", *words))
    assert code == 0
    assert "Overfit test on train/" in out
    assert "learning works." in out
    assert any(line.startswith("step ") and "Dice" in line for line in out.splitlines())
    page = (tmp_path / "checks" / "liver" / "check.html").read_text()
    assert "Overfit test" in page
    assert "learning works." in page
    assert (tmp_path / "checks" / "liver" / "fit.png").is_file()


@pytest.mark.slow
def test_an_overfit_test_that_does_not_learn_fails(check, data, small, monkeypatch):
    monkeypatch.setattr("segexp.training.overfit_test.SECONDS", 2.0)
    monkeypatch.setattr("segexp.training.overfit_test.run_overfit_test.__defaults__", (lambda _: None, 2.0))
    code, out, _ = check(*liver(data, "fit=true", "optimizer.lr=1e-9", *[w for w in small if not w.startswith("data")]))
    assert code == 1
    assert "The network did not learn four images" in out
    assert out.splitlines()[-1] == "Nothing found that stands in the way of training."


def test_an_overfit_test_without_foreground_still_writes_the_page(check, data, tmp_path):
    for mask in (data / "train").glob("*_mask.png"):
        write_png(mask, np.zeros((64, 64), np.uint8))
    code, out, err = check(*liver(data, "fit=true"))
    assert code == 1
    assert err == (
        f"segexp: None of the 5 readable training cases of {data} has a pixel of foreground. fit=true lets the network learn "
        "the pictures with most foreground. Look at the masks, and at which values data.classes gives to which class; the "
        "first class is the background.\n"
    )
    assert "Page: checks/liver/check.html" in out
    assert (tmp_path / "checks" / "liver" / "check.html").is_file()


def test_a_folder_that_is_missing(check, tmp_path):
    code, out, _ = check("data=auto", "data.root=nowhere")
    assert code == 1
    assert f"The data folder nowhere does not exist (from {tmp_path})" in out
    assert "Type data.root=DIR" in out


def test_a_folder_in_which_nothing_is_recognised(check, tmp_path):
    write_png(tmp_path / "odd" / "one.png", np.zeros((32, 32), np.uint8))
    code, out, _ = check("data=auto", "data.root=odd")
    assert code == 1
    assert "No known layout fits odd; seen there: one.png" in out
    assert """data=auto data.root=odd 'data.image="{id}.png"' 'data.mask="DIR/{id}.png"'.""" in out


def test_an_output_that_cannot_be_written(check, data, tmp_path):
    (tmp_path / "file").touch()
    code, out, err = check(*liver(data, "output=file/inside"))
    assert (code, out) == (1, "")
    assert err == (
        "segexp: The output folder file/inside cannot be written (Not a directory). check.html goes there. Type output=DIR.\n"
    )


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["fit=maybe"], "fit is 'maybe' (text); expected true or false"),
        (["data.crop=-3"], "data.crop is -3 (a whole number)"),
        (["data.foreground_crops=1.5"], "data.foreground_crops is 1.5 (a number); expected a number, between 0 and 1"),
        (["-m", "seed=1,2"], "-m is on the command line. One data set is checked at a time. Leave -m out."),
        (["outptu=x"], "Did you mean output?"),
        (["model=unett"], "Did you mean unet"),
    ],
)
def test_a_wrong_command_line(check, data, words, text):
    code, _, err = check(*liver(data, *words))
    assert code == 2
    assert text in err


def test_a_wrong_training_key_is_found_with_the_overfit_test(check, data):
    code, _, err = check(*liver(data, "fit=true", "data.batch_size=0"))
    assert code == 2
    assert "data.batch_size is 0" in err


def test_help_names_every_key_and_imports_nothing_heavy(check):
    code, out, _ = check("--help")
    assert code == 0
    assert all(f"  {key}=" in out for key in CheckConfig.model_fields)


def test_the_check_takes_every_group_and_key_of_training(conf):
    files = (yaml.safe_load((conf / f"{name}.yaml").read_text()) for name in ("check", "train"))
    check, train = ({str(key) for entry in file["defaults"] if isinstance(entry, dict) for key in entry} for file in files)
    assert train - {"override hydra/output"} == check
    assert set(compose("check", ["data=demo", "logger=csv"])) == set(compose("train", ["data=demo"])) | set(
        CheckConfig.model_fields
    )
