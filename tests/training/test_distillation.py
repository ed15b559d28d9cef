"""From `distill.teacher=RUN` to a teacher: who is refused and with what words, and what is said about those who are not."""

import copy
import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from fixtures.configs import data_config, train_config
from segexp.config.schema import DistillConfig
from segexp.data.preprocessing import Preprocessing
from segexp.data.splits import split_from_config, split_hash
from segexp.errors import CheckpointError, ConfigError
from segexp.inference.segmenter import Provenance, Segmenter
from segexp.losses import CrossEntropy, scales_loss
from segexp.losses.distillation import SoftTargets
from segexp.models import UNet, UNetPlusPlus
from segexp.optim import Constant
from segexp.training.build import Components
from segexp.training.distillation import Teacher, check_teacher, check_unseen, load_teacher, make_teacher, renormalise
from segexp.training.task import SegmentationTask
from segexp.types import Batch, Case, DataSpec, Source

SPEC = DataSpec("toy", ("background", "thing"), 1, ((0, 0, 0), (255, 128, 0)))
EIGHT = Preprocessing(1, value_range=(0.0, 255.0))
DATA = data_config(classes={"background": 0, "thing": 255}, channels=1)
SPLIT = data_config(val_fraction=0.4)


def segmenter(spec=SPEC, preprocessing=EIGHT, origin=None):
    torch.manual_seed(0)
    network = UNet(spec.channels, spec.num_classes, width=2, depth=2)
    return Segmenter(network, preprocessing, spec, provenance=origin)


def test_a_teacher_of_the_same_kind_is_taken():
    check_teacher(segmenter(), DATA, "runs/t")
    check_teacher(segmenter(preprocessing=replace(EIGHT, size=(32, 40))), DATA.changed(size=[32, 40]), "runs/t")
    check_teacher(segmenter(preprocessing=replace(EIGHT, size=32)), DATA.changed(size=32), "runs/t")


@pytest.mark.parametrize(
    ("spec", "data", "theirs", "ours"),
    [
        (
            replace(SPEC, classes=("background", "cat", "dog")),
            {},
            "background, cat, dog (exclusive labels) in 1 channel(s)",
            "background, thing (exclusive labels) in 1 channel(s)",
        ),
        (
            replace(SPEC, channels=3),
            {},
            "background, thing (exclusive labels) in 3 channel(s)",
            "background, thing (exclusive labels) in 1 channel(s)",
        ),
        (
            SPEC,
            {"labels": "overlapping"},
            "background, thing (exclusive labels) in 1 channel(s)",
            "background, thing (overlapping labels) in 1 channel(s)",
        ),
        (
            replace(SPEC, classes=("thing", "background")),
            {},
            "thing, background (exclusive labels) in 1 channel(s)",
            "background, thing (exclusive labels) in 1 channel(s)",
        ),
    ],
    ids=["classes", "channels", "labels", "order"],
)
def test_other_classes_labels_or_channels_are_named_with_both_lists(spec, data, theirs, ours):
    with pytest.raises(ConfigError) as error:
        check_teacher(segmenter(spec, replace(EIGHT, channels=spec.channels)), DATA.changed(**data), "runs/t")
    assert error.value.found == f"The teacher runs/t tells apart {theirs}, and the student is to learn {ours}"
    assert "same classes in the same order" in error.value.expected
    assert "distill.teacher" in error.value.do


@pytest.mark.parametrize(("its", "ours", "told"), [(128, None, "128"), (None, 0.5, "null"), ((32, 40), 40, "[32,40]")])
def test_another_working_size_is_refused(its, ours, told):
    with pytest.raises(ConfigError) as error:
        check_teacher(segmenter(preprocessing=replace(EIGHT, size=its)), DATA.changed(size=ours), "runs/t")
    assert f"trained with data.size={told}, and the student is trained with data.size=" in error.value.found
    assert f"data.size={told}" in error.value.do.replace(" ", "")


@pytest.fixture
def cases():
    return [Case(f"c{n}", Source(f"c{n}.png"), (), None, None) for n in range(10)]


def rows(cases, splits):
    return [{"id": case.id, "split": splits[case.id]} for case in cases]


