"""A run directory read back, and what is said about one that is broken."""

import json
import math

import pytest
import yaml

from segexp.data.splits import split_hash
from segexp.errors import DataError
from segexp.evaluation.records import find_runs, read_record, read_records, unfinished_reason

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
    assert unfinished_reason(run) == ""
    (run / "metrics.json").unlink()
    assert unfinished_reason(run) == "stopped, or still running"
    (run / "checkpoints" / "last.ckpt").unlink()
    assert unfinished_reason(run) == "stopped before the first epoch ended"
    (run / "failed.txt").write_text("segexp: There is no picture.\n\nTraceback …")
    assert unfinished_reason(run) == "failed: There is no picture"


def test_what_a_record_holds(made, tmp_path):
    record = made("run", CASES, settings={"seed": 3, "data.folds": 5, "data.fold": 2}, choices={"model": "unetpp"})
    assert (record.directory, record.classes, record.splits) == (tmp_path / "run", ("background", "liver"), ("val",))
    assert record.columns == ("tp", "fp", "fn", "dice", "iou")
    assert (record.seed, record.folds, record.fold) == (3, 5, 2)
    assert record.config["data"] == {"folds": 5, "fold": 2}
    assert record.choices == {"model": "unetpp"}
    assert record.overrides == ["seed=3", "data.folds=5", "data.fold=2"]
    assert record.facts["parameters"] == 1_942_306
    assert record.scores == {"val/cases": 2}
    rows = [{"id": id_, "split": split} for id_, split in (("t0", "train"), ("t1", "train"), ("a", "val"), ("b", "val"))]
    assert record.split_hash == split_hash(rows)
    assert record.study is None


@pytest.mark.slow
def test_a_real_run(train, small, tmp_path):
    assert train(*small, "trainer.max_epochs=1", f"run_dir={tmp_path / 'run'}") == 0
    record = read_record(tmp_path / "run")
    assert record.seed == 0
    assert record.choices["model"] == "unet"
    assert record.config["model"]["width"] == 4
    assert record.split_hash == split_hash(record.split)
    assert {row["id"] for row in record.cases} < {row["id"] for row in record.split}
    assert record.facts["parameters"] > 0


def test_a_class_of_ones_own_is_named_in_the_place_of_the_option(made):
    settings = {"model._target_": "my_nets.sub.Tiny", "loss.terms.dice.loss._target_": "mine.Loss", "seed": 3}
    record = made("own", CASES, settings=settings, choices={"model": "unet", "loss": "ce_dice"})
    assert record.choices == {"model": "Tiny", "loss": "ce_dice"}


def test_a_score_that_is_not_defined_is_nan(make_run, tmp_path):
    run = make_run(tmp_path / "run", CASES)
    (run / "metrics.json").write_text(json.dumps({"scores": {"val/dice": None}}))
    assert math.isnan(read_record(run).scores["val/dice"])


def test_a_directory_without_settings_is_read(make_run, tmp_path):
    run = make_run(tmp_path / "run", CASES)
    for name in ("config", "hydra", "overrides"):
        (run / ".hydra" / f"{name}.yaml").unlink()
    (run / "split.csv").unlink()
    record = read_record(run)
    assert (record.config, record.choices, record.overrides, record.seed, record.split_hash) == ({}, {}, [], None, None)


def test_an_evaluation_has_the_settings_of_its_run(make_run, tmp_path):
    run = make_run(tmp_path / "run", CASES, settings={"seed": 4})
    scores = make_run(tmp_path / "scores", {"x": [0.5]}, split="all")
    content = {"scores": {"all/cases": 1.0}, "status": "evaluated", "checkpoint": str(run / "checkpoints" / "best.ckpt")}
    (scores / "metrics.json").write_text(json.dumps(content))
    (scores / "split.csv").unlink()
    record = read_record(scores)
    assert (record.seed, record.split, record.splits) == (4, [], ("all",))
    assert (record.facts["status"], record.facts["parameters"]) == ("evaluated", 1_942_306)
    assert record.scores == {"all/cases": 1}


