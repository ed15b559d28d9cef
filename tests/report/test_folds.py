"""What a study's page says of a cross-validation: all folds together, and which lack."""

import json
import shutil

import pytest
import yaml

from segexp.report.folds import pooled
from segexp.report.jobs import read_job
from segexp.report.study import write_study_report


@pytest.fixture
def study(make_run, tmp_path):
    """Write a study of three folds with two cases each; `vary` gives the settings of a job beside its fold."""

    def written(vary=({},)):
        for k, more in enumerate(vary):
            for fold in range(3):
                settings = {"data.folds": 3, "data.fold": fold, **more}
                dice = {f"{fold}{c}": [0.5 + 0.1 * fold + 0.01 * k] for c in "ab"}
                train = [f"{other}{c}" for other in range(3) if other != fold for c in "ab"]
                make_run(tmp_path / "cv" / f"job{k}-{fold}", dice, settings=settings, train=train)
        task = {"overrides": {"task": ["data.folds=3", "data.fold=range(3)"]}}
        (tmp_path / "cv" / "multirun.yaml").write_text(yaml.safe_dump({"hydra": task}))
        return tmp_path / "cv"

    return written


def page(folder):
    return write_study_report(folder).read_text(encoding="utf-8")


def jobs_of(folder):
    return [read_job(job, folder) for job in sorted(folder.glob("job*"))]


def test_the_folds_are_one_number(study):
    text = page(study())
    assert "3 of 3 jobs of a cross-validation finished." in text
    assert "Val Dice of all folds together: 0.6000 (95 % interval " in text
    assert "over 6 cases, each scored by the run that held it out." in text
    assert "The highest val Dice" not in text, "no fold is better than another"
    assert "All folds together" in text
    assert "3 of 3</td>" in text
    assert "python -m segexp.predict checkpoint=" in text
    assert "is missing" not in text
    assert "segexp.compare" not in text, "there is one row"


def test_a_fold_that_lacks_is_named(study):
    folder = study()
    shutil.rmtree(folder / "job0-1")
    text = page(folder)
    assert "Fold 1 of 0 to 2 is missing." in text
    assert "2 of 3</td>" in text
    assert "Val Dice of 2 of 3 folds together: 0.6000" in text
    assert f"data.folds=3 &#x27;data.fold=range(3)&#x27; hydra.sweep.dir={folder}, which does only what is missing." in text


def test_folds_of_two_networks_are_two_rows(study):
    folder = study(({"model.width": 8}, {"model.width": 16}))
    text = page(folder)
    assert "6 of 6 jobs of a cross-validation finished." in text
    assert "width=8: val Dice of all folds together: 0.6000" in text
    assert "width=16: val Dice of all folds together: 0.6100" in text
    assert f"python -m segexp.compare {folder}</" in text
    assert all(f"width={width}</td>" in text for width in (8, 16))
    assert len(pooled(jobs_of(folder))) == 2


def test_seeds_of_folds_are_one_number(study):
    jobs = jobs_of(study(({"seed": 1}, {"seed": 2})))
    assert len(pooled(jobs)) == 1
    assert "2 seeds" in page(jobs[0].record.directory.parent)


def test_folds_of_different_splits_are_no_number(study):
    folder = study()
    table = folder / "job0-2" / "split.csv"
    table.write_text(table.read_text().replace("2a,val", "2a,train").replace("0a,train", "0a,val"))
    text = page(folder)
    assert "are of different splits: 1 case is held out by more than one of them (0a)." in text
    assert "Train them as one study of the data of now: " in text


def test_a_study_without_folds_says_nothing_of_them(make_run, tmp_path):
    for seed in (1, 2):
        make_run(tmp_path / "s" / f"seed-{seed}", {"a": [0.9]}, settings={"seed": seed})
    assert "All folds together" not in page(tmp_path / "s")
    assert json.loads((tmp_path / "s" / "seed-1" / "metrics.json").read_text())["status"] == "finished"
