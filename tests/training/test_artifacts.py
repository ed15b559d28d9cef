import csv
import json
import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from segexp.data.cache import RamStore
from segexp.data.dataset import EvalDataset
from segexp.data.preprocessing import Preprocessing
from segexp.data.statistics import DecodedCase
from segexp.errors import DataError
from segexp.inference.postprocessing import Postprocessing
from segexp.inference.segmenter import Segmenter
from segexp.metrics.boundary import Boundary
from segexp.metrics.calibration import Calibration
from segexp.metrics.cases import COLUMNS, case_rows
from segexp.metrics.significance import Interval, bootstrap_interval
from segexp.reporting.case_images import read_case_images
from segexp.reporting.diagnostics import read_calibration, read_confusion
from segexp.training.artifacts import SplitResult, all_intervals, format_scores, score_split, write_metrics, write_outcomes
from segexp.types import Case, DataSpec, Source


class Threshold(torch.nn.Module):
    """Class 1 where the image is above one half."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(1.0))

    def forward(self, image):
        difference = self.weight * (image - 0.5)
        return torch.cat([-difference, difference], dim=1)


@pytest.fixture
def segmenter():
    return Segmenter(Threshold(), Preprocessing(1), DataSpec("d", ("background", "liver"), 1, ((0, 0, 0), (230, 159, 0))))


@pytest.fixture
def split():
    """Two cases of 16x16: one right, one whose half of the liver is missed; a third without liver, predicted empty."""
    truth = np.zeros((16, 16), np.uint8)
    truth[:8] = 1
    half, none = truth.copy(), np.zeros_like(truth)
    half[4:8] = 0
    pictures = [
        DecodedCase((seen * 255)[..., None].astype(np.uint8), mask)
        for seen, mask in ((truth, truth), (half, truth), (none, none))
    ]
    cases = [Case(f"case{n}", Source(f"{n}.png"), (), "val", "scan") for n in range(3)]
    return cases, EvalDataset(RamStore(pictures), range(3), Preprocessing(1))


def test_scores_and_rows_of_a_split(segmenter, split):
    outcome = score_split(segmenter, "val", *split, pictures=2, directory=None)
    scores, rows = outcome.scores, outcome.rows
    assert scores["val/dice"] == pytest.approx((1 + 2 * 64 / (2 * 64 + 64)) / 2)
    assert scores["val/iou"] == pytest.approx((1 + 0.5) / 2)
    assert scores["val/accuracy"] == pytest.approx((1 + 0.75 + 1) / 3)
    assert scores["val/cases"] == 3
    assert scores["val/empty/liver"] == 1
    assert all(name.startswith("val/") for name in scores)
    assert {row["id"] for row in rows} == {"case0", "case1", "case2"}
    assert {row["split"] for row in rows} == {"val"}


def test_each_scored_case_is_told(segmenter, split):
    told = []
    score_split(segmenter, "val", *split, pictures=0, directory=None, done=told.append)
    assert told == [0, 1, 2]


def test_scores_are_those_of_the_post_processed_masks(segmenter, split):
    segmenter.postprocessing = Postprocessing(min_area=100)
    scores = score_split(segmenter, "val", *split, pictures=0, directory=None).scores
    assert scores["val/dice"] == pytest.approx((1 + 0) / 2), "the half liver has 64 pixels"


def test_pictures_are_written_below_the_directory(segmenter, split, tmp_path):
    score_split(segmenter, "test", *split, pictures=2, directory=tmp_path / "run")
    pictures = tmp_path / "run" / "pictures"
    assert sorted(file.name for file in pictures.iterdir()) == ["cases", "test_cases.png", "test_confusion.png"]
    assert {shown.case for shown in read_case_images(tmp_path / "run")} >= {"case0", "case1"}
    for file in pictures.glob("*.png"):
        assert cv2.imread(str(file)).std() > 1


def test_no_cases_in_the_panel_still_gives_the_confusion_matrix(segmenter, split, tmp_path):
    score_split(segmenter, "val", *split, pictures=0, directory=tmp_path)
    assert [file.name for file in (tmp_path / "pictures").iterdir()] == ["val_confusion.png"]


def test_without_a_directory_nothing_is_written(segmenter, split, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    score_split(segmenter, "val", *split, pictures=2, directory=None)
    assert list(tmp_path.iterdir()) == []


MEASURES = [Boundary(), Calibration(bins=5)]


def test_measures_become_columns_and_means_over_cases(segmenter, split):
    outcome = score_split(segmenter, "val", *split, pictures=0, directory=None, measures=MEASURES)
    liver = [row for row in outcome.rows if row["class"] == "liver"]
    assert tuple(liver[0]) == (*COLUMNS, "hd95", "assd", "nsd", "boundary_iou", "ece", "brier")
    assert [row["hd95"] for row in liver] == ["0.0", "4.0", ""], "four rows of liver are missed in case 1, none is in case 2"
    assert {row["hd95"] for row in outcome.rows if row["class"] == "background"} == {""}
    assert outcome.scores["val/hd95"] == outcome.scores["val/hd95/liver"] == 2.0
    brier = [float(row["brier"]) for row in liver]
    assert len(brier) == 3
    assert outcome.scores["val/brier/liver"] == pytest.approx(np.mean(brier))


def test_what_the_report_needs_is_written_for_all_splits(segmenter, split, tmp_path):
    given = {name: score_split(segmenter, name, *split, 0, None, MEASURES) for name in ("val", "test")}
    scores = write_outcomes(tmp_path, given, segmenter.spec.classes)
    assert scores == given["val"].scores | given["test"].scores
    assert [row["split"] for row in csv.DictReader((tmp_path / "cases.csv").read_text().splitlines())] == ["val"] * 6 + [
        "test"
    ] * 6
    matrices = read_confusion(tmp_path / "confusion.csv", segmenter.spec.classes)
    assert {name: matrix.tolist() for name, matrix in matrices.items()} == {name: [[512, 0], [64, 192]] for name in given}
    names, counts = read_calibration(tmp_path / "calibration.json")["test"]
    assert names == ["liver"]
    assert counts.pixels.shape == (1, 5)
    assert counts.pixels.sum() == 3 * 256
    assert counts.brier() == given["test"].reliability.brier()


def test_calibration_of_an_earlier_scoring_does_not_stay(segmenter, split, tmp_path):
    for measures, there in ((MEASURES, True), ([Boundary()], False)):
        outcomes = {"val": score_split(segmenter, "val", *split, 0, None, measures)}
        write_outcomes(tmp_path, outcomes, segmenter.spec.classes)
        assert (tmp_path / "calibration.json").is_file() == there


def test_metrics_are_json_that_every_reader_takes(tmp_path):
    file = tmp_path / "metrics.json"
    write_metrics(file, {"val/dice": 0.5, "val/iou": math.nan, "test/dice": math.inf}, {"status": "finished", "seconds": 1.5})
    assert json.loads(file.read_text(), parse_constant=pytest.fail) == {
        "scores": {"val/dice": 0.5, "val/iou": None, "test/dice": None},
        "status": "finished",
        "seconds": 1.5,
    }
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]


def test_metrics_are_written_whole_or_not_at_all(tmp_path):
    file = tmp_path / "metrics.json"
    write_metrics(file, {"val/dice": 0.5}, {})
    with pytest.raises(TypeError):
        write_metrics(file, {"val/dice": 0.75}, {"status": object()})
    assert json.loads(file.read_text())["scores"] == {"val/dice": 0.5}


def test_a_sentence_per_split_with_the_number_of_cases():
    scores = {f"val/{name}": value for name, value in (("dice", 0.91234), ("iou", 0.8), ("accuracy", 1.0), ("cases", 8.0))}
    scores |= {f"test/{name}": math.nan for name in ("dice", "iou", "accuracy")} | {"test/cases": 1.0}
    assert format_scores(scores) == [
        "val: Dice 0.9123, IoU 0.8000, pixel accuracy 1.0000 over 8 cases",
        "test: Dice nan, IoU nan, pixel accuracy nan over 1 case",
    ]
    known = {"val/dice": Interval(0.91234, 0.87, 0.93, 8), "val/iou": Interval(0.8, math.nan, math.nan, 1)}
    expected = "val: Dice 0.9123 [0.8700, 0.9300], IoU 0.8000, pixel accuracy 1.0000 over 8 cases, 95 % intervals in brackets"
    assert format_scores(scores, known)[0] == expected
    assert format_scores({}) == []


def test_every_mean_over_cases_has_the_interval_of_the_report(segmenter, split, tmp_path):
    cases, prepared = split
    cases = [replace(case, group=None) for case in cases]
    outcome = score_split(segmenter, "val", cases, prepared, 0, None, [Boundary(), Calibration()])
    found = all_intervals({"val": outcome})
    means = {name for name in outcome.scores if not name.partition("/")[2].startswith(("cases", "empty", "false_alarm"))}
    assert set(found) == {name for name in means if "pooled" not in name and not name.endswith("/liver")}
    for name, interval in found.items():
        assert interval.mean == pytest.approx(outcome.scores[name])
        assert interval.cases == (3 if name in ("val/accuracy", "val/ece", "val/brier") else 2), name
        assert interval.low <= interval.mean <= interval.high
    assert found["val/dice"] == bootstrap_interval([1.0, 2 * 64 / (2 * 64 + 64), math.nan])
    write_metrics(tmp_path / "metrics.json", outcome.scores, {}, found)
    kept = json.loads((tmp_path / "metrics.json").read_text())["intervals"]
    assert kept["val/dice"] == [found["val/dice"].low, found["val/dice"].high]


def test_each_class_has_intervals_where_there_are_several(split):
    rows = case_rows(
        "val", split[0], np.array([np.diag([90, n, 2 * n]) + np.eye(3, k=1, dtype=int) for n in (5, 9, 30)]), "bxy"
    )
    found = all_intervals({"val": SplitResult({}, rows, np.zeros((3, 3)), None)})
    assert {"val/dice", "val/dice/x", "val/dice/y", "val/recall/x", "val/accuracy"} <= set(found)
    assert found["val/dice/x"].mean == pytest.approx(np.mean([2 * n / (2 * n + 2) for n in (5, 9, 30)]))


def test_spacing_reaches_the_measures_and_is_asked_for_before_anything_is_scored(segmenter, split):
    cases, prepared = split
    measures = [Boundary(unit="spacing")]
    told = []
    with pytest.raises(DataError, match=r"Case case0 cannot be measured: .*the data give none"):
        score_split(segmenter, "val", cases, prepared, 0, None, measures, told.append)
    assert told == []
    wide = EvalDataset(RamStore(prepared.store.pictures), range(3), Preprocessing(1), [(2.0, 1.0), (0.5, 1.0), (1.0, 1.0)])
    rows = score_split(segmenter, "val", cases, wide, 0, None, measures).rows
    pixels = score_split(segmenter, "val", cases, prepared, 0, None, [Boundary()]).rows
    found, plain = ([float(row["hd95"] or "nan") for row in each if row["class"] == "liver"] for each in (rows, pixels))
    assert plain[0] == found[0] == 0
    assert plain[1] == 4
    assert found[1] == 2, "four rows of half a unit each"
    assert math.isnan(found[2])
