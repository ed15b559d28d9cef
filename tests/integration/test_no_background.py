"""Three classes, none of which is the background: every one counts in every mean, from training to the comparison."""

import csv
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from segexp.api.evaluate import evaluate
from segexp.api.predict import predict
from segexp.checkpoint import load_segmenter
from segexp.data.labels.modes import ALL_CLASSES
from segexp.deployment.metadata import parse_sidecar, sidecar_content
from segexp.errors import ConfigError
from segexp.evaluation.compare import compare_records
from segexp.evaluation.records import read_record

NAMES = ("field", "wood", "water")
CLASSES = "data.classes={field: 0, wood: 1, water: 3}"


@pytest.fixture(scope="module")
def land(tmp_path_factory):
    """Eight pictures of three areas each; the fourth has no field."""
    root, rng = tmp_path_factory.mktemp("land"), np.random.default_rng(2)
    for folder in ("images", "masks"):
        (root / folder).mkdir()
    for n in range(8):
        mask = np.full((32, 40), 3, np.uint8)
        mask[:, : 8 + n] = 0 if n != 3 else 1
        mask[: 10 + n, 16:] = 1
        image = 40 + 60 * mask + rng.normal(0, 12, mask.shape)
        cv2.imwrite(str(root / "images" / f"c{n}.png"), image.clip(0, 255).astype(np.uint8))
        cv2.imwrite(str(root / "masks" / f"c{n}.png"), mask)
    return root


@pytest.fixture(scope="module")
def run(train, land, tmp_path_factory):
    """A run of two epochs; its best weights are by the mean over all classes."""
    directory = tmp_path_factory.mktemp("background") / "all"
    data = ["data=paired_folders", f"data.root={land}", 'data.image="images/{id}.png"', 'data.mask="masks/{id}.png"', CLASSES]
    data += ["data.background=null", "data.channels=1", "data.num_workers=0", "data.val_fraction=0.5", "data.batch_size=2"]
    model = ["model.width=4", "model.depth=2", "trainer.gpus=0", "trainer.precision=32", "trainer.max_epochs=2"]
    assert train(*data, *model, "optimizer.lr=0.01", "callbacks.progress=false", f"run_dir={directory}") == 0
    return directory


def by_hand(rows, classes, column="dice"):
    """The mean over classes of the mean over the cases that have the class."""
    values = {name: [float(row[column]) for row in rows if row["class"] == name and row[column]] for name in classes}
    return float(np.mean([np.mean(found) for found in values.values()]))


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_log_of_training_and_its_outcome_are_means_over_all_classes(run):
    scores = json.loads((run / "metrics.json").read_text())
    rows = table(run / "cases.csv")
    assert {row["class"] for row in rows} == set(NAMES)
    assert scores["background"] is False
    for column in ("dice", "iou", "recall", "hd95", "ece"):
        assert scores["scores"][f"val/{column}"] == pytest.approx(by_hand(rows, NAMES, column), abs=1e-9), column
    history = [row for row in table(run / "csv" / "metrics.csv") if row.get("val/dice")]
    for row in history:
        each = [float(row[f"val/dice/{name}"]) for name in NAMES]
        assert float(row["val/dice"]) == pytest.approx(np.mean(each), abs=1e-6)
    assert max(float(row["val/dice"]) for row in history) == pytest.approx(scores["scores"]["val/dice"], abs=1e-6)


def test_evaluation_report_and_comparison_have_them_too(run, tmp_path):
    again = evaluate(run, output=str(tmp_path / "again"))
    rows = table(run / "cases.csv")
    assert again.scores["val/dice"] == pytest.approx(by_hand(rows, NAMES), abs=1e-9)
    assert set(again.scores) >= {f"val/dice/{name}" for name in NAMES}
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "then over all 3 classes, for none is the background" in page
    assert all(re.search(rf">\s*{name}\s*<", page) for name in NAMES)
    found = compare_records([read_record(run), read_record(tmp_path / "again")])
    assert found.entries[0].scored.mean() == pytest.approx(by_hand(rows, NAMES), abs=1e-9)
    assert found.entries[0].scored.values.shape[1] == 3


def test_the_same_weights_scored_with_the_first_class_left_out(run, tmp_path):
    found = evaluate(run, data={"background": "first"}, output=str(tmp_path / "two"))
    assert found.scores["val/dice"] == pytest.approx(by_hand(table(run / "cases.csv"), NAMES[1:]), abs=1e-9)
    with pytest.raises(ConfigError, match=r"=water, and the checkpoint was trained with field as its first class"):
        evaluate(run, data={"background": "water"})


def test_masks_and_exports_know_of_it(run, land, tmp_path):
    segmenter = load_segmenter(run)
    assert segmenter.label_mode is ALL_CLASSES
    assert (0, 0, 0) not in segmenter.spec.palette
    predict(run, str(land / "images"), str(tmp_path / "masks"), overlay=True)
    drawn = cv2.imread(str(tmp_path / "masks" / "c0.png"))[..., ::-1]
    assert {tuple(map(int, colour)) for colour in np.unique(drawn.reshape(-1, 3), axis=0)} <= set(segmenter.spec.palette)
    with pytest.raises(ConfigError, match="no class is the background"):
        predict(run, str(land / "images"), str(tmp_path / "small"), postprocess={"min_area": 9})
    with pytest.raises(ConfigError, match="Leave tune out"):
        evaluate(run, tune="postprocess")
    found = json.loads(json.dumps(sidecar_content(segmenter, "onnx", "fp32", "logits", 17)))
    assert parse_sidecar(found, Path("net.onnx"))[1] == segmenter.spec
