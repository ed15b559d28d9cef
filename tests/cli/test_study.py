"""Studies from the command line, with a stub in the place of training: names, skipping, failing, resuming, the table."""

import csv
import json
import logging
import os
import sys
import types
from contextlib import ExitStack

import pytest

from segexp.cli.overrides import parse
from segexp.cli.study import Study, check_fixed, job_rows, job_status, plan_study
from segexp.cli.summary import summarize
from segexp.cli.train import main
from segexp.errors import DataError
from segexp.locking import folder_lock

BASE = ["-m", "data=liver", "data.root=pictures", "trainer.gpus=0"]


def score(config):
    return 0.5 + config.seed / 100 + (0.2 if "PlusPlus" in config.model.target else 0)


@pytest.fixture
def study(tmp_path, monkeypatch, capfd):
    """Type a study in an empty folder; `problems` maps a seed to what its job raises, `study.ran` names the jobs that ran."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SEGEXP_DEBUG", raising=False)
    stub = types.ModuleType("segexp.training.run")
    monkeypatch.setitem(sys.modules, "segexp.training.run", stub)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def command(*words, problems=None):
        def run(config, directory):
            command.ran.append(directory.name)
            command.configs[directory.name] = config
            (directory / "checkpoints").mkdir(exist_ok=True)
            (directory / "checkpoints" / "last.ckpt").write_text("x")
            if config.seed in (problems or {}):
                raise problems[config.seed]
            content = {"status": "finished", "scores": {"val/dice": score(config)}, "seconds": 90.0, "parameters": 5}
            (directory / "metrics.json").write_text(json.dumps(content))
            return content["scores"]

        stub.run = run
        command.ran, command.configs = [], {}
        code = main([*BASE, *words])
        out = capfd.readouterr()
        command.out, command.err = out.out, out.err
        return code

    yield command
    for handler in [h for h in root.handlers if h not in handlers]:
        handler.close()
    root.handlers[:], root.level = handlers, level


def table(path):
    with path.open(encoding="utf-8") as file:
        return {row["job"]: row for row in csv.DictReader(file)}


def test_jobs_have_fixed_names_and_a_table(study, tmp_path):
    assert study("model=unet,unetpp", "seed=1,2") == 0
    names = ["model-unet_seed-1", "model-unet_seed-2", "model-unetpp_seed-1", "model-unetpp_seed-2"]
    assert study.ran == names
    (directory,) = (tmp_path / "runs" / "studies").iterdir()
    assert directory.name.startswith("model_seed-")
    lines = [line.split() for line in study.out.splitlines()]
    assert ["job", "status", "val/dice", "minutes"] in lines
    assert ["model-unetpp_seed-2", "done", "0.7200", "1.5"] in lines
    found = table(directory / "study.csv")
    assert list(found) == names
    assert found["model-unet_seed-1"] == {
        "job": "model-unet_seed-1",
        "status": "done",
        "model": "unet",
        "seed": "1",
        "val/dice": "0.51",
        "seconds": "90.0",
        "parameters": "5",
    }
    assert study.configs["model-unet_seed-1"].resume is None


def test_the_same_command_again_skips_what_is_finished(study, tmp_path):
    study("seed=1,2", "trainer.max_epochs=3")
    assert study("trainer.max_epochs=3", "seed=1,2") == 0
    assert study.ran == []
    assert study.out.count("skipped") == 2
    assert len(list((tmp_path / "runs" / "studies").iterdir())) == 1
    study("seed=1,2", "trainer.max_epochs=4")
    assert len(study.ran) == 2
    assert len(list((tmp_path / "runs" / "studies").iterdir())) == 2


def test_a_failing_job_leaves_the_others_standing_and_is_named(study, tmp_path):
    problems = {2: DataError("mask 7 is odd", do="type this"), 3: ZeroDivisionError("by zero")}
    assert study("seed=1,2,3,4", "study=mine", problems=problems) == 1
    assert study.ran == ["seed-1", "seed-2", "seed-3", "seed-4"]
    directory = tmp_path / "runs" / "studies" / "mine"
    assert {name: row["status"] for name, row in table(directory / "study.csv").items()} == {
        "seed-1": "done",
        "seed-2": "failed",
        "seed-3": "failed",
        "seed-4": "done",
    }
    text = (directory / "seed-2" / "failed.txt").read_text()
    assert text.startswith("segexp: mask 7 is odd. type this.\n\nTraceback (most recent call last)")
    end = study.out[study.out.index("Each job") :]
    assert "Failed: seed-2. mask 7 is odd. type this." in end
    assert "Failed: seed-3. unexpected ZeroDivisionError in test_study.py" in end
    assert "2 of 4 jobs are not done. Repeat the command to retry them" in end
    assert "Traceback" not in study.out + study.err

    assert study("seed=1,2,3,4", "study=mine", problems={3: problems[3]}) == 1
    assert study.ran == ["seed-2", "seed-3"]
    assert not (directory / "seed-2" / "failed.txt").exists()
    assert study.configs["seed-2"].resume == str(directory / "seed-2")
    assert study("seed=1,2,3,4", "study=mine") == 0


def test_a_configuration_that_is_wrong_for_one_value_fails_one_job(study):
    assert study("data.batch_size=0,2", "study=mine") == 1
    assert study.ran == ["data.batch_size-2"]
    assert "Failed: data.batch_size-0. data.batch_size is 0" in study.out


def test_an_interrupted_study_goes_on_where_it_stopped(study, tmp_path):
    assert study("seed=1,2,3", "study=mine", problems={2: KeyboardInterrupt()}) == 130
    assert study.ran == ["seed-1", "seed-2"]
    assert "unfinished" in study.out
    assert "1 of 2 jobs are not done. Repeat the command" in study.out
    assert study("seed=1,2,3", "study=mine") == 0
    assert study.ran == ["seed-2", "seed-3"]
    assert study.configs["seed-2"].resume == str(tmp_path / "runs" / "studies" / "mine" / "seed-2")


def test_a_named_study_grows_but_does_not_mix_fixed_settings(study):
    study("seed=1,2", "study=mine")
    assert study("seed=2,3", "study=mine") == 0
    assert study.ran == ["seed-3"]
    assert study("seed=4,5", "study=mine", "trainer.max_epochs=9") == 2
    assert study.ran == []
    assert "The study in runs/studies/mine was made with" in study.err
    assert "trainer.max_epochs=9. The jobs of a study differ in what is swept only. Name another study" in study.err


def test_values_that_folders_cannot_be_named_after(study, tmp_path):
    assert study("data.root=a/b,c d", "data.crop=[64,64],32", "study=mine") == 0
    names = sorted(path.name for path in (tmp_path / "runs" / "studies" / "mine").iterdir() if path.is_dir())
    assert len(names) == 4
    assert not [name for name in names if set(name) & set("=, /[]'\"")]
    assert {config.data.root for config in study.configs.values()} == {"a/b", "c d"}


def test_ranges_and_a_folder_of_ones_own(study, tmp_path):
    assert study("seed=range(1,4)", "hydra.sweep.dir=elsewhere") == 0
    assert study.ran == ["seed-1", "seed-2", "seed-3"]
    assert (tmp_path / "elsewhere" / "study.csv").is_file()
    assert not (tmp_path / "runs").exists()


def test_a_study_with_nothing_swept_is_one_job(study):
    assert study("seed=4") == 0
    assert study.ran == ["job"]


def test_plan_names_the_study_and_its_fixed_keys(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = plan_study(parse(["-m", "model=a,b", "data.root='x y'", "+loss.q=1", "hydra/launcher=joblib"]))
    assert made.fixed == ["+loss.q=1", "data.root='x y'"]
    assert made.command.overrides[-2:] == [
        'hydra.job.config.override_dirname.exclude_keys=["data.root","loss.q"]',
        f'study="{made.directory.name}"',
    ]
    again = plan_study(parse(["-m", "+loss.q=1", "model=a,b", "data.root='x y'"]))
    assert again.directory == made.directory, "neither the order nor the launcher makes another study"


def test_the_last_of_two_overrides_of_a_key_counts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = plan_study(parse(["-m", "seed=7", "model=a,b", "seed=1,2", "model=c"]))
    assert made.fixed == ["model=c"]
    assert 'exclude_keys=["model"]' in made.command.overrides[-2]


def test_check_fixed_without_a_study_is_silent(tmp_path):
    check_fixed(tmp_path, ["a=1"])


def test_status_is_read_from_the_folder(tmp_path):
    assert job_status(tmp_path, 0.0) == "unfinished"
    (tmp_path / "failed.txt").write_text("x")
    assert job_status(tmp_path, 0.0) == "failed"
    (tmp_path / "metrics.json").write_text("{}")
    os.utime(tmp_path / "metrics.json", (100, 100))
    assert job_status(tmp_path, 99.0) == "done"
    assert job_status(tmp_path, 101.0) == "skipped"


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"scores": 3}', '{"scores": {"val/dice": null}, "seconds": "long"}'])
def test_odd_metrics_do_not_stop_the_summary(tmp_path, text, capsys):
    job = tmp_path / "seed-1"
    (job / ".hydra").mkdir(parents=True)
    (job / ".hydra" / "overrides.yaml").write_text("- seed=1\n- data=liver\n- study=x\n")
    (job / "metrics.json").write_text(text)
    made = Study(parse(["-m", "seed=1,2"]), tmp_path, ["data=liver"], 0.0)
    (row,) = job_rows(made)
    assert (row["job"], row["status"], row["seed"]) == ("seed-1", "done", "1")
    assert "data" not in row
    assert summarize(made) == 0
    assert "seed-1" in capsys.readouterr().out


@pytest.mark.slow
def test_jobs_in_other_processes(study, tmp_path, monkeypatch):
    """The stub does not reach the workers: there the real training runs, and fails for want of pictures."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    words = ["seed=1,2", "study=mine", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    for seed in (1, 2):
        folder = tmp_path / "runs" / "studies" / "mine" / f"seed-{seed}"
        folder.mkdir(parents=True)
        if seed == 1:
            (folder / "metrics.json").write_text('{"scores": {"val/dice": 0.5}}')
    assert study(*words) == 1
    found = table(tmp_path / "runs" / "studies" / "mine" / "study.csv")
    assert found["seed-1"]["status"] == "skipped"
    assert found["seed-2"]["status"] == "failed"
    assert "Failed: seed-2." in study.out
    assert "pictures" in study.out[study.out.index("Failed: seed-2.") :]


