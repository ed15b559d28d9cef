import json
import math

import cv2
import numpy as np
import pytest
import torch

from segexp.data.dataset import ScoringSet
from segexp.data.inspect import Picture
from segexp.data.store import RamStore
from segexp.outcome import score_split, sentences, write_metrics
from segexp.postprocess import Postprocessing
from segexp.preprocessing import Preprocessing
from segexp.segmenter import Segmenter
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
        Picture((seen * 255)[..., None].astype(np.uint8), mask) for seen, mask in ((truth, truth), (half, truth), (none, none))
    ]
    cases = [Case(f"case{n}", Source(f"{n}.png"), (), "val", "scan") for n in range(3)]
    return cases, ScoringSet(RamStore(pictures), range(3), Preprocessing(1))


def test_scores_and_rows_of_a_split(segmenter, split):
    scores, rows = score_split(segmenter, "val", *split, pictures=2, directory=None)
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
    scores, _ = score_split(segmenter, "val", *split, pictures=0, directory=None)
    assert scores["val/dice"] == pytest.approx((1 + 0) / 2), "the half liver has 64 pixels"


def test_pictures_are_written_below_the_directory(segmenter, split, tmp_path):
    score_split(segmenter, "test", *split, pictures=2, directory=tmp_path / "run")
    files = sorted((tmp_path / "run" / "pictures").iterdir())
    assert [file.name for file in files] == ["test_cases.png", "test_confusion.png"]
    for file in files:
        assert cv2.imread(str(file)).std() > 1


def test_no_cases_in_the_panel_still_gives_the_confusion_matrix(segmenter, split, tmp_path):
    score_split(segmenter, "val", *split, pictures=0, directory=tmp_path)
    assert [file.name for file in (tmp_path / "pictures").iterdir()] == ["val_confusion.png"]


def test_without_a_directory_nothing_is_written(segmenter, split, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    score_split(segmenter, "val", *split, pictures=2, directory=None)
    assert list(tmp_path.iterdir()) == []


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
    assert sentences(scores) == [
        "val: Dice 0.9123, IoU 0.8000, pixel accuracy 1.0000 over 8 cases",
        "test: Dice nan, IoU nan, pixel accuracy nan over 1 case",
    ]
    assert sentences({}) == []