def test_paths_are_expanded_and_named_once(study, tmp_path, monkeypatch):
    folder = study(**{"seed-0": (CASES, {}), "seed-1": (CASES, {"settings": {"seed": 1}})})
    monkeypatch.chdir(tmp_path)
    records, skipped = read_records([folder / "seed-1", folder, folder.relative_to(tmp_path) / "seed-0"])
    assert [record.seed for record in records] == [1, 0]
    assert skipped == []
    assert records[0].study == folder


def test_runs_that_never_finished(make_run, tmp_path):
    done = make_run(tmp_path / "done", CASES)
    stopped = make_run(tmp_path / "stopped", CASES, finished=False)
    with pytest.raises(DataError) as caught:
        read_records([done, stopped])
    assert str(caught.value) == (
        f"1 of 2 runs never finished: {stopped} (stopped, or still running). Finished runs were expected, each with the "
        "metrics.json that training writes last. Go on with each: python -m segexp.train resume=RUN; a study by its own "
        "command. Or compare the others alone: skip_unfinished=true."
    )
    records, skipped = read_records([done, stopped], skip_unfinished=True)
    assert [record.directory for record in records] == [done]
    assert skipped == [f"{stopped} never finished (stopped, or still running) and is left out."]
    with pytest.raises(DataError, match=r"^1 of 1 run never finished: .* a study by its own command\.$"):
        read_records([stopped], skip_unfinished=True)


def test_a_fold_that_never_finished_is_gone_on_with_by_the_command_of_its_study(make_run, tmp_path):
    study = tmp_path / "cv"
    make_run(study / "data.fold-0", CASES)
    stopped = make_run(study / "data.fold-1", CASES, finished=False)
    typed = ["data.folds=2", "data.fold=range(2)", "study=cv"]
    (study / "multirun.yaml").write_text(yaml.safe_dump({"hydra": {"overrides": {"task": typed}}}))
    with pytest.raises(DataError) as caught:
        read_records([study])
    assert str(caught.value) == (
        f"1 of 2 runs never finished: {stopped} (stopped, or still running). Finished runs were expected, each with the "
        "metrics.json that training writes last. Type: python -m segexp.train -m data.folds=2 'data.fold=range(2)' study=cv "
        f"hydra.sweep.dir={study}, which does only what is missing. Or compare the others alone: skip_unfinished=true."
    )


@pytest.mark.parametrize("content", ["", "[1]", '{"status": "finished"}', '{"scores": 3}'])
def test_broken_metrics(make_run, tmp_path, content):
    run = make_run(tmp_path / "run", CASES)
    (run / "metrics.json").write_text(content)
    with pytest.raises(DataError) as caught:
        read_record(run)
    assert str(caught.value) == (
        f"{run}/metrics.json is not the metrics.json of a run. JSON with the entry scores was expected. Copy it again from "
        "where the run was made, or leave the run out."
    )


def test_broken_cases(make_run, tmp_path):
    run = make_run(tmp_path / "run", CASES)
    table = run / "cases.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([*lines, "val,c,,liver,many,0,0,0.5,0.4"]))
    with pytest.raises(DataError) as caught:
        read_record(run)
    assert str(caught.value) == (
        f"Line 6 of {table} is val, c, , liver, many, 0, 0, 0.5, 0.4. A number, or nothing, was expected in each of the "
        "columns tp, fp, fn, dice, iou. Copy the file again from where the run was made."
    )
    for text, found in (
        ("\n".join([*lines, "val,c"]), "Line 6 of"),
        (lines[0], r"has 0 rows with the columns split, id, group, class, tp"),
        ("name,score\na,1\n", r"has 1 rows with the columns name, score\. A row per scored case and class was expected"),
    ):
        table.write_text(text)
        with pytest.raises(DataError, match=found):
            read_record(run)
    table.unlink()
    with pytest.raises(DataError, match=rf"cases.csv does not exist\. .* segexp.evaluate checkpoint={run} output=DIR"):
        read_record(run)


def test_broken_settings(make_run, tmp_path):
    run = make_run(tmp_path / "run", CASES)
    (run / ".hydra" / "config.yaml").write_text("a: [1")
    with pytest.raises(DataError, match=r"config.yaml is not YAML \(.*\)\. The settings that were saved with the run"):
        read_record(run)
