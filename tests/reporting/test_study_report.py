"""report.html of a study: its jobs in any state, what varies in it, and all folds of a cross-validation together."""

import json
import re
import shutil

import pytest
import yaml

from segexp.errors import DataError
from segexp.reporting.regenerate import write_reports
from segexp.reporting.study_report import (
    combine_folds,
    describe_folds,
    label_jobs,
    rank_jobs,
    ranking_split,
    read_job,
    varying_keys,
    write_study_report,
)


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
    assert f"data.folds=3 &#39;data.fold=range(3)&#39; hydra.sweep.dir={folder}, which does only what is missing." in text


def test_folds_of_two_networks_are_two_rows(study):
    folder = study(({"model.width": 8}, {"model.width": 16}))
    text = page(folder)
    assert "6 of 6 jobs of a cross-validation finished." in text
    assert "width=8: val Dice of all folds together: 0.6000" in text
    assert "width=16: val Dice of all folds together: 0.6100" in text
    assert f"python -m segexp.compare {folder}</" in text
    assert all(f"width={width}</td>" in text for width in (8, 16))
    assert len(describe_folds(jobs_of(folder))) == 2


def test_seeds_of_folds_are_one_number(study):
    jobs = jobs_of(study(({"seed": 1}, {"seed": 2})))
    assert len(describe_folds(jobs)) == 1
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
    assert combine_folds(tmp_path / "s", [read_job(job, tmp_path / "s") for job in (tmp_path / "s").iterdir()]) is None
    assert json.loads((tmp_path / "s" / "seed-1" / "metrics.json").read_text())["status"] == "finished"


@pytest.fixture
def nets(full_study, tmp_path):
    return full_study(tmp_path / "nets")


def jobs_of_study(nets):
    return [read_job(folder, nets) for folder in sorted(nets.glob("model-*"))]


def text_of(nets):
    return write_study_report(nets).read_text(encoding="utf-8")


def content(page):
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', page).group(1))["rows"]


def test_jobs_are_read_in_any_state(nets):
    jobs = jobs_of_study(nets)
    assert [job.record is not None for job in jobs] == [True, False, True, True, True, False]
    assert jobs[1].problem == "failed: No memory <left>. Type data.batch_size=2."
    assert jobs[5].problem == "stopped, or still running"
    assert jobs[0].settings == {"data": "liver", "model": "dilated", "seed": "1"}
    assert varying_keys(jobs) == ["model", "seed"]
    assert ranking_split(jobs) == "val"
    found = [job.dice["val"].mean for job in rank_jobs(jobs, "val")]
    assert found == sorted(found, reverse=True)
    assert len(found) == 4


def test_a_job_whose_files_are_broken_is_not_finished(nets):
    (nets / "model-unet_seed-1" / "cases.csv").write_text("split,id\n")
    job = read_job(nets / "model-unet_seed-1", nets)
    assert job.record is None
    assert "cases.csv has 0 rows" in job.problem


def test_labels_are_short_and_different(nets):
    jobs = jobs_of_study(nets)
    assert [job.label for job in label_jobs(jobs, ["model", "seed"])][:2] == ["dilated seed=1", "dilated seed=2"]
    assert [job.label for job in label_jobs(jobs, ["model"])] == [job.name for job in jobs], "alike: the folders' names"
    assert [job.label for job in label_jobs(jobs, [])] == [job.name for job in jobs]


def test_page_has_scores_plots_and_reasons(nets):
    page = text_of(nets)
    assert re.findall(r"<h2>([^<]*)</h2>", page) == [
        "Jobs that are not finished",
        "Scores by setting",
        "Jobs",
        "Training",
        "Settings",
        "Reproduce this study",
    ]
    assert "4 of 6 jobs finished." in page
    assert "failed: No memory &lt;left&gt;. Type data.batch_size=2." in page
    assert re.findall(r"<h3>([^<]*)</h3>", page) == ["model", "seed", "Dice on the validation cases"]
    assert page.count('class="dot"') == 8
    assert "<td>model</td><td>dilated (2), unet (2), unetpp (2)</td>" in page
    assert "The same in all jobs: <code>data=liver</code>" in page
    command = f"data=liver model=unet,unetpp,dilated seed=1,2 study=nets hydra.sweep.dir={nets}"
    assert f"python -m segexp.train -m {command}</code>" in page, "it goes on in this very folder"
    assert f"python -m segexp.compare {nets}" in page