def test_a_study_ends_with_its_page(study, tmp_path):
    assert study("seed=1,2", "study=mine", problems={2: DataError("mask 7 is odd")}) == 1
    page = tmp_path / "runs" / "studies" / "mine" / "report.html"
    assert f"Report: {page.relative_to(tmp_path)}" in study.out
    text = page.read_text(encoding="utf-8")
    assert "seed-1" in text
    assert "mask 7 is odd" in text


def test_a_page_that_cannot_be_written_spoils_no_study(study, monkeypatch):
    def broken(directory):
        raise OSError("disk full")

    monkeypatch.setattr("segexp.reporting.study_report.write_study_report", broken)
    assert study("seed=1,2", "study=mine") == 0
    assert "The report could not be written. OSError: disk full. To try again: python -m segexp.report" in study.out


# Two processes do one study ------------------------------------------------------------------------------------------------


@pytest.fixture
def other(tmp_path, monkeypatch):
    """Another process that works on the job of seed 1; while it is waited for, it ends as told: finished, failed, or killed."""
    folder = tmp_path / "runs" / "studies" / "mine" / "seed-1"
    with ExitStack() as stack:

        def end(how):
            if how != "killed":
                file, text = {"finished": ("metrics.json", '{"scores": {"val/dice": 0.9}}'), "failed": ("failed.txt", "odd")}[
                    how
                ]
                (folder / file).write_text(text)
            stack.close()

        def work(how):
            stack.enter_context(folder_lock(folder, "run directory"))
            (folder / ".hydra").mkdir()
            (folder / ".hydra" / "overrides.yaml").write_text("- seed=1\n")
            monkeypatch.setattr("segexp.cli.study.time.sleep", lambda _: end(how))

        yield work


@pytest.mark.parametrize(("end", "ran"), [("finished", []), ("failed", []), ("killed", ["seed-1"])])
def test_a_job_of_another_process_is_waited_for_and_taken_over_if_that_one_dies(study, other, tmp_path, end, ran):
    other(end)
    problems = {2: DataError("mask 7 is odd")} if end == "failed" else None
    assert study("seed=1,2", "study=mine", problems=problems) == (1 if problems else 0)
    assert study.ran == ["seed-2", *ran], "what failed is not tried again by the same command"
    found = table(tmp_path / "runs" / "studies" / "mine" / "study.csv")
    status = "failed" if end == "failed" else "done"
    assert {name: row["status"] for name, row in found.items()} == {"seed-1": status, "seed-2": status}
    assert f"[seed-1] is left to process {os.getpid()} on " in study.out
    assert f"Waiting for [seed-1], which process {os.getpid()} on " in study.out


def test_a_study_that_another_process_has_just_begun_has_no_settings_yet(tmp_path):
    (tmp_path / "multirun.yaml").touch()
    check_fixed(tmp_path, ["a=1"])
