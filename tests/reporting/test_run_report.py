"""report.html of a run: all its parts, and what is left of it when files are gone."""

import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from segexp.config.saved_runs import SavedRun
from segexp.data.io.images import write_png
from segexp.errors import DataError
from segexp.evaluation.run_info import RunInfo
from segexp.reporting.case_images import write_explained_cases
from segexp.reporting.run_report import (
    NO_DEFAULT,
    compare_settings,
    differences,
    format_duration,
    format_memory,
    format_value,
    read_history,
    training_charts,
    training_command,
    write_run_report,
)
from segexp.visualization import ExplainedCase

HEADINGS = (
    "Scores",
    "Training",
    "Worst, median and best cases",
    "Distribution of the case scores",
    "Cases",
    "Confusion matrix",
    "Calibration",
    "Data",
    "Settings",
    "Time, memory and versions",
    "Reproduce this run",
)
NO_PICTURES = re.compile(r'data:image/[^"]*')


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
    assert not re.search(r"url\(|@import|<link(?! rel=\"icon\" href=\"data:,\")", page)
    assert "default-src 'none'" in page
    assert "script-src 'sha256-" in page
    assert "style-src 'sha256-" in page


def test_a_name_with_markup_stays_text(full_run, tmp_path):
    page = text_of(full_run(tmp_path / "<b>run"))
    assert "<b>run" not in page
    assert "data/&lt;liver&gt;" in page


def test_a_page_of_500_cases_and_six_classes_is_small(full_run, tmp_path):
    classes = ("background", "building", "land", "road", "vegetation", "water")
    page = text_of(full_run(tmp_path / "run", 500, classes))
    assert len(page.encode()) < 1_000_000
    assert len(NO_PICTURES.sub("", page).encode()) < 400_000, "a page may have 3 MB beside its pictures"


def test_a_page_without_pictures_is_tiny(run):
    assert len(NO_PICTURES.sub("", text_of(run)).encode()) < 60_000


def test_what_a_page_says_of_its_parts(run):
    page = text_of(run)
    for text in (
        "<details><summary>All settings</summary>",
        "The worst Dice comes first.",
        "A calibrated network lies on the dashed line",
        "Each row adds up to 100 %.",
        "Masks: <span>",
        "The new run gets its own directory.",
    ):
        assert text in page, text
    assert page.count('<div class="shots">') == 10
    assert page.count('<div class="bar-cell">') == 3
    assert page.count("<svg") == 3 + 3 + 1 + 1 + 1, "bars, curves, histogram, calibration, shares"
    assert page.count("<desc>") == 6
    assert re.search(r'<th scope="col">0\.\d to (1|0\.\d)</th>', page), "the scale of the bars"
    assert re.search(r'<td class="cell" style="--share:0\.\d{3}">\d+\.\d%<small>', page)
    anchors = set(re.findall(r'\["[^"]*","(#case-[^"]*)"\]', page))
    assert anchors == {f"#{name}" for name in re.findall(r'id="(case-[^"]*)"', page)}


def test_classes_are_told_apart(full_run, tmp_path):
    page = text_of(full_run(tmp_path / "run", classes=("background", "liver", "<tumour>")))
    assert "<details open><summary>Each class</summary>" in page
    assert "<tr><td>&lt;tumour&gt;</td>" in page
    assert '<option value="mean" selected>mean</option>' in page
    assert "<tumour>" not in page
    assert page.count('<th scope="row" class="row">') == 3


def test_overlapping_classes_have_a_matrix_each(full_run, tmp_path):
    run = full_run(tmp_path / "run", classes=("none", "cell", "nucleus"))
    about = json.loads((run / "run.json").read_text())
    about["config"]["data"]["labels"] = "overlapping"
    (run / "run.json").write_text(json.dumps(about))
    page = text_of(run)
    assert "The classes may overlap, so each has a table of its own." in page
    assert page.count('<table class="matrix">') == 2
    assert "no nucleus" in page


def test_explained_cases_are_shown_with_their_scale(run):
    mask = np.eye(40, dtype=np.uint8)
    case = ExplainedCase(np.zeros((40, 40, 1), np.uint8), mask, mask, mask.astype(np.float32), mask == 1, "scan   9%")
    write_explained_cases(run, [case], "liver", "down.3", ((0, 0, 0), (1, 2, 3)))
    page = text_of(run)
    assert "<h2>Evidence for liver</h2>" in page
    assert "Seg-Grad-CAM of the best weights at layer down.3" in page
    assert "none to strongest" in page
    assert page.count("<img") == 4 * 10 + 4 + 1


def test_an_older_run_shows_its_panel_and_its_drawing_of_the_confusion(full_run, tmp_path):
    run = full_run(tmp_path / "run", classes=("background", "liver", "tumour"))
    shutil.rmtree(run / "pictures" / "cases")
    (run / "confusion.csv").unlink()
    for name in ("val_cases.png", "val_confusion.png"):
        write_png(run / "pictures" / name, np.full((30, 40, 3), 90, np.uint8))
    page = text_of(run)
    assert "This run has no pictures of its worst and best cases; the panels show cases that were chosen evenly." in page
    assert 'alt="Cases of val"' in page
    assert 'alt="Confusion matrix"' in page
    assert "Not recorded with this run" not in page


def test_several_splits_have_headings(full_run, tmp_path):
    run = full_run(tmp_path / "run")
    lines = (run / "cases.csv").read_text().splitlines()
    (run / "cases.csv").write_text("\n".join([*lines, *(line.replace("val", "test", 1) for line in lines[1:])]) + "\n")
    page = text_of(run)
    assert re.findall(r"<h3>(val|test)</h3>", page) == ["test", "val", "val", "test", "val"], "scores, pictures, confusion"
    assert page.count('<div class="notice note"><p><span class="label">note</span> <strong>test: Dice ') == 1


