"""report.html of a run: all its parts, and what is left of it when files are gone."""

import json
import re
import shutil

import pytest

from segexp.errors import DataError
from segexp.reporting.run_report import write_run_report

HEADINGS = (
    "Scores",
    "Training",
    "Worst, median and best cases",
    "How the cases are spread",
    "Cases",
    "Confusion matrix",
    "Calibration",
    "What the data are",
    "Settings",
    "Time, memory and versions",
    "The same run again",
)


@pytest.fixture
def run(full_run, tmp_path):
    return full_run(tmp_path / "run")


def text_of(run):
    return write_run_report(run).read_text(encoding="utf-8")


def test_page_has_all_sections(run):
    page = text_of(run)
    assert tuple(re.findall(r"<h2>([^<]*)</h2>", page)) == HEADINGS
    assert "<h1>unet on liver</h1>" in page
    assert "missing or broken" not in page
    for text in ("1,942,306", "1.24 GB", "1.5 minutes", "torch 2.15", "2 CPUs", "13.4 training images per second"):
        assert text in page
    assert "30 (best: epoch 24, counted from 0)" in page
    assert "60x80 (30)" in page
    assert "python -m segexp.train" in page


def test_page_asks_for_nothing_from_elsewhere(run):
    page = text_of(run)
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)[^\"]*\"", page)
    assert "http" not in re.sub(r"http-equiv", "", page)
    assert "default-src 'none'" in page
    assert "'sha256-" in page


def test_a_name_with_markup_stays_text(full_run, tmp_path):
    page = text_of(full_run(tmp_path / "<b>run"))
    assert "<b>run" not in page
    assert "data/&lt;liver&gt;" in page


def test_a_page_of_500_cases_and_six_classes_is_small(full_run, tmp_path):
    classes = ("background", "building", "land", "road", "vegetation", "water")
    path = write_run_report(full_run(tmp_path / "run", 500, classes))
    assert path.stat().st_size < 4_000_000


def test_pictures_that_were_deleted_leave_a_sentence(run):
    shutil.rmtree(run / "pictures")
    page = text_of(run)
    assert "The pictures of this run are not there: they were deleted, or never written." in page
    assert tuple(re.findall(r"<h2>([^<]*)</h2>", page)) == HEADINGS


def test_every_other_file_may_be_missing_too(run):
    for name in ("run.json", "calibration.json", "confusion.csv", "csv", ".hydra", "pictures", "checkpoints", "split.csv"):
        path = run / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    page = text_of(run)
    assert tuple(re.findall(r"<h2>([^<]*)</h2>", page)) == HEADINGS
    for text in ("csv/metrics.csv is missing", "calibration.json is missing", ".hydra/overrides.yaml is missing"):
        assert text in page


def test_confusion_of_many_classes_without_its_file_is_said(full_run, tmp_path):
    run = full_run(tmp_path / "run", classes=("background", "liver", "tumour"), pictures=False)
    (run / "confusion.csv").unlink()
    assert "Not recorded with this run: confusion.csv is missing or broken." in text_of(run)


def test_a_class_that_was_never_found_is_a_warning(make_run, tmp_path):
    page = text_of(make_run(tmp_path / "run", {"a": [0.0], "b": [0.0], "c": [None]}))
    assert 'class="notice warning"' in page
    assert "liver was not found in any of the 2 val cases that have it." in page


@pytest.mark.parametrize(("best", "said"), [(29, True), (24, False)])
def test_a_best_last_epoch_is_said(run, best, said):
    found = json.loads((run / "metrics.json").read_text())
    (run / "metrics.json").write_text(json.dumps(found | {"best_epoch": best}))
    assert ("The last epoch was the best one" in text_of(run)) is said


def test_a_run_that_never_finished_is_refused(run):
    (run / "metrics.json").unlink()
    with pytest.raises(DataError) as caught:
        write_run_report(run)
    assert str(caught.value) == (
        f"{run} is not a finished run (stopped, or still running). A report is made of the metrics.json and cases.csv that "
        f"training writes last. Go on with it: python -m segexp.train resume={run}."
    )
    assert not (run / "report.html").exists()


def test_scores_that_are_gone_are_refused(run):
    (run / "cases.csv").unlink()
    with pytest.raises(DataError, match=r"cases\.csv does not exist"):
        write_run_report(run)


def test_an_evaluation_has_a_report_without_curves(full_run, tmp_path):
    run, scored = full_run(tmp_path / "run"), full_run(tmp_path / "scored")
    for name in ("csv", ".hydra"):
        shutil.rmtree(scored / name)
    (scored / "run.json").unlink()
    found = json.loads((scored / "metrics.json").read_text())
    (scored / "metrics.json").write_text(json.dumps(found | {"checkpoint": str(run / "checkpoints" / "best.ckpt")}))
    headings = re.findall(r"<h2>([^<]*)</h2>", text_of(scored))
    assert tuple(headings) == tuple(h for h in HEADINGS if h != "Training")


def test_the_report_of_a_real_training(train, small, tmp_path):
    run = tmp_path / "run"
    assert train(*small, "callbacks.progress=false", "trainer.max_epochs=2", f"run_dir={run}") == 0
    page = text_of(run)
    assert "<h1>unet on liver</h1>" in page
    assert "<td>model.width</td><td>4</td><td>64</td>" in page
    assert "<td>model.depth</td><td>2</td>" in page
    assert "over 5 cases" in page
    assert "model.width=4" in page
    curves, calibration = page.split(">Calibration</h2>")
    assert (curves.count("<polyline"), calibration.count("<polyline")) == (4, 1)