def trained_on(cases, **settings):
    """A teacher that was trained with these settings of the split."""
    run = train_config({"data": {"val_fraction": 0.4, **settings}})
    trained = split_hash(rows(cases, split_from_config(run.data, cases, 0)))
    return segmenter(origin=Provenance(Path("runs/t/checkpoints/best.ckpt"), run, trained))


def test_the_same_split_is_said(cases):
    splits = split_from_config(SPLIT, cases, 0)
    assert check_unseen(trained_on(cases), cases, splits, rows(cases, splits)) == "it learned from the same training images"


def test_a_teacher_that_was_trained_on_what_the_student_is_scored_on_is_refused(cases):
    splits = split_from_config(SPLIT, cases, 1)
    its = split_from_config(SPLIT, cases, 0)
    seen = [case.id for case in cases if its[case.id] == "train" and splits[case.id] == "val"]
    with pytest.raises(ConfigError) as error:
        check_unseen(trained_on(cases), cases, splits, rows(cases, splits))
    assert f"trained on {len(seen)} cases that the student is scored on: {', '.join(seen)}" in error.value.found
    assert "has not seen them" in error.value.expected
    assert error.value.do == "Give both the same split: type data.split_seed=0"


def test_the_way_out_names_the_fold(cases):
    splits = split_from_config(SPLIT.changed(folds=5, fold=1), cases, 0)
    with pytest.raises(ConfigError, match=r"type data\.split_seed=3 data\.folds=5 data\.fold=0"):
        check_unseen(trained_on(cases, split_seed=3, folds=5, fold=0), cases, splits, rows(cases, splits))


def test_another_split_that_gives_nothing_away_is_fine(cases):
    its = split_from_config(SPLIT, cases, 0)
    kept = next(id_ for id_, split in its.items() if split == "val")
    splits = {id_: "val" if id_ == kept else "train" for id_ in its}
    assert "none of the images that it learned from" in check_unseen(trained_on(cases), cases, splits, rows(cases, splits))


def test_what_cannot_be_told_is_said(cases):
    splits = split_from_config(SPLIT, cases, 0)
    found = check_unseen(trained_on(cases[:8]), cases, splits, rows(cases, splits))
    assert "cannot be told" in found


def test_the_sentence_about_a_teacher():
    settings = DistillConfig(temperature=3.0, weight=0.4, boundary=1.0)
    made, told = make_teacher(settings, segmenter(), EIGHT, "it is new")
    assert (made.weight, made.soft.temperature, made.soft.boundary, made.soft.overlapping) == (0.4, 3.0, 1.0, False)
    count = sum(p.numel() for p in made.segmenter.network.parameters())
    assert told == f"Teacher: UNet, {count / 1e6:.3g} million parameters, weight 0.4; it is new"
    _, told = make_teacher(settings, segmenter(), replace(EIGHT, low=(0.1,), high=(0.9,)), "it is new")
    assert "sees the images clipped as the student does" in told
    overlapping, _ = make_teacher(settings, segmenter(replace(SPEC, overlapping=True)), EIGHT, "")
    assert overlapping.soft.overlapping


@pytest.mark.parametrize("settings", [None, {}, {"teacher": "nowhere", "weight": 0.0}])
def test_nobody_teaches(settings):
    assert load_teacher(train_config({"distill": settings})) is None


def test_a_teacher_that_is_not_there(tmp_path):
    config = train_config({"distill": {"teacher": str(tmp_path / "unet_1"), "weight": 0.5}})
    (tmp_path / "unet_2").mkdir()
    with pytest.raises(CheckpointError) as error:
        load_teacher(config)
    assert f"distill.teacher={tmp_path / 'unet_1'} does not exist" in str(error.value)
    assert "Did you mean unet_2?" in str(error.value)
    assert " checkpoint=" not in str(error.value)


@pytest.fixture(scope="module")
def runs(tmp_path_factory, train, small):
    """A teacher trained for two epochs, and what a student types."""
    folder = tmp_path_factory.mktemp("runs")
    words = [*small, "trainer.max_epochs=2"]
    assert train(*words, "model.width=6", "data.normalize=minmax", f"run_dir={folder / 'teacher'}") == 0
    return SimpleNamespace(folder=folder, words=words, kd=[*words, "distill=kd", f"distill.teacher={folder / 'teacher'}"])


