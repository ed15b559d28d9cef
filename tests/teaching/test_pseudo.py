import csv
import json
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from segexp.data.files.images import write_png
from segexp.errors import CheckpointError, ConfigError, DataError
from segexp.labelling import EXCLUSIVE, OVERLAPPING
from segexp.postprocess import Postprocessing
from segexp.preprocessing import Preprocessing
from segexp.segmenter import Segmenter
from segexp.teaching import round as one_round
from segexp.teaching.pseudo import check_labels, confidence, label, summed_up, with_masks
from segexp.types import Case, DataSpec, Source


class Bright(nn.Module):
    """Logits by brightness: the darker, the surer the background; classes 1 and 2 where it is bright, 1 the surer."""

    def __init__(self, classes):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([0.0, 8.0, 4.0][:classes]))

    def forward(self, image):
        return (image - 0.5) * self.weight.view(1, -1, 1, 1)


def teacher(classes=2, overlapping=False):
    names = ("background", "cell", "nucleus")[:classes]
    spec = DataSpec("cells", names, 1, ((0, 0, 0),) * classes, overlapping)
    made = Segmenter(Bright(classes), Preprocessing(1, mean=(0.0,), std=(1.0,)), spec)
    made.postprocessing = Postprocessing(fill_holes=True)
    return made


@pytest.fixture
def cases(tmp_path):
    """Two slopes from black to white, and a gray picture in a folder of its own."""
    slope = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (32, 1))
    for name, image in (("a", slope), ("b", slope.T), ("deep/a", np.full((32, 32), 130, np.uint8))):
        write_png(tmp_path / "images" / f"{name}.png", image)
    names = ("a.png", "b.png", "deep/a.png")
    return [Case(name, Source(tmp_path / "images" / name), ()) for name in names]


SETTINGS = {"unlabeled": "/there", "teacher": None, "confidence": 0.9}


def masks(folder, cases):
    with (folder / "pseudo.csv").open(newline="") as file:
        rows = {row["image"]: row for row in csv.DictReader(file)}
    return {case.id: cv2.imread(str(folder / rows[case.id]["mask"]), cv2.IMREAD_UNCHANGED) for case in cases}, rows


def test_confidence_is_the_probability_of_the_chosen_class():
    chances = torch.tensor([0.2, 0.5, 0.3]).view(3, 1, 1).expand(3, 2, 2)
    assert torch.equal(confidence(chances, EXCLUSIVE), torch.full((2, 2), 0.5))


def test_where_labels_overlap_it_is_that_of_the_least_certain_decision():
    chances = torch.tensor([[0.1, 0.4], [0.9, 0.6], [0.05, 0.01]]).view(3, 1, 2)
    assert confidence(chances, OVERLAPPING).flatten().tolist() == pytest.approx([0.9, 0.6])


def test_sure_pixels_get_their_class_and_others_are_ignored(cases, tmp_path):
    label(teacher(), cases, tmp_path / "out", SETTINGS)
    found, rows = masks(tmp_path / "out", cases)
    brightness = np.arange(0, 256, 4) / 255
    chance = 1 / (1 + np.exp(-8 * (brightness - 0.5)))
    wanted = np.where(chance >= 0.9, 1, np.where(chance <= 0.1, 0, 255))
    assert np.array_equal(found["a.png"], np.tile(wanted, (32, 1)))
    assert np.array_equal(found["b.png"], found["a.png"].T)
    assert (found["deep/a.png"] == 255).all()
    assert float(rows["a.png"]["labelled"]) == pytest.approx((wanted != 255).mean(), abs=1e-6)
    assert float(rows["a.png"]["share/cell"]) == pytest.approx((wanted == 1).mean(), abs=1e-6)
    assert float(rows["a.png"]["confidence"]) == pytest.approx(np.maximum(chance, 1 - chance).mean(), abs=1e-4)
    assert json.loads((tmp_path / "out" / "settings.json").read_text()) == SETTINGS


def test_images_without_a_sure_pixel_take_no_part(cases, tmp_path):
    label(teacher(), cases, tmp_path / "out", SETTINGS)
    left = with_masks(tmp_path / "out", cases)
    assert [case.id for case in left] == ["a.png", "b.png"]
    assert all(case.masks[0].path.is_file() for case in left)
    said = summed_up(tmp_path / "out", len(left))
    assert said.startswith("Pseudo-labels: 2 of 3 images, ")
    assert "(confidence 0.9 or more): background " in said
    assert "None of them" not in said


def test_a_class_that_is_never_sure_is_named(cases, tmp_path):
    label(teacher(3), cases, tmp_path / "out", SETTINGS | {"confidence": 0.8})
    assert "None of them is cell or nucleus" not in summed_up(tmp_path / "out", 2)
    assert "None of them is nucleus, so the unlabelled images teach nothing about that" in summed_up(tmp_path / "out", 2)


