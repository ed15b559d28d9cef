import csv
import json
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from fixtures.configs import train_config
from segexp.data.io.images import write_png
from segexp.data.labels.modes import MULTICLASS, MULTILABEL
from segexp.data.preprocessing import Preprocessing
from segexp.data.synthetic.datasets import make_demo
from segexp.errors import CheckpointError, ConfigError, DataError
from segexp.inference.postprocessing import Postprocessing
from segexp.inference.segmenter import Segmenter
from segexp.training import pseudo_labels as one_round
from segexp.training.pseudo_labels import attach_masks, check_labels, confidence, summarise_labels, write_pseudo_labels
from segexp.training.run import absolute_paths
from segexp.training.task import SegmentationTask
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
    assert torch.equal(confidence(chances, MULTICLASS), torch.full((2, 2), 0.5))


def test_where_labels_overlap_it_is_that_of_the_least_certain_decision():
    chances = torch.tensor([[0.1, 0.4], [0.9, 0.6], [0.05, 0.01]]).view(3, 1, 2)
    assert confidence(chances, MULTILABEL).flatten().tolist() == pytest.approx([0.9, 0.6])


def test_sure_pixels_get_their_class_and_others_are_ignored(cases, tmp_path):
    write_pseudo_labels(teacher(), cases, tmp_path / "out", SETTINGS)
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
    write_pseudo_labels(teacher(), cases, tmp_path / "out", SETTINGS)
    left = attach_masks(tmp_path / "out", cases)
    assert [case.id for case in left] == ["a.png", "b.png"]
    assert all(case.masks[0].path.is_file() for case in left)
    said = summarise_labels(tmp_path / "out", len(left))
    assert said.startswith("Pseudo-labels: 2 of 3 images, ")
    assert "(confidence 0.9 or more): background " in said
    assert "None of them" not in said


def test_a_class_that_is_never_sure_is_named(cases, tmp_path):
    write_pseudo_labels(teacher(3), cases, tmp_path / "out", SETTINGS | {"confidence": 0.8})
    assert "None of them is cell or nucleus" not in summarise_labels(tmp_path / "out", 2)
    assert "None of them is nucleus, so the unlabelled images teach nothing about that" in summarise_labels(tmp_path / "out", 2)


def test_overlapping_labels_become_bit_sets(cases, tmp_path):
    write_pseudo_labels(teacher(3, overlapping=True), cases, tmp_path / "out", SETTINGS | {"confidence": 0.7})
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
        write_pseudo_labels(teacher(), cases[2:], tmp_path / "out", SETTINGS)
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
        write_pseudo_labels(teacher(), cases, tmp_path / "out", SETTINGS, stopped)
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


def test_labels_of_other_settings_are_refused(cases, tmp_path):
    write_pseudo_labels(teacher(), cases, tmp_path / "out", SETTINGS)
    check_labels(tmp_path / "out", cases, SETTINGS)
    with pytest.raises(CheckpointError, match=r"were made with confidence 0\.9 \(now 0\.8\)\. A resumed run continues"):
        check_labels(tmp_path / "out", cases, SETTINGS | {"confidence": 0.8})
    with pytest.raises(CheckpointError, match=r"were made with 3 images \(now 2, of which 2 are the same\)"):
        check_labels(tmp_path / "out", cases[:2], SETTINGS)


def round_of(monkeypatch, tmp_path, segmenter, spec):
    """Begin a round whose teacher is named; nothing of it is read from a file."""
    monkeypatch.setattr(one_round, "load_named_segmenter", lambda *_: segmenter)
    settings = {"teacher": "RUN", "confidence": 0.9, "share": 0.5, "trust": []}
    config = absolute_paths(train_config({"data": {"unlabeled": "DIR", "pseudo": settings}, "trainer": {"gpus": 0}}))
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
    pseudo = {"teacher": None, "confidence": 0.9, "share": 0.5}
    config = train_config({"data": {"unlabeled": "DIR", "pseudo": pseudo}, "trainer": {"gpus": 2}})
    with pytest.raises(ConfigError, match=r"on 2 GPUs without a data\.pseudo\.teacher.*then type data\.pseudo\.teacher=RUN"):
        one_round.add_pseudo_labels(config, SimpleNamespace(track=None), tmp_path, pytest.fail, lambda _: None)


EPOCHS = "trainer.max_epochs=2"


@pytest.fixture(scope="module")
def extra(tmp_path_factory):
    """Six further slices of 64 pixels without masks, one of them in a folder of its own."""
    made = make_demo(tmp_path_factory.mktemp("more"), "organ", count=6, size=64, seed=9)
    folder = tmp_path_factory.mktemp("unlabeled")
    images = sorted(p for p in made.rglob("*.png") if "_mask" not in p.name)
    (folder / "deep").mkdir()
    for n, image in enumerate(images):
        shutil.copy(image, folder / ("deep" if n == 0 else ".") / f"u{n}.png")
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory, train, small, extra):
    """A run with a teacher of its own."""
    run = tmp_path_factory.mktemp("whole") / "run"
    assert train(*small, EPOCHS, f"data.unlabeled={extra}", "data.pseudo.confidence=0.5", f"run_dir={run}") == 0
    return run


