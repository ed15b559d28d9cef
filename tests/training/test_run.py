"""The train command in this process on small pictures: what a run directory holds, and every kind of training once."""

import csv
import json
import shutil
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from segexp.checkpoint import load_segmenter, read_checkpoint, store_postprocessing
from segexp.config.schema import Component, TrainConfig
from segexp.data.io.images import read_image
from segexp.inference.postprocessing import Postprocessing
from segexp.losses.balance import balanced_weights
from segexp.metrics.cases import COLUMNS
from segexp.training import build
from segexp.training.callbacks import image_logging
from segexp.training.run import _farewell, describe_network
from segexp.training.task import SegmentationTask
from segexp.types import Source

pytestmark = pytest.mark.slow
MODELS = sorted((Path(__file__).resolve().parents[2] / "conf" / "model").glob("[!_]*.yaml"))


def rows_of(run, name="cases.csv"):
    with (run / name).open(newline="") as file:
        return list(csv.DictReader(file))


def curve(run, name):
    """The values of one logged number, in order."""
    return [float(row[name]) for row in rows_of(run, "csv/metrics.csv") if row.get(name)]


def metrics(run):
    return json.loads((run / "metrics.json").read_text())


@pytest.fixture(scope="module")
def finished(tmp_path_factory, train, small):
    """A run of three epochs and, by validation, the masks that it predicted for all validation cases."""
    run, rounds = tmp_path_factory.mktemp("finished") / "run", []
    original = image_logging.draw_panel
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            image_logging, "draw_panel", lambda c, n, found, spec: rounds.append(dict(found)) or original(c, n, found, spec)
        )
        words = [
            "callbacks=default",
            "callbacks.pictures=9",
            "callbacks.pictures_every=1",
            "callbacks.progress=false",
            "trainer.max_epochs=3",
        ]
        assert train(*small, *words, f"run_dir={run}") == 0
    return run, rounds


@pytest.fixture(scope="module")
def run(finished):
    return finished[0]


def test_the_run_directory_holds_what_the_design_says(run):
    files = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    boards = {name for name in files if name.startswith("tensorboard/events")}
    expected = {f".hydra/{name}.yaml" for name in ("config", "hydra", "overrides")}
    expected |= {"split.csv", "cases.csv", "metrics.json", "checkpoints/best.ckpt", "checkpoints/last.ckpt", "csv/metrics.csv"}
    expected |= {"pictures/val_cases.png", "pictures/val_confusion.png", "pictures/cases/index.json"}
    expected |= {"report.html", "run.json", "confusion.csv", "calibration.json", ".segexp.lock"}
    shown = {name for name in files if name.startswith("pictures/cases/val_")}
    assert len(shown) == 4 * 5, "image, truth, prediction and error of each case"
    assert files - shown - boards - {"tensorboard/hparams.yaml", "csv/hparams.yaml"} == expected
    assert boards
    for name in ("cases", "confusion"):
        picture = cv2.imread(str(run / "pictures" / f"val_{name}.png"))
        assert picture is not None
        assert picture.std() > 1


def test_split_csv_names_every_file(run, slices):
    rows = rows_of(run, "split.csv")
    assert [row["split"] for row in rows].count("train") == [row["split"] for row in rows].count("val") == 5
    assert all((slices / row[kind]).is_file() for row in rows for kind in ("image", "mask"))
    assert {(row["split"], row["group"]) for row in rows} == {("train", "A"), ("val", "B")}


def test_metrics_json_is_what_cases_csv_gives(run):
    rows = [row for row in rows_of(run) if row["class"] == "liver"]
    counts = np.array([[int(row[key]) for key in ("tp", "fp", "fn")] for row in rows])
    tp, fp, fn = counts.T
    there = tp + fn > 0
    scores = metrics(run)["scores"]
    assert len(rows) == scores["val/cases"] == 5
    assert scores["val/dice"] == pytest.approx(np.mean((2 * tp / (2 * tp + fp + fn))[there]))
    assert scores["val/iou"] == pytest.approx(np.mean((tp / (tp + fp + fn))[there]))
    assert scores["val/dice_pooled"] == pytest.approx(2 * tp.sum() / (2 * tp + fp + fn).sum())
    assert scores["val/accuracy_pooled"] == pytest.approx(1 - (fp + fn).sum() / (5 * 64 * 64))
    assert [float(row["dice"]) for row in rows if row["dice"]] == pytest.approx((2 * tp / (2 * tp + fp + fn))[there])
    assert scores["val/empty/liver"] == (~there).sum()