def state(run, name="best"):
    return torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)


@pytest.mark.slow
def test_a_student_by_the_command(runs, train, evaluate, tmp_path, monkeypatch, capfd):
    teacher, run = tmp_path / "t", tmp_path / "student"
    shutil.copytree(runs.folder / "teacher", teacher)
    monkeypatch.chdir(tmp_path)
    words = [*runs.words, "distill=kd", "distill.teacher=t", "distill.boundary=2", "trainer.ema=0.9"]
    assert train(*words, f"run_dir={run}") == 0
    said = capfd.readouterr().out
    assert "Teacher: UNet" in said
    assert "it learned from the same training images" in said
    values = state(run)
    assert values["segexp"]["config"]["distill"] == {
        "teacher": str(teacher),
        "temperature": 2.0,
        "weight": 0.5,
        "boundary": 2.0,
        "trust": [],
    }
    network = {name.removeprefix("network."): value for name, value in values["state_dict"].items()}
    student = UNet(1, 2, width=4, depth=2)
    student.load_state_dict(network)
    count = sum(p.numel() for p in student.parameters())
    assert json.loads((run / "metrics.json").read_text())["parameters"] == count
    assert len(state(run, "last")["optimizer_states"][0]["state"]) == len(list(student.parameters()))
    header = (run / "metrics.csv").read_text().splitlines()[0] if (run / "metrics.csv").is_file() else ""
    table = header or "".join(file.read_text() for file in run.rglob("*.csv"))
    assert "loss/distill" in table
    assert "loss/train" in table
    shutil.rmtree(teacher)
    assert evaluate(f"checkpoint={run}", f"output={tmp_path / 'scored'}", "gpus=0") == 0


@pytest.mark.slow
def test_resuming_finds_a_teacher_that_was_named_relative_to_the_old_place(runs, train, tmp_path, monkeypatch):
    shutil.copytree(runs.folder / "teacher", tmp_path / "t")
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "student"
    assert train(*runs.words, "distill=kd", "distill.teacher=t", f"run_dir={run}") == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert train(f"resume={run}", "trainer.max_epochs=3") == 0
    assert json.loads((run / "metrics.json").read_text())["epochs"] == 3


@pytest.mark.slow
def test_a_weight_of_nothing_is_no_teacher(runs, train, tmp_path):
    alone, off = tmp_path / "alone", tmp_path / "off"
    assert train(*runs.words, f"run_dir={alone}") == 0
    assert train(*runs.kd, "distill.weight=0", f"run_dir={off}") == 0
    one, other = (state(run)["state_dict"] for run in (alone, off))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
def test_a_student_of_overlapping_labels_with_heads(train, cells, tmp_path):
    words = ["--config-dir", str(cells / "conf"), "data=cells", "callbacks=none", "trainer.gpus=0", "data.num_workers=0"]
    words += ["data.batch_size=2", "trainer.max_epochs=1", "model.depth=2", "model.width=4"]
    assert train(*words, f"run_dir={tmp_path / 't'}") == 0
    deep = ["model=unetpp", "deep_supervision=true", "distill=kd", f"distill.teacher={tmp_path / 't'}"]
    assert train(*words, *deep, f"run_dir={tmp_path / 's'}") == 0
    assert (tmp_path / "s" / "metrics.json").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "code", "messages"),
    [
        (["data.size=32"], 2, ["trained with data.size=64", "Type data.size=64"]),
        (["data.channels=3"], 2, ["background, liver (exclusive labels) in 1 channel(s)", "in 3 channel(s)"]),
        (["data.classes={background: 0, spleen: 255}"], 2, ["background, liver", "background, spleen"]),
        (["distill.temperature=0"], 2, ["distill.temperature is 0"]),
        (["distill.weight=2"], 2, ["distill.weight is 2"]),
        (["distill.teacher=nowhere"], 1, ["nowhere does not exist", "distill.teacher="]),
    ],
    ids=["size", "channels", "classes", "temperature", "weight", "missing"],
)
def test_what_the_command_refuses(runs, train, tmp_path, capfd, words, code, messages):
    assert train(*runs.kd, *words, f"run_dir={tmp_path / 'student'}") == code
    said = capfd.readouterr().err
    assert all(message in said for message in messages), said
    assert not (tmp_path / "student").exists()