def state(run, name="last"):
    return torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"]


def same(one, other):
    return set(one) == set(other) and all(torch.equal(one[name], other[name]) for name in one)


def rows(run):
    with (run / "pseudo" / "pseudo.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_what_a_run_leaves(whole, extra, train, small, tmp_path, compare, capfd):
    found = rows(whole)
    assert {row["image"] for row in found} == {"deep/u0.png", *(f"u{n}.png" for n in range(1, 6))}
    for row in found:
        mask = cv2.imread(str(whole / "pseudo" / row["mask"]), cv2.IMREAD_UNCHANGED)
        assert mask.shape == (64, 64)
        assert set(np.unique(mask)) <= {0, 1, 255}
        assert float(row["labelled"]) == pytest.approx(float((mask != 255).mean()), abs=1e-5)
        assert float(row["share/liver"]) == pytest.approx(float((mask == 1).mean()), abs=1e-5)
        assert 0.5 <= float(row["confidence"]) <= 1
    assert not same(state(whole), state(whole / "teacher"))
    with (whole / "split.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 10, "no pseudo-label is in any split"
    cases = (whole / "cases.csv").read_text()
    assert "u1" not in cases
    assert (whole / "report.html").is_file()
    assert (whole / "teacher" / "report.html").is_file()
    plain = tmp_path / "plain"
    assert train(*small, EPOCHS, f"run_dir={plain}") == 0
    assert same(state(whole / "teacher"), state(plain)), "the teacher is the run without unlabelled images"
    steps = [json.loads((run / "metrics.json").read_text())["steps"] for run in (whole, plain)]
    assert steps == [2 * (10 // 2), 2 * (5 // 2)], "as many unlabelled images as labelled ones in an epoch"
    capfd.readouterr()
    assert compare(whole, whole / "teacher") == 0


@pytest.mark.slow
def test_a_named_teacher_gives_the_same_student(whole, extra, train, small, tmp_path, capfd):
    run = tmp_path / "named"
    words = [f"data.unlabeled={extra}", "data.pseudo.confidence=0.5", f"data.pseudo.teacher={whole / 'teacher'}"]
    assert train(*small, EPOCHS, *words, f"run_dir={run}") == 0
    assert not (run / "teacher").exists()
    assert same(state(whole), state(run))
    said = capfd.readouterr().out
    assert f"Unlabelled: 6 images in {extra}" in said
    assert "Pseudo-labels: 6 of 6 images, " in said


@pytest.mark.slow
@pytest.mark.parametrize(("phase", "epoch"), [("teacher", 1), ("student", 0), ("student", 1)])
def test_a_resumed_run_ends_as_an_uninterrupted_one(whole, extra, train, small, tmp_path, monkeypatch, phase, epoch, capfd):
    run, original, left = tmp_path / "run", SegmentationTask.training_step, [(phase, epoch)]

    def step(module, drawn, index):
        now = "teacher" if "teacher" in str(module.trainer.default_root_dir) else "student"
        if (now, module.current_epoch) in left:
            left.clear()
            signal.raise_signal(signal.SIGINT)
        return original(module, drawn, index)

    monkeypatch.setattr(SegmentationTask, "training_step", step)
    words = [*small, EPOCHS, f"data.unlabeled={extra}", "data.pseudo.confidence=0.5", f"run_dir={run}"]
    assert train(*words) == 130
    said = capfd.readouterr().out
    assert f"To go on: python -m segexp.train 'resume={run}'" in said.replace("\n", "")
    assert said.count("To go on") == 1
    assert train(*words) == 2, "a new run is not written over it"
    assert "already holds a run" in capfd.readouterr().err
    assert train(f"resume={run}") == 0
    assert same(state(whole), state(run))
    assert same(state(whole, "best"), state(run, "best"))
    assert rows(whole) == rows(run)


@pytest.mark.slow
def test_a_run_does_not_go_on_with_other_labels(whole, extra, train, tmp_path, capfd):
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    assert train(f"resume={run}", "data.pseudo.confidence=0.7", "trainer.max_epochs=3") == 1
    problem = capfd.readouterr().err
    assert f"{run / 'pseudo'} holds pseudo-labels that were made with confidence 0.5 (now 0.7)" in problem
    assert "Leave such keys out of the command" in problem
    fewer = tmp_path / "fewer"
    shutil.copytree(extra, fewer)
    (fewer / "u1.png").unlink()
    assert train(f"resume={run}", f"data.unlabeled={fewer}", "trainer.max_epochs=3") == 1
    assert "6 images (now 5, of which 5 are the same)" in capfd.readouterr().err


@pytest.mark.slow
def test_nothing_is_confident(whole, extra, train, small, tmp_path, capfd):
    run = tmp_path / "run"
    words = [f"data.unlabeled={extra}", "data.pseudo.confidence=0.9999999", f"data.pseudo.teacher={whole / 'teacher'}"]
    assert train(*small, EPOCHS, *words, f"run_dir={run}") == 1
    problem = capfd.readouterr().err
    assert f"The teacher is sure of no pixel of the 6 images of {extra}: the surest has 0." in problem
    assert "data.pseudo.confidence is 1" in problem
    assert "Type data.pseudo.confidence=0." in problem
    assert "or name a better data.pseudo.teacher" in problem
    assert not (run / "pseudo").exists()


def refused(train, small, tmp_path, capfd, *words):
    """What is said when a run with these words is refused; nothing is trained and nothing left behind."""
    run = tmp_path / "refused"
    code = train(*small, EPOCHS, *words, f"run_dir={run}")
    assert not (run / "teacher").exists()
    assert not (run / "split.csv").exists()
    return code, " ".join(capfd.readouterr().err.split())


@pytest.mark.parametrize(("key", "value"), [("confidence", 0), ("confidence", 1), ("confidence", 1.5), ("share", 1)])
def test_values_out_of_range(train, small, tmp_path, capfd, extra, key, value):
    code, said = refused(train, small, tmp_path, capfd, f"data.unlabeled={extra}", f"data.pseudo.{key}={value}")
    assert code == 2
    assert f"data.pseudo.{key} is {value} " in said
    assert "expected a number, strictly between 0 and 1" in said


def test_an_unknown_key(train, small, tmp_path, capfd):
    code, said = refused(train, small, tmp_path, capfd, "data.pseudo.confidance=0.5")
    assert code == 2
    assert "confidence" in said


def test_no_folder_and_no_image(train, small, tmp_path, capfd):
    code, said = refused(train, small, tmp_path, capfd, f"data.unlabeled={tmp_path / 'nowhere'}")
    assert (code, f"data.unlabeled={tmp_path / 'nowhere'} does not exist" in said) == (1, True)
    assert "Type data.unlabeled=DIR" in said
    (tmp_path / "empty").mkdir()
    code, said = refused(train, small, tmp_path, capfd, f"data.unlabeled={tmp_path / 'empty'}")
    assert (code, f"data.unlabeled={tmp_path / 'empty'} holds no image; it is empty" in said) == (1, True)


def test_the_validation_images_themselves(train, small, slices, tmp_path, capfd):
    code, said = refused(train, small, tmp_path, capfd, f"data.unlabeled={slices}")
    assert code == 1
    assert f"5 images of data.unlabeled={slices} are also scored: val/" in said
    assert ".png is val/" in said
    assert "of val, the same file" in said
    assert f"Move them out of {slices}, or name another folder: data.unlabeled=DIR" in said


def test_a_copy_of_a_validation_image_under_another_name(train, small, slices, extra, tmp_path, capfd):
    folder = tmp_path / "copies"
    shutil.copytree(extra, folder)
    image = sorted(p for p in (slices / "val").glob("*.png") if "_mask" not in p.name)[2]
    write_png(folder / "mine.png", cv2.imread(str(image), cv2.IMREAD_UNCHANGED))
    code, said = refused(train, small, tmp_path, capfd, f"data.unlabeled={folder}")
    assert code == 1
    assert f"1 image of data.unlabeled={folder} is also scored: mine.png is val/{image.stem} of val, the same picture" in said
    assert "What is scored must be new to the network, also without its mask" in said


def test_training_images_alone(train, small, slices, tmp_path, capfd):
    code, said = refused(train, small, tmp_path, capfd, f"data.unlabeled={slices / 'train'}")
    assert code == 1
    assert "are training images that have masks. Further images, without masks, were expected" in said


def test_other_channels_and_values(train, small, tmp_path, capfd):
    rng = np.random.default_rng(0)
    (tmp_path / "wide").mkdir()
    cv2.imwrite(str(tmp_path / "wide" / "a.png"), rng.integers(0, 60000, (64, 64)).astype(np.uint16))
    code, said = refused(train, small, tmp_path, capfd, f"data.unlabeled={tmp_path / 'wide'}")
    assert code == 1
    assert "wide/a.png in data.unlabeled is not 8-bit, and the training images are 8-bit" in said
    (tmp_path / "five").mkdir()
    import tifffile

    tifffile.imwrite(tmp_path / "five" / "a.tif", rng.integers(0, 255, (64, 64, 5)).astype(np.uint8), planarconfig="contig")
    code, said = refused(train, small, tmp_path, capfd, f"data.unlabeled={tmp_path / 'five'}")
    assert code == 1
    assert "a.tif has 5 channels, data.channels is 1" in said


def test_a_teacher_that_is_none(train, small, extra, tmp_path, capfd):
    words = [f"data.unlabeled={extra}", f"data.pseudo.teacher={tmp_path / 'nobody'}"]
    code, said = refused(train, small, tmp_path, capfd, *words)
    assert code == 1
    assert f"data.pseudo.teacher={tmp_path / 'nobody'} does not exist" in said