def test_pictures_that_are_missing_are_counted(run):
    next((run / "pictures" / "cases").glob("val_00_*.jpg")).unlink()
    assert "1 of the pictures are no longer there." in text_of(run)


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


def test_no_log_is_said(run):
    shutil.rmtree(run / "csv")
    assert read_history(run) == {}
    assert training_charts({}, ["liver"], None) == []
    assert "There are no curves: csv/metrics.csv is missing or empty." in text_of(run)


def test_losses_dice_and_learning_rate_have_charts():
    found = {"loss/train": {0: 1.0, 1: 0.5}, "loss/val": {1: 0.7}, "val/dice": {1: 0.8}, "lr": {0: 1e-3, 1: 0.0}}
    charts = training_charts(found, ["liver"], 1)
    assert [chart.title for chart in charts] == ["Loss", "Dice on the validation cases", "Learning rate"]
    assert [text.text for chart in charts for text in chart.texts].count("best: epoch 1") == 2


def test_classes_have_lines_of_their_own_beside_the_mean():
    names = [f"class {n}" for n in range(9)]
    found = {f"val/dice/{name}": {0: 0.1} for name in names} | {"val/dice": {0: 0.1}}
    (chart,) = training_charts(found, names, None)
    assert chart.legend == ["mean over classes", *names[:7]]


def test_classes_without_a_line_are_counted(full_run, tmp_path):
    names = ["none", *(f"class {n}" for n in range(9))]
    assert "The chart of Dice shows the first 7 of 9 classes." in text_of(
        full_run(tmp_path / "run", classes=names, pictures=False)
    )


KEPT = SavedRun(("data.root=my pictures", "model=unet", "+tags=[a,b]"), {"model": "unet", "data": "liver"}, (), "/home/me")


def test_differences_are_found_at_any_depth():
    usual = {"model": {"width": 64, "depth": 5}, "loss": {"terms": {"ce": {"weight": 1.0}}}, "seed": 0, "later": 1}
    own = {"model": {"width": 16, "depth": 5, "mine": True}, "loss": {"terms": {"ce": {"weight": 0.5}}}, "seed": 0}
    assert list(differences(own, usual)) == [
        ("model.width", 16, 64),
        ("model.mine", True, NO_DEFAULT),
        ("loss.terms.ce.weight", 0.5, 1.0),
    ]


def test_where_a_run_lies_is_no_difference():
    assert list(differences({"run_dir": "a", "study": "b", "resume": "c"}, {"run_dir": None})) == []


def test_values_are_one_line():
    assert format_value("liver") == "liver"
    assert format_value(None) == "null"
    assert format_value([1, {"a": True}]) == '[1, {"a": true}]'
    assert format_value(NO_DEFAULT) == "(none)"
    assert len(format_value(["x"] * 1000)) < 310


def test_the_command_can_be_typed_as_it_stands():
    text = training_command(SavedRun(KEPT.overrides, {}, (Path("my conf"),), "/home/me"))
    assert shlex.split(text) == ["python", "-m", "segexp.train", "--config-dir=my conf", *KEPT.overrides]
    assert "'data.root=my pictures'" in text


def test_the_command_of_a_job_is_that_of_a_run():
    assert (
        training_command(SavedRun(("model=unet", "study=nets", "resume=runs/x", "run_dir=y"), {}, (), ""))
        == "python -m segexp.train model=unet"
    )


def test_an_unknown_command_is_said(run):
    assert "Type it in /somewhere/else, where the run was started: relative paths begin there." in text_of(run)
    (run / ".hydra" / "overrides.yaml").unlink()
    assert ".hydra/overrides.yaml is missing or broken" in text_of(run)


def test_settings_are_set_against_the_defaults_of_the_same_options():
    config = {"model": {"_target_": "segexp.models.UNet", "width": 7}, "data": {"name": "<liver>"}}
    found = compare_settings(RunInfo(config), KEPT)
    assert found.options == "data=liver, model=unet"
    assert ["model.width", "7", "64"] in found.differences.rows
    assert not [row for row in found.differences.rows if row[0] == "model._target_"], "it is the default"
    assert "name: <liver>" in found.text


@pytest.mark.parametrize("kept", [None, SavedRun((), {}, (), "")])
def test_unknown_options_are_none(kept):
    found = compare_settings(RunInfo({"seed": 0}), kept)
    assert (found.options, found.differences, found.text) == ("", None, "seed: 0\n")


def test_unknown_defaults_are_said(run):
    found = compare_settings(RunInfo({"seed": 0}), SavedRun((), {"model": "gone"}, (), ""))
    assert (found.options, found.differences) == ("model=gone", None)
    hydra = yaml.safe_load((run / ".hydra" / "hydra.yaml").read_text())
    hydra["hydra"]["runtime"]["choices"]["model"] = "gone"
    (run / ".hydra" / "hydra.yaml").write_text(yaml.safe_dump(hydra))
    assert "The defaults of these options no longer exist." in text_of(run)
    (run / ".hydra" / "hydra.yaml").unlink()
    assert "How the settings differ from the defaults is not known: .hydra/hydra.yaml is missing or broken." in text_of(run)


def test_numbers_have_units():
    assert [format_duration(s) for s in (12.3, 366, 20_000, None, "x")] == ["12 seconds", "6.1 minutes", "5.6 hours", "", ""]
    assert [format_memory(m) for m in (1_240_633_344, None)] == ["1.24 GB", ""]