def test_overlapping_labels_become_bit_sets(cases, tmp_path):
    label(teacher(3, overlapping=True), cases, tmp_path / "out", SETTINGS | {"confidence": 0.7})
    found, rows = masks(tmp_path / "out", cases)
    brightness = np.arange(0, 256, 4) / 255
    cell, nucleus = (1 / (1 + np.exp(-slope * (brightness - 0.5))) for slope in (8, 4))
    sure = np.minimum(np.maximum(cell, 1 - cell), np.maximum(nucleus, 1 - nucleus)) >= 0.7
    wanted = np.where(sure, (cell > 0.5) * 1 + (nucleus > 0.5) * 2, 255)
    assert set(wanted) == {0, 3, 255}
    assert np.array_equal(found["a.png"], np.tile(wanted, (32, 1)))
    assert float(rows["a.png"]["share/nucleus"]) == pytest.approx((wanted == 3).mean(), abs=1e-6)


def test_sure_of_nothing(cases, tmp_path):
    with pytest.raises(DataError) as caught:
        label(teacher(), cases[2:], tmp_path / "out", SETTINGS)
    assert str(caught.value) == (
        "The teacher is sure of no pixel of the 1 image of /there: the surest has 0.5196, and data.pseudo.confidence is 0.9. "
        "Some pixels with a probability of at least that were expected. "
        "Type data.pseudo.confidence=0.46, or name a better data.pseudo.teacher."
    )
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


def test_an_interruption_leaves_nothing_half_written(cases, tmp_path):
    def stopped(each, _):
        yield next(each)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        label(teacher(), cases, tmp_path / "out", SETTINGS, stopped)
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


def test_labels_of_other_settings_are_refused(cases, tmp_path):
    label(teacher(), cases, tmp_path / "out", SETTINGS)
    check_labels(tmp_path / "out", cases, SETTINGS)
    with pytest.raises(CheckpointError, match=r"were made with confidence 0\.9 \(now 0\.8\)\. A resumed run goes on"):
        check_labels(tmp_path / "out", cases, SETTINGS | {"confidence": 0.8})
    with pytest.raises(CheckpointError, match=r"were made with 3 images \(now 2, of which 2 are the same\)"):
        check_labels(tmp_path / "out", cases[:2], SETTINGS)


def round_of(monkeypatch, tmp_path, segmenter, spec):
    """Begin a round whose teacher is named; nothing of it is read from a file."""
    monkeypatch.setattr(one_round, "named_segmenter", lambda *_: segmenter)
    settings = {"teacher": "RUN", "confidence": 0.9, "share": 0.5, "trust": []}
    config = {"data": {"unlabeled": "DIR", "pseudo": settings}, "trainer": {"gpus": 0}}
    data = SimpleNamespace(spec=spec, cases=[], splits={}, split_rows=list)
    one_round.add_pseudo_labels(config, data, tmp_path, pytest.fail, lambda _: None)


def test_a_teacher_of_other_classes_is_refused(tmp_path, monkeypatch):
    spec = DataSpec("organs", ("background", "liver"), 3, ((0, 0, 0),) * 2)
    with pytest.raises(ConfigError) as caught:
        round_of(monkeypatch, tmp_path, teacher(), spec)
    assert str(caught.value) == (
        f"data.pseudo.teacher={Path('RUN').resolve()} tells apart background, cell (exclusive labels) in 1 channel(s), and the "
        "data have background, liver (exclusive labels) in 3 channel(s). The same classes in the same order, labels and "
        "channels were expected: its masks are those of the data. Name another data.pseudo.teacher, or leave it out: then a "
        "first network is trained on the labelled images."
    )


def test_a_teacher_that_has_learned_from_scored_images_is_refused(tmp_path, monkeypatch):
    def seen(*_):
        raise ConfigError("It has seen them")

    monkeypatch.setattr(one_round, "check_unseen", seen)
    with pytest.raises(ConfigError, match="It has seen them"):
        round_of(monkeypatch, tmp_path, teacher(), teacher().spec)


def test_several_gpus_need_a_teacher_that_is_there(tmp_path, monkeypatch):
    monkeypatch.setattr(one_round, "choose_devices", lambda _: ("cuda", 2))
    monkeypatch.setattr(one_round, "find_unlabeled", lambda *_: ([], "Unlabelled: …"))
    config = {
        "data": {"unlabeled": "DIR", "pseudo": {"teacher": None, "confidence": 0.9, "share": 0.5}},
        "trainer": {"gpus": 2},
    }
    with pytest.raises(ConfigError, match=r"on 2 GPUs without a data\.pseudo\.teacher.*then type data\.pseudo\.teacher=RUN"):
        one_round.add_pseudo_labels(config, SimpleNamespace(track=None), tmp_path, pytest.fail, lambda _: None)