@pytest.mark.slow
def test_the_words_that_are_missing(runs, train, tmp_path, capfd):
    assert train(*runs.words, "distill=kd", f"run_dir={tmp_path / 'a'}") == 2
    assert "distill.teacher has no value" in capfd.readouterr().err
    assert train(*runs.words, "distill.teacher=x", f"run_dir={tmp_path / 'b'}") == 2
    assert "It is one with distill=kd" in capfd.readouterr().err


EIGHT_TEACHER = Preprocessing(1, value_range=(0.0, 255.0), mean=(0.4,), std=(0.2,))


def segmenter_teacher(preprocessing=EIGHT_TEACHER, precision="32", seed=7):
    torch.manual_seed(seed)
    return Segmenter(UNet(1, 2, width=4, depth=2), preprocessing, SPEC, precision=precision)


def teacher(student=EIGHT_TEACHER, weight=0.25, soft=None, **settings):
    return Teacher(segmenter_teacher(**settings), student, soft or SoftTargets(), weight)


def task(network, taught):
    """A task around a network, with what it logs kept in `task.logged`."""
    config = train_config({"optimizer": {"_target_": "torch.optim.SGD", "_partial_": True, "lr": 0.1}})
    components = Components(network, CrossEntropy(), scales_loss, Constant(), [], taught)
    made = SegmentationTask.from_components(config, components, Segmenter(network, EIGHT_TEACHER, SPEC))
    made.training_progress = lambda: 0.0
    made.logged = {}
    made.log = lambda name, value, **_: made.logged.setdefault(name, float(value))
    made.print = lambda text: made.logged.setdefault("printed", text)
    return made


@pytest.fixture
def batch():
    image = torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    mask = (image[:, 0] > 0).long()
    mask[:, :4] = 255
    return Batch(image=image, mask=mask, index=[0, 1])


VIEWS = {
    "mean": replace(EIGHT_TEACHER, mean=(0.1,), std=(0.5,)),
    "percentile": replace(EIGHT_TEACHER, low=(0.2,), high=(0.7,), mean=(0.2,), std=(0.5,)),
    "colour": Preprocessing(3, value_range=(0.0, 255.0), mean=(0.4, 0.5, 0.6), std=(0.2, 0.1, 0.3)),
}


@pytest.mark.parametrize("view", VIEWS)
def test_a_teacher_sees_what_its_own_preprocessing_makes_of_the_image(view):
    wanted = VIEWS[view]
    image = np.random.default_rng(0).integers(0, 256, (32, 40, wanted.channels), np.uint8)
    own = replace(EIGHT_TEACHER, channels=wanted.channels)
    shown = renormalise(own.prepare(image)[None], own, wanted)
    torch.testing.assert_close(shown[0], wanted.prepare(image), atol=1e-5, rtol=1e-5)


def test_images_that_are_not_8_bit_are_scaled_as_the_teacher_knows_them():
    image = np.random.default_rng(0).integers(0, 4000, (32, 40, 1)).astype(np.float32)
    own = Preprocessing(1, value_range=(-100.0, 3900.0), mean=(0.4,), std=(0.2,))
    wanted = Preprocessing(1, value_range=(0.0, 5000.0), mean=(0.3,), std=(0.1,))
    shown = renormalise(own.prepare(image)[None], own, wanted)
    torch.testing.assert_close(shown[0], wanted.prepare(image), atol=1e-4, rtol=1e-4)


def test_the_same_normalisation_leaves_the_batch_alone():
    image = torch.randn(1, 1, 16, 16)
    assert renormalise(image, EIGHT_TEACHER, replace(EIGHT_TEACHER, size=64)) is image


def test_what_was_clipped_stays_clipped():
    image = np.array([[[0], [128], [255]]], np.uint8)
    own = VIEWS["percentile"]
    shown = renormalise(own.finish(image)[None], own, EIGHT_TEACHER)
    assert shown.flatten().tolist() == pytest.approx([(0.2 - 0.4) / 0.2, (128 / 255 - 0.4) / 0.2, (0.7 - 0.4) / 0.2], abs=1e-5)