MEASURED = ("hd95", "assd", "nsd", "boundary_iou", "ece", "brier")


def test_measures_are_columns_of_cases_csv_and_scores_of_metrics_json(run):
    rows, scores = rows_of(run), metrics(run)["scores"]
    assert tuple(rows[0])[-6:] == MEASURED
    for column in MEASURED:
        assert {row[column] for row in rows if row["class"] == "background"} == {""}
        values = [float(row[column]) for row in rows if row["class"] == "liver" and row[column]]
        assert len(values) == (5 if column in ("ece", "brier") else 5 - scores["val/empty/liver"])
        assert scores[f"val/{column}/liver"] == scores[f"val/{column}"] == pytest.approx(np.mean(values))


def test_what_the_report_is_made_of(run):
    liver = [row for row in rows_of(run) if row["class"] == "liver"]
    pixels = {(row["truth"], row["prediction"]): int(row["pixels"]) for row in rows_of(run, "confusion.csv")}
    assert pixels["liver", "liver"] == sum(int(row["tp"]) for row in liver)
    assert sum(pixels.values()) == 5 * 64 * 64
    counts = json.loads((run / "calibration.json").read_text())["val"]["liver"]
    assert sum(counts["pixels"]) == 5 * 64 * 64
    assert sum(counts["hits"]) == sum(int(row["tp"]) + int(row["fn"]) for row in liver)
    about = json.loads((run / "run.json").read_text())
    assert about["config"] == read_checkpoint(run / "checkpoints" / "best.ckpt")["segexp"]["config"]
    assert about["device"].startswith("CPU, ")
    page = (run / "report.html").read_text(encoding="utf-8")
    for text in ("Calibration", "hd95", "val/000", about["device"]):
        assert text.casefold() in page.casefold()
    assert "Not recorded with this run" not in page


def test_a_run_without_measures_and_pictures(tmp_path, train, small, capsys):
    run = tmp_path / "run"
    words = ["metrics=none", "callbacks.pictures=0", "trainer.max_epochs=1"]
    assert train(*small, *words, f"run_dir={run}") == 0
    assert f"Report: {run / 'report.html'}" in capsys.readouterr().out
    assert list(rows_of(run)[0]) == list(COLUMNS)
    assert not (run / "calibration.json").exists()
    assert not (run / "pictures" / "cases").exists()
    assert (run / "report.html").is_file()


def test_a_resumed_run_is_scored_without_what_was_tuned_before(tmp_path, train, small, capsys):
    run = tmp_path / "run"
    assert train(*small, *STILL, "trainer.max_epochs=1", f"run_dir={run}") == 0
    before = metrics(run)["scores"]
    store_postprocessing(run / "checkpoints" / "best.ckpt", {"parameters": Postprocessing(min_area=4096).as_dict()})
    assert train(f"resume={run}", "trainer.max_epochs=2") == 0
    assert metrics(run)["scores"]["val/dice"] == pytest.approx(before["val/dice"], abs=1e-6)


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("metrics.boundary.unit=spacing", "the data give none"),
        ("metrics.boundary.tolerence=3", "metrics.boundary.tolerence"),
        ("metrics.calibration.bins=0", "bins of the calibration measure is 0"),
    ],
)
def test_a_measure_that_cannot_be_is_refused_before_training(word, text, tmp_path, train, small, capsys):
    assert train(*small, "trainer.max_epochs=1", word, f"run_dir={tmp_path / 'run'}") in (1, 2)
    captured = capsys.readouterr()
    assert text in captured.err
    assert captured.err.count("\n") == 1
    assert "Data: " not in captured.out
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_facts_of_the_run(run):
    facts = metrics(run)
    assert facts["status"] == "finished"
    assert (facts["epochs"], facts["steps"]) == (3, 6)
    assert facts["parameters"] == sum(p.numel() for p in load_segmenter(run).network.parameters())
    assert facts["images_per_second"] > 0
    dice = curve(run, "val/dice")
    assert len(dice) == 3
    assert facts["best_epoch"] == int(np.argmax(dice))
    assert facts["scores"]["val/dice"] == pytest.approx(max(dice), abs=1e-6)