def test_table_has_a_row_per_job_the_best_first(nets):
    page = text_of(nets)
    rows = content(page)
    assert [row[1] for row in rows] == ["finished", "failed", "finished", "finished", "finished", "unfinished"]
    assert rows[1][4:] == [None] * len(rows[1][4:])
    best = max((row for row in rows if row[4] is not None), key=lambda row: row[4])
    assert re.search(r"<tbody>\s*<tr><td>([^<]*)</td>", page.partition(">Jobs</h2>")[2]).group(1) == best[0]
    assert best[5] < best[4] < best[6], "the interval holds the mean"


def test_jobs_with_a_report_are_linked(nets):
    written = [path.relative_to(nets).as_posix() for path in write_reports(nets)]
    assert written[-1] == "report.html"
    assert len(written) == 5
    rows = content((nets / "report.html").read_text(encoding="utf-8"))
    linked = {row[0][1] for row in rows if isinstance(row[0], list)}
    assert linked == set(written[:-1])


def test_a_folder_name_is_quoted_in_its_link(nets):
    (nets / "model-unet_seed-1").rename(nets / "model unet#1")
    list(write_reports(nets))
    assert "model%20unet%231/report.html" in (nets / "report.html").read_text(encoding="utf-8")


def test_a_study_without_its_own_file_is_any_folder_of_runs(nets):
    (nets / "multirun.yaml").unlink()
    assert "The command is not known: multirun.yaml is missing or broken." in text_of(nets)


def test_a_study_of_failures_has_a_page(nets):
    for folder in nets.glob("model-*"):
        (folder / "metrics.json").unlink(missing_ok=True)
    page = text_of(nets)
    assert "0 of 6 jobs finished. None of them has a Dice." in page
    assert "Scores by setting" not in page


def test_pages_of_a_study_with_a_broken_job_are_written(nets):
    (nets / "model-unet_seed-1" / "cases.csv").unlink()
    assert len(list(write_reports(nets))) == 4
    assert "cases.csv does not exist" in (nets / "report.html").read_text(encoding="utf-8")


def test_a_page_asks_for_nothing_from_elsewhere(nets):
    page = text_of(nets)
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)[^\"]*\"", page)
    assert "http" not in re.sub(r"http-equiv", "", page)
    assert "script-src 'sha256-" in page
    assert len(page) < 60_000


def test_a_name_with_markup_stays_text(nets):
    (nets / "model-unet_seed-1").rename(nets / "<b>net")
    (nets / "<b>net" / ".hydra" / "overrides.yaml").write_text("['data=liver', 'model=<i>x']")
    page = text_of(nets)
    assert not re.search(r"<b>|<i>", page)
    assert "&lt;i&gt;x" in page


def test_without_anything_that_varies_there_is_no_plot(make_run, tmp_path):
    for n in (1, 2):
        make_run(tmp_path / "s" / f"job-{n}", {"a": [0.9]})
    page = text_of(tmp_path / "s")
    assert "No key varies." in page
    assert "Scores by setting" not in page
    assert "2 of 2 jobs finished. The highest val Dice is 0.9000 over 1 case: " in page


def test_a_run_is_no_study(nets):
    run = nets / "model-unet_seed-1"
    with pytest.raises(DataError) as caught:
        write_study_report(run)
    assert str(caught.value) == (
        f"{run} is a run, not a study. A folder that holds the directories of several runs was expected. "
        f"Name the folder above it, {nets}."
    )


def test_an_empty_folder_is_no_study(nets):
    for folder in nets.glob("model-*"):
        shutil.rmtree(folder)
    with pytest.raises(DataError, match="holds no run"):
        write_study_report(nets)
