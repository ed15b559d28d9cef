"""The pseudo-label round by the command line: what it leaves, that it goes on after interruptions, and what it refuses."""

import csv
import json
import shutil
import signal

import cv2
import numpy as np
import pytest
import torch

from segexp.data.demo import make_demo
from segexp.data.files.images import write_png
from segexp.module import SegmentationModule

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
    run, original, left = tmp_path / "run", SegmentationModule.training_step, [(phase, epoch)]

    def step(module, drawn, index):
        now = "teacher" if "teacher" in str(module.trainer.default_root_dir) else "student"
        if (now, module.current_epoch) in left:
            left.clear()
            signal.raise_signal(signal.SIGINT)
        return original(module, drawn, index)

    monkeypatch.setattr(SegmentationModule, "training_step", step)
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