def test_the_teacher_says_what_it_says_by_itself(batch):
    one = teacher(VIEWS["mean"])
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 1), np.uint8)
    said = one.logits(VIEWS["mean"].prepare(image)[None])[0]
    alone = one.segmenter.logits(EIGHT_TEACHER.prepare(image), (32, 32))
    torch.testing.assert_close(said, alone, atol=1e-4, rtol=1e-4)
    assert not said.requires_grad


def test_the_teacher_runs_in_the_precision_it_was_trained_in(batch):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert teacher().logits(batch["image"]).dtype == torch.float32
    assert teacher(precision="bf16-mixed").logits(batch["image"]).dtype == torch.bfloat16


def test_a_step_is_the_two_losses_by_weight(batch):
    torch.manual_seed(1)
    student, taught = UNet(1, 2, width=2, depth=2).eval(), teacher(soft=SoftTargets(3.0, boundary=1.0))
    made = task(student, taught)
    loss = made.training_step(batch, 0)
    logits = student(batch["image"])
    soft = SoftTargets(3.0, boundary=1.0)(logits, taught.segmenter.network(batch["image"]), batch["mask"])
    hard = CrossEntropy()(logits, batch["mask"])
    torch.testing.assert_close(loss, 0.75 * hard + 0.25 * soft)
    assert made.logged == {"loss/distill": pytest.approx(soft.item()), "loss/train": pytest.approx(loss.item())}


def test_every_head_of_deep_supervision_is_taught(batch):
    torch.manual_seed(1)
    student = UNetPlusPlus(1, 2, width=2, depth=3, deep_supervision=True)
    made = task(student, teacher(weight=1.0))
    loss = made.training_step(batch, 0)
    loss.backward()
    assert all(p.grad is not None for name, p in student.named_parameters() if "head" in name)
    scales = student.forward_scales(batch["image"])
    said = made.teacher.logits(batch["image"])
    expected = torch.stack([SoftTargets()(each, said, batch["mask"]) for each in scales]).mean()
    torch.testing.assert_close(loss, expected, rtol=1e-3, atol=1e-5)


def test_the_teacher_is_left_as_it_is(batch):
    taught = teacher()
    before = copy.deepcopy(taught.segmenter.network.state_dict())
    made = task(UNet(1, 2, width=2, depth=2), taught)
    made.train()
    optimizer = made.configure_optimizers()["optimizer"]
    for _ in range(3):
        optimizer.zero_grad()
        made.training_step(batch, 0).backward()
        optimizer.step()
    assert not taught.segmenter.network.training
    assert all(p.grad is None and not p.requires_grad for p in taught.segmenter.network.parameters())
    after = taught.segmenter.network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before), "statistics of batch norm too"


def test_its_weights_are_in_no_checkpoint_and_no_optimizer():
    student = UNet(1, 2, width=2, depth=2)
    made = task(student, teacher())
    assert set(made.state_dict()) == {f"network.{name}" for name in student.state_dict()}
    trained = {id(p) for group in made.configure_optimizers()["optimizer"].param_groups for p in group["params"]}
    assert trained == {id(p) for p in student.parameters()} == {id(p) for p in made.parameters()}


def test_a_copy_of_the_module_has_the_same_teacher():
    made = task(UNet(1, 2, width=2, depth=2), teacher())
    assert copy.deepcopy(made).teacher is made.teacher


def test_a_teacher_who_says_nan_is_named(batch):
    taught = teacher()
    with torch.no_grad():
        next(taught.segmenter.network.parameters()).fill_(float("nan"))
    made = task(UNet(1, 2, width=2, depth=2), taught)
    assert made.training_step(batch, 0) is None
    assert "terms {'distill': nan}" in made.logged["printed"]
    assert "loss/distill" not in made.logged


def test_a_teacher_of_another_kind_of_values_is_refused():
    with pytest.raises(ConfigError) as error:
        teacher(Preprocessing(1, value_range=(0.0, 4095.0)))
    assert "trained on images that are 8-bit, and the training images here are other than 8-bit" in str(error.value)
    assert "distill.teacher" in error.value.do


def test_any_network_can_be_a_student(batch):
    class Pixel(nn.Conv2d):
        """The smallest network there is."""

    made = task(Pixel(1, 2, 1), teacher())
    made.training_step(batch, 0).backward()
    assert made.network.weight.grad.any()