def test_the_checkpoint_is_plain_values_and_describes_itself(run, slices):
    for name in ("best", "last"):
        values = torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)
        content = values["segexp"]
        assert content["config"]["data"]["root"] == str(slices)
        assert content["spec"]["classes"] == ["background", "liver"]
        assert content["fingerprint"]["count"] == 5
        assert content["preprocessing"]["mean"] == content["fingerprint"]["mean"]
        assert set(content["versions"]) >= {"segexp", "torch", "pytorch-lightning", "numpy", "python"}
        json.dumps(content)
        assert "hyper_parameters" not in values, "the configuration is the one place that says them"


def test_the_checkpoint_is_one_of_lightning_too(run):
    task = SegmentationTask.load_from_checkpoint(run / "checkpoints" / "best.ckpt", weights_only=True).eval()
    image = torch.randn(1, 1, 64, 64)
    assert torch.equal(task(image), load_segmenter(run).forward(image))


def test_the_loaded_segmenter_gives_pixel_for_pixel_what_validation_counted(finished, slices):
    run, rounds = finished
    validated = rounds[metrics(run)["best_epoch"]]
    segmenter = load_segmenter(run)
    names = sorted((slices / "val").glob("*_mask.png"))
    assert sorted(validated) == list(range(len(names))) == list(range(5))
    counted = {row["id"]: row for row in rows_of(run) if row["class"] == "liver"}
    for position, name in enumerate(names):
        stem = name.name.removesuffix("_mask.png")
        predicted = segmenter.classes(read_image(Source(slices / "val" / f"{stem}.png"), 1))
        assert np.array_equal(predicted, validated[position])
        truth = cv2.imread(str(name), cv2.IMREAD_UNCHANGED) == 255
        found = [int((a & b).sum()) for a, b in ((predicted == 1, truth), (predicted == 1, ~truth), (predicted == 0, truth))]
        assert found == [int(counted[f"val/{stem}"][key]) for key in ("tp", "fp", "fn")]


class Measured(pl.Callback):
    """What the measures of borders give for the predictions of each validation, by case."""

    def __init__(self, measures, scoring, classes):
        self.measures = [measure for measure in measures if not measure.needs_probabilities]
        self.scoring, self.classes, self.found, self.sizes = scoring, classes, [], []

    def on_validation_start(self, *_):
        self.found.append({})

    def on_validation_batch_end(self, trainer, module, outputs, batch, *_):
        self.sizes.append(len(batch))
        for index, predicted in outputs.items():
            truth = self.scoring[index].mask.numpy()
            given = [measure(truth, predicted.numpy(), None, self.classes, None) for measure in self.measures]
            self.found[-1][index] = {column: values[0] for each in given for column, values in each.items()}


