"""report.html of a study."""

import json
import re
import shutil

import pytest

from segexp.errors import DataError
from segexp.report.again import write_reports
from segexp.report.jobs import labelled, main_split, ranked, read_job, varying_keys
from segexp.report.study import write_study_report


@pytest.fixture
def study(full_study, tmp_path):
    return full_study(tmp_path / "nets")


def jobs_of(study):
    return [read_job(folder, study) for folder in sorted(study.glob("model-*"))]


def text_of(study):
    return write_study_report(study).read_text(encoding="utf-8")


def content(page):
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', page).group(1))["rows"]


def test_jobs_are_read_in_any_state(study):
    jobs = jobs_of(study)
    assert [job.record is not None for job in jobs] == [True, False, True, True, True, False]
    assert jobs[1].problem == "failed: No memory <left>. Type trainer.batch_size=2."
    assert jobs[5].problem == "stopped, or still running"
    assert jobs[0].settings == {"data": "liver", "model": "dilated", "seed": "1"}
    assert varying_keys(jobs) == ["model", "seed"]
    assert main_split(jobs) == "val"
    found = [job.dice["val"].mean for job in ranked(jobs, "val")]
    assert found == sorted(found, reverse=True)
    assert len(found) == 4


def test_a_job_whose_files_are_broken_is_not_finished(study):
    (study / "model-unet_seed-1" / "cases.csv").write_text("split,id\n")
    job = read_job(study / "model-unet_seed-1", study)
    assert job.record is None
    assert "cases.csv has 0 rows" in job.problem


def test_labels_are_short_and_different(study):
    jobs = jobs_of(study)
    assert [job.label for job in labelled(jobs, ["model", "seed"])][:2] == ["dilated seed=1", "dilated seed=2"]
    assert [job.label for job in labelled(jobs, ["model"])] == [job.name for job in jobs], "alike: the folders' names"
    assert [job.label for job in labelled(jobs, [])] == [job.name for job in jobs]


def test_page_has_scores_plots_and_reasons(study):
    page = text_of(study)
    assert re.findall(r"<h2>([^<]*)</h2>", page) == [
        "Jobs that are not finished",
        "What varies",
        "Jobs",
        "Training",
        "Settings",
        "The same study again",
    ]
    assert "4 of 6 jobs finished." in page
    assert "failed: No memory &lt;left&gt;. Type trainer.batch_size=2." in page
    assert re.findall(r"<h3>([^<]*)</h3>", page) == ["model", "seed", "Dice on the validation cases"]
    assert page.count('class="dot"') == 8
    assert "<td>model</td><td>dilated (2), unet (2), unetpp (2)</td>" in page
    assert "The same in all jobs: <code>data=liver</code>" in page
    again = f"data=liver model=unet,unetpp,dilated seed=1,2 study=nets hydra.sweep.dir={study}"
    assert f"python -m segexp.train -m {again}</code>" in page, "it goes on in this very folder"
    assert f"python -m segexp.compare {study}" in page


def test_table_has_a_row_per_job_the_best_first(study):
    page = text_of(study)
    rows = content(page)
    assert [row[1] for row in rows] == ["finished", "failed", "finished", "finished", "finished", "unfinished"]
    assert rows[1][4:] == [None] * len(rows[1][4:])
    best = max((row for row in rows if row[4] is not None), key=lambda row: row[4])
    assert re.search(r"<tbody><tr><td>([^<]*)</td>", page.partition(">Jobs</h2>")[2]).group(1) == best[0]
    assert best[5] < best[4] < best[6], "the interval holds the mean"


def test_jobs_with_a_report_are_linked(study):
    written = [path.relative_to(study).as_posix() for path in write_reports(study)]
    assert written[-1] == "report.html"
    assert len(written) == 5
    rows = content((study / "report.html").read_text(encoding="utf-8"))
    linked = {row[0][1] for row in rows if isinstance(row[0], list)}
    assert linked == set(written[:-1])


def test_a_folder_name_is_quoted_in_its_link(study):
    (study / "model-unet_seed-1").rename(study / "model unet#1")
    list(write_reports(study))
    assert "model%20unet%231/report.html" in (study / "report.html").read_text(encoding="utf-8")


def test_a_study_without_its_own_file_is_any_folder_of_runs(study):
    (study / "multirun.yaml").unlink()
    assert "The command is not known: multirun.yaml is missing or broken." in text_of(study)


def test_a_study_of_failures_has_a_page(study):
    for folder in study.glob("model-*"):
        (folder / "metrics.json").unlink(missing_ok=True)
    page = text_of(study)
    assert "0 of 6 jobs finished. None of them has a Dice." in page
    assert "What varies" not in page


def test_pages_of_a_study_with_a_broken_job_are_written(study):
    (study / "model-unet_seed-1" / "cases.csv").unlink()
    assert len(list(write_reports(study))) == 4
    assert "cases.csv does not exist" in (study / "report.html").read_text(encoding="utf-8")


def test_a_run_is_no_study(study):
    run = study / "model-unet_seed-1"
    with pytest.raises(DataError) as caught:
        write_study_report(run)
    assert str(caught.value) == (
        f"{run} is a run, not a study. A folder that holds the directories of several runs was expected. "
        f"Name the folder above it, {study}."
    )


def test_an_empty_folder_is_no_study(study):
    for folder in study.glob("model-*"):
        shutil.rmtree(folder)
    with pytest.raises(DataError, match="holds no run"):
        write_study_report(study)