def test_scores_do_not_depend_on_the_validation_batch_size(run):
    values = read_checkpoint(run / "checkpoints" / "best.ckpt")
    config = TrainConfig.model_validate(values["segexp"]["config"])
    data = build.build_datamodule(config)
    data.setup()
    made = build.build_components(config)
    module = SegmentationTask.from_components(config, made, build.build_segmenter(config, made.network, data))
    module.load_state_dict(values["state_dict"])
    measured = Measured(made.measures, data.scoring_set("val"), config.data.num_classes)
    trainer = pl.Trainer(
        accelerator="cpu",
        precision=module.segmenter.precision,
        logger=False,
        callbacks=[measured],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    found = [trainer.validate(module, data.val_dataloader(size), verbose=False)[0] for size in (1, 3, 7)]
    assert found[0] == found[1] == found[2]
    assert found[0]["val/dice"] == pytest.approx(metrics(run)["scores"]["val/dice"], abs=1e-6)
    rows = [row for row in rows_of(run) if row["class"] != "background"]
    columns = ("hd95", "assd", "nsd", "boundary_iou")
    expected = {n: {key: float(row[key] or "nan") for key in columns} for n, row in enumerate(rows)}
    assert [case.id for case in data.cases_of("val")] == [row["id"] for row in rows]
    assert sorted(measured.sizes, reverse=True)[0] > 1, "the larger batches hold several cases"
    for each in measured.found:
        assert {n: pytest.approx(values, nan_ok=True) for n, values in each.items()} == expected


OWN = {"width": 4, "depth": 3}
LEVELS = "model.decoder.channels=[16,16,8,8,8]"
SMALL = {
    "deeplabv3": ["model.encoder=mobilenet_v3_large"],
    "deeplabv3plus": ["model.encoder=tu-test_resnet", "model.decoder.channels=16"],
    "fcn": ["model.encoder=mobilenet_v3_large"],
    "fpn": ["model.encoder=tu-test_resnet"],
    "linknet": ["model.encoder=tu-test_resnet"],
    "manet": ["model.encoder=tu-test_resnet", LEVELS],
    "pspnet": ["model.encoder=tu-test_resnet", "model.decoder.out_channels=16"],
    "segformer": ["model.encoder=tu-test_convnext", "model.decoder.segmentation_channels=16"],
    "unet_encoder": ["model.encoder=tu-test_resnet", LEVELS],
    "unetpp_encoder": ["model.encoder=tu-test_resnet", LEVELS],
}
"""What makes the networks of libraries small; our own have a width."""


@pytest.mark.parametrize("file", MODELS, ids=lambda file: file.stem)
def test_every_network_trains(file, tmp_path, train, small):
    assert len(MODELS) >= 16
    words = SMALL.get(file.stem, [f"model.{key}={value}" for key, value in OWN.items() if f"\n{key}:" in file.read_text()])
    base = [word for word in small if not word.startswith("model")]
    assert train(*base, f"model={file.stem}", *words, "trainer.max_epochs=1", f"run_dir={tmp_path / 'run'}") == 0
    scores = metrics(tmp_path / "run")["scores"]
    assert 0 <= scores["val/dice"] <= 1
    after = load_segmenter(tmp_path / "run" / "checkpoints" / "last.ckpt")
    before = build.build_components(after.origin.config).network
    pairs = zip(before.parameters(), after.network.parameters(), strict=True)
    same = [a for a, b in pairs if a.requires_grad and torch.equal(a, b)]
    # Squeeze and excitation has hidden layers of one or two units here, whose ReLU may be dead from the start.
    assert all(file.stem in SMALL and a.numel() <= 4 for a in same), "every weight is trained"


def test_images_of_different_sizes_share_a_batch(tmp_path, train, small):
    rng, sizes = np.random.default_rng(0), [(48, 64), (64, 48), (51, 70), (33, 40), (64, 64), (47, 47), (80, 31), (40, 90)]
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for number, (height, width) in enumerate(sizes):
        mask = np.zeros((height, width), np.uint8)
        mask[5 : height // 2, 7 : width // 2] = 255
        image = (mask // 2 + rng.integers(0, 60, mask.shape)).astype(np.uint8)
        cv2.imwrite(str(tmp_path / "images" / f"{number}.jpg"), np.stack([image] * 3, axis=-1))
        cv2.imwrite(str(tmp_path / "masks" / f"{number}_mask.png"), mask)
    run = tmp_path / "run"
    words = ["data=paired_folders", f"data.root={tmp_path}", "data.size=null", "data.val_fraction=0.4"]
    base = [word for word in small if not word.startswith("data")]
    assert train(*base, *words, "data.batch_size=5", "trainer.max_epochs=1", f"run_dir={run}") == 0
    by_case = defaultdict(int)
    for row in rows_of(run):
        by_case[row["id"]] += int(row["tp"]) + int(row["fn"])
    assert by_case == {f"{n}": h * w for n, (h, w) in enumerate(sizes) if f"{n}" in by_case}
    assert len(by_case) == 3
    assert metrics(run)["steps"] == 1, "all five training images, of five sizes, are one batch"


def test_an_average_of_the_weights_is_what_is_scored_and_saved(tmp_path, train, small):
    run = tmp_path / "run"
    assert train(*small, "trainer.ema=0.9", "trainer.max_epochs=3", "data.repeat=2", f"run_dir={run}") == 0
    values = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    name = "network.head.weight" if "network.head.weight" in values["state_dict"] else next(iter(values["state_dict"]))
    current = values["current_model_state"]
    assert not torch.equal(values["state_dict"][name], current[name])
    assert metrics(run)["scores"]["val/dice"] == pytest.approx(max(curve(run, "val/dice")), abs=1e-6)


STILL = ["model.norm=none", "optimizer=sgd", "optimizer.lr=1e-12", "augment=none", "scheduler=none"]
"""A training that changes no score."""


def test_early_stopping_stops(tmp_path, train, small):
    run = tmp_path / "run"
    assert train(*small, *STILL, "trainer.early_stopping=2", "trainer.max_epochs=9", f"run_dir={run}") == 0
    assert metrics(run)["epochs"] == 3
    assert metrics(run)["best_epoch"] == 0


def test_a_plateau_lowers_the_learning_rate(tmp_path, train, small):
    run, words = tmp_path / "run", ["scheduler=plateau", "scheduler.patience=2", "trainer.max_epochs=6"]
    assert train(*small, *STILL, *words, f"run_dir={run}") == 0
    assert curve(run, "lr") == pytest.approx([1e-12, 1e-12, 1e-12, 5e-13, 5e-13, 2.5e-13])


def test_accumulated_batches_are_one_step(tmp_path, train, small):
    run = tmp_path / "run"
    assert train(*small, "trainer.accumulate_grad_batches=2", "data.repeat=2", "trainer.max_epochs=2", f"run_dir={run}") == 0
    assert metrics(run)["steps"] == 2 * 3, "five batches are three steps: the last one has what is left"
    assert curve(run, "lr")[-1] == pytest.approx(1e-3 * (1 - 5 / 6) ** 0.9)


def test_minutes_end_a_training_and_the_schedule_stretches_to_them(tmp_path, train, small):
    run, words = tmp_path / "run", ["trainer.minutes=0.04", "trainer.max_epochs=1", "trainer.check_val_every_n_epoch=1000"]
    assert train(*small, *words, f"run_dir={run}") == 0
    facts = metrics(run)
    assert facts["epochs"] > 1, "max_epochs does not count"
    assert facts["seconds"] < 60
    assert len(curve(run, "val/dice")) == 1, "the last epoch is validated whatever the rhythm"
    assert facts["best_epoch"] == facts["epochs"] - 1
    assert curve(run, "lr")[-1] < 0.5e-3


def test_compiled_networks_have_the_same_weights_by_name(tmp_path, train, small, monkeypatch):
    compiled, original = [], nn.Module.compile

    def eager(network):
        compiled.append(network)
        original(network, backend="eager")  # the default needs a C++ compiler and a minute

    monkeypatch.setattr(nn.Module, "compile", eager)
    run = tmp_path / "run"
    assert train(*small, "trainer.compile=true", "trainer.max_epochs=1", f"run_dir={run}") == 0
    assert len(compiled) == 1
    assert all(name.startswith("network.") and "_orig_mod" not in name for name in weights(run))
    assert set(load_segmenter(run).network.state_dict()) == {name.removeprefix("network.") for name in weights(run)}


def weights(run):
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


# The cheap part of the check comes first -----------------------------------------------------------------------------------


@pytest.fixture
def leaking(slices, tmp_path):
    """The slices with a training picture that is in the validation split as well."""
    root = shutil.copytree(slices, tmp_path / "data")
    for end in ("", "_mask"):
        shutil.copy(root / f"train/000{end}.png", root / f"val/900{end}.png")
    return root


def test_a_training_picture_in_the_validation_split_is_refused(leaking, tmp_path, train, small, capsys):
    words = [f"data.root={leaking}", "data.groups=null", f"run_dir={tmp_path / 'run'}"]
    assert train(*small, *words, "trainer.max_epochs=1") == 1
    message = capsys.readouterr().err
    assert message.startswith("segexp: 1 pair of cases in different splits")
    assert "train/000 = val/900. What is scored must be new to the network." in message
    assert message.endswith("; or type data.allow_leakage=true to train all the same, with scores that are too good.\n")
    assert not (tmp_path / "run").exists()


def test_leakage_that_is_allowed_is_said_and_trained(leaking, tmp_path, train, small, capsys):
    words = [f"data.root={leaking}", "data.groups=null", "data.allow_leakage=true", f"run_dir={tmp_path / 'run'}"]
    assert train(*small, *words, "trainer.max_epochs=1") == 0
    assert "Error: 1 pair of cases in different splits" in capsys.readouterr().out
    assert (tmp_path / "run" / "metrics.json").is_file()


def test_what_is_worth_a_word_is_said_before_training(slices, tmp_path, train, small, capsys):
    words = ["data.classes={background: 0, liver: 255, tumour: 128}", f"run_dir={tmp_path / 'run'}"]
    assert train(*small, *words, "trainer.max_epochs=1") == 0
    out = capsys.readouterr().out
    assert "Warning: No training mask has a pixel of tumour. It cannot be learned" in out
    assert out.index("Warning:") < out.index("Data: liver")


def test_crops_around_the_foreground_train_the_same_twice(tmp_path, train, small):
    words = ["data.crop=32", "data.repeat=2", "trainer.max_epochs=2", "data.foreground_crops=0.5"]
    states = []
    for name, more in (("a", []), ("b", ["data.num_workers=2"]), ("c", ["data.foreground_crops=0"])):
        assert train(*small, *words, *more, f"run_dir={tmp_path / name}") == 0
        values = torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        states.append(torch.cat([tensor.flatten().float() for tensor in values.values()]))
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_class_weights_of_the_training_split_are_said_kept_and_found_again(tmp_path, train, small, capsys):
    run = tmp_path / "run"
    words = ["loss.terms.ce.loss.class_weights=auto", "data.crop=32", "data.foreground_crops=0.33", "trainer.max_epochs=1"]
    assert train(*small, *words, f"run_dir={run}") == 0
    content = read_checkpoint(run / "checkpoints" / "best.ckpt")["segexp"]
    weights = content["config"]["loss"]["terms"]["ce"]["loss"]["class_weights"]
    assert weights == balanced_weights(content["fingerprint"]["class_share"])
    background, liver = weights
    assert background < 1 < liver
    said = (
        f"class_weights=auto: background {background:g}, liver {liver:g} (1 / ln(1.02 + share of the training pixels), scaled)"
    )
    assert said in capsys.readouterr().out
    assert np.isfinite(curve(run, "loss/train")).all()
    assert train(f"resume={run}", "trainer.max_epochs=2") == 0
    assert said in capsys.readouterr().out
    assert read_checkpoint(run / "checkpoints" / "last.ckpt")["segexp"]["config"]["loss"] == content["config"]["loss"]


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ({"_target_": "segexp.models.UNet"}, "Network: UNet, 1.5 million parameters"),
        (
            {"_target_": "segexp.models.EncoderDecoder", "architecture": "fpn", "encoder": "resnet34", "weights": "none"},
            "Network: EncoderDecoder fpn, 1.5 million parameters; encoder resnet34 starts from random weights "
            "(model.weights=none)",
        ),
        (
            {"_target_": "segexp.models.EncoderDecoder", "architecture": "fpn", "encoder": "tu-x", "weights": "w.pth"},
            "Network: EncoderDecoder fpn, 1.5 million parameters; encoder tu-x starts from the weights of a file "
            "(model.weights=w.pth)",
        ),
    ],
)
def test_the_first_lines_say_what_is_trained_and_what_it_starts_from(model, expected):
    assert describe_network(Component(**model), nn.Linear(1499, 1000)) == expected


def test_weights_of_which_no_epoch_has_a_score_are_not_called_the_best(tmp_path):
    text = _farewell(tmp_path, ["val: Dice nan"], "precision", None, "page").splitlines()
    assert text[0].startswith("val/precision was undefined (nan) in every epoch, so the last weights are kept as best.ckpt.")
    assert _farewell(tmp_path, [], "dice", 3, "page").startswith("Scores of the weights with the best val/dice:")
