"""Cells with nuclei inside, from the files to the masks: the commands on classes that may overlap."""

import csv
import json
import re
import shutil

import numpy as np
import pytest
import yaml

from fixtures.configs import data_config
from segexp.checkpoint import load_segmenter
from segexp.cli.check import main as check_main
from segexp.cli.predict import main as predict_main
from segexp.data.datamodule import SegmentationDataModule
from segexp.data.io.images import read_image, read_mask, write_png
from segexp.data.labels.modes import has_label, label_layer
from segexp.data.transforms import Augment
from segexp.types import Source

NAMES = ("background", "cell", "nucleus")


@pytest.fixture(scope="session")
def data(cells):
    """The data section of the cells."""
    base = yaml.safe_load((cells / "conf" / "data" / "cells.yaml").read_text())
    base.pop("defaults")
    return data_config({"val_fraction": 0.25, "cache": "ram", "max_pixels": None, "batch_size": 2, "num_workers": 0}, **base)


@pytest.fixture(scope="session")
def tiny(cells):
    """What makes a training of seconds."""
    model = ["model=unet", "model.width=8", "model.depth=2"]
    trainer = ["trainer.gpus=0", "data.batch_size=2", "data.num_workers=0", "trainer.max_epochs=2", "optimizer.lr=0.01"]
    return ["--config-dir", cells / "conf", "data=cells", *model, *trainer, "data.repeat=8", "augment=flips"]


@pytest.fixture(scope="module")
def run(train, tiny, tmp_path_factory):
    """A run of two epochs."""
    directory = tmp_path_factory.mktemp("overlapping") / "run"
    words = ["callbacks.progress=false", "callbacks.pictures=2", "metrics=default"]
    assert train(*tiny, *words, f"run_dir={directory}") == 0
    return directory


def test_a_wrong_mask_of_one_class_is_found(run, cells, tmp_path, capfd):
    root = shutil.copytree(cells / "data", tmp_path / "data")
    held = [row["id"] for row in rows(run / "split.csv") if row["split"] == "val"]
    wrong = root / held[-1] / "cell.png"
    write_png(wrong, np.zeros_like(read_image(Source(wrong))[..., 0]))
    words = ["--config-dir", str(cells / "conf"), "data=cells", f"data.root={root}", f"output={tmp_path}", "trainer.gpus=0"]
    check_main([*words, f"runs={run}"])
    ranking = rows(tmp_path / "label_errors.csv")
    assert [row["id"] for row in ranking] == [held[-1], *held[:-1]]
    assert float(ranking[0]["quality"]) < 0.8 < float(ranking[1]["quality"])
    assert int(ranking[0]["only_predicted"]) > 100
    out = capfd.readouterr().out
    assert "Only the validation cases of a run without folds can be ranked: 6 cases are not ranked." in out
    assert "Masks to look at first" in (tmp_path / "check.html").read_text(encoding="utf-8")


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def truth(cells, id_):
    """The two masks of a case, bool, as they lie on disk."""
    here = cells / "data" / id_
    nuclei = [read_mask(Source(path)) > 0 for path in here.glob("nucleus_*.png")]
    cell = read_mask(Source(here / "cell.png")) > 0
    return [cell, np.any([np.zeros_like(cell), *nuclei], axis=0)]


# The data module -----------------------------------------------------------------------------------------------------------


def made(data, **changes):
    changed = data.changed(**changes)
    module = SegmentationDataModule(changed, Augment([{"name": "D4"}], crop=changed.crop))
    module.setup()
    return module


def test_masks_are_sets_all_the_way_to_the_batch(cells, data):
    module = made(data)
    assert module.spec.overlapping
    assert module.spec.classes == NAMES
    for position, case in enumerate(module.cases):
        mask = module.store[position].mask
        for k, real in enumerate(truth(cells, case.id), start=1):
            assert np.array_equal(has_label(mask, k), real)
    shares = module.fingerprint.class_share
    assert shares[0] + shares[1] == pytest.approx(1), "every nucleus is in a cell"
    assert 0 < shares[2] < shares[1]
    seen = {value for batch in module.train_dataloader() for value in batch["mask"].unique().tolist()}
    assert seen == {0, 1, 3}


@pytest.mark.parametrize("cache", ["ram", "disk", "none"])
def test_every_store_keeps_them(data, cache, tmp_path, monkeypatch):
    monkeypatch.setenv("SEGEXP_CACHE", str(tmp_path))
    stores = [made(data, cache=each).store for each in ("ram", cache)]
    assert all(np.array_equal(stores[0][n].mask, stores[1][n].mask) for n in range(8))


def test_a_decoded_store_is_not_taken_for_that_of_other_classes(data, tmp_path, monkeypatch):
    monkeypatch.setenv("SEGEXP_CACHE", str(tmp_path))
    made(data, cache="disk")
    patterns = {"cell": data.mask["nucleus"], "nucleus": data.mask["cell"]}
    changed = made(data, cache="disk", mask=patterns, optional_masks=["cell"])
    assert changed.fingerprint.class_share[2] > changed.fingerprint.class_share[1]


def test_crops_around_the_foreground_meet_the_small_class(data):
    plain, around = (made(data, crop=16, repeat=30, foreground_crops=share) for share in (0.0, 1.0))
    met = [np.mean([bool((batch["mask"] >= 2).any()) for batch in each.train_dataloader()]) for each in (plain, around)]
    assert met[1] > met[0]


# The commands --------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_what_a_run_leaves(run, cells):
    scores = json.loads((run / "metrics.json").read_text())["scores"]
    table = rows(run / "cases.csv")
    assert {row["class"] for row in table} == set(NAMES)
    for row in table:
        if row["class"] != "background":
            real = truth(cells, row["id"])[NAMES.index(row["class"]) - 1]
            tp, fp, fn = (int(row[key]) for key in ("tp", "fp", "fn"))
            assert tp + fn == real.sum()
            assert float(row["dice"] or "nan") == pytest.approx(2 * tp / (2 * tp + fp + fn), nan_ok=True)
            assert row["hd95"]
            assert row["ece"]
    for name in NAMES[1:]:
        own = [float(row["dice"]) for row in table if row["split"] == "val" and row["class"] == name]
        assert scores[f"val/dice/{name}"] == pytest.approx(np.mean(own))
    assert scores["val/dice"] == pytest.approx((scores["val/dice/cell"] + scores["val/dice/nucleus"]) / 2)
    assert scores["val/dice/cell"] > 0.8, "two epochs are enough for the large class"
    assert all((run / "pictures" / f"val_{name}.png").is_file() for name in ("cases", "confusion"))
    page = re.sub(r"<[^>]+>", " ", (run / "report.html").read_text())
    assert "The classes may overlap, so each has a table of its own" in page
    assert "no nucleus" in page


@pytest.mark.slow
def test_validation_scores_and_the_segmenter_decide_alike(run, cells):
    curve = [row for row in rows(run / "csv" / "metrics.csv") if row.get("val/dice")]
    scores = json.loads((run / "metrics.json").read_text())["scores"]
    assert max(float(row["val/dice"]) for row in curve) == pytest.approx(scores["val/dice"], abs=1e-6)
    segmenter = load_segmenter(run)
    assert segmenter.spec.overlapping
    for row in rows(run / "cases.csv"):
        if row["class"] == "background":
            continue
        k = NAMES.index(row["class"])
        image = read_image(Source(cells / "data" / row["id"] / "image.png"), 1)
        found, real = has_label(segmenter.classes(image), k), truth(cells, row["id"])[k - 1]
        assert int(row["tp"]) == (found & real).sum()
        assert int(row["fp"]) == (found & ~real).sum()


@pytest.mark.slow
def test_evaluate_says_the_same_again(run, evaluate, tmp_path):
    assert evaluate(f"checkpoint={run}", f"output={tmp_path}", "gpus=0") == 0
    before, again = (json.loads((folder / "metrics.json").read_text())["scores"] for folder in (run, tmp_path))
    assert again == pytest.approx(before, nan_ok=True)
    assert rows(tmp_path / "cases.csv") == rows(run / "cases.csv")
    assert (tmp_path / "report.html").is_file()


@pytest.mark.slow
def test_the_post_processing_is_chosen_for_each_class_alike(run, evaluate, tmp_path, capfd):
    copy = shutil.copytree(run, tmp_path / "copy")
    assert evaluate(f"checkpoint={copy}", "tune=postprocess", f"output={tmp_path}", "gpus=0") == 0
    assert {row["threshold"] for row in rows(tmp_path / "tuning.csv")} > {"", "0.4"}
    assert "Post-processing on val, 2 cases" in capfd.readouterr().out


@pytest.mark.slow
def test_predict_writes_a_mask_for_each_class(run, cells, tmp_path, capfd):
    words = [f"checkpoint={run}", f"input={cells / 'data'}", f"output={tmp_path}", "gpus=0", "overlay=true", "panel=true"]
    more = ["labels=true", "probabilities=npz", "tta=flips", "postprocess.min_area=3"]
    assert predict_main([*words, *more]) == 0
    assert "left out (masks of images here)" in capfd.readouterr().out
    masks = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.glob("c*/*"))
    assert masks == [f"c{n}/image_{name}.png" for n in range(8) for name in NAMES[1:]]
    sets = read_mask(Source(tmp_path / "labels" / "c1" / "image.png"))
    for k, name in enumerate(NAMES[1:], start=1):
        assert np.array_equal(read_mask(Source(tmp_path / "c1" / f"image_{name}.png")), 255 * label_layer(sets, k))
    with np.load(tmp_path / "probabilities" / "c1" / "image.npz") as stored:
        assert stored["classes"].tolist() == list(NAMES)
        assert np.mean((stored["probabilities"][1] > 0.5) != has_label(sets, 1)) < 0.01
    assert all((tmp_path / folder / "c7" / "image.png").is_file() for folder in ("overlay", "panels"))
    review = {row["image"]: row for row in rows(tmp_path / "review.csv")}
    assert review["c1/image.png"]["mask"] == "c1/image_cell.png;c1/image_nucleus.png"
    assert float(review["c1/image.png"]["share_cell"]) == pytest.approx(has_label(sets, 1).mean(), abs=1e-4)
    assert predict_main([*words, *more]) == 0
    assert "8 done before" in capfd.readouterr().out


@pytest.mark.slow
def test_predicted_masks_are_read_back_by_a_pattern_for_each_class(run, cells, tmp_path, evaluate, capfd):
    for case in (cells / "data").iterdir():
        shutil.copy(case / "image.png", tmp_path / f"{case.name}.png")
    assert predict_main([f"checkpoint={run}", f"input={tmp_path}", f"output={tmp_path / 'out'}", "gpus=0"]) == 0
    patterns = 'data.mask={cell: "out/{id}_cell.png", nucleus: "out/{id}_nucleus.png"}'
    words = [f"data.root={tmp_path}", 'data.image="{id}.png"', patterns, "data.optional_masks=[]", "gpus=0"]
    capfd.readouterr()
    assert evaluate(f"checkpoint={run}", *words) == 0
    assert "all: Dice 1.0000" in capfd.readouterr().out
    assert evaluate(f"checkpoint={run}", *words, "data.labels=exclusive") == 2
    assert "data.labels=exclusive, and the checkpoint was trained with overlapping labels" in capfd.readouterr().err
    assert evaluate(f"checkpoint={run}", *words[:2], 'data.mask="out/{id}_cell.png"', "gpus=0") == 2
    assert "data.labels=overlapping with data.mask=out/{id}_cell.png. Classes that may overlap" in capfd.readouterr().err


@pytest.mark.slow
def test_class_weights_of_the_data_are_of_absence_and_presence(train, tiny, tmp_path, capfd):
    words = ["callbacks=none", "trainer.max_epochs=1", "data.repeat=1", "loss=ce", "loss.class_weights=auto", "metrics=none"]
    assert train(*tiny, *words, f"run_dir={tmp_path / 'run'}") == 0
    assert re.search(r"class_weights=auto: absent 0\.\d+, present \d\.\d+ \(", capfd.readouterr().out)


@pytest.mark.slow
def test_check_looks_at_the_files_of_each_class(cells, tmp_path, capfd):
    words = ["--config-dir", str(cells / "conf"), "data=cells", f"output={tmp_path}", "propose=true"]
    assert check_main(words) == 0
    out = capfd.readouterr().out
    assert "0 = background; 255 = cell; 255 = nucleus" in out
    shares = [float(share) for share in re.search(r"background ([\d.]+) %, cell ([\d.]+) %, nucleus", out).groups()]
    assert sum(shares) == pytest.approx(100, abs=0.2)
    proposed = yaml.safe_load((tmp_path / "data" / "cells_auto.yaml").read_text())
    written = yaml.safe_load((cells / "conf" / "data" / "cells.yaml").read_text())
    assert {key: proposed[key] for key in ("mask", "labels", "optional_masks", "classes", "image")} == {
        key: written[key] for key in ("mask", "labels", "optional_masks", "classes", "image")
    }
    assert "Sample cases" in (tmp_path / "check.html").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["loss=ce", "loss.class_weights=[1,2,3]"], "give two weights, of pixels without the class and with it."),
        (["data.labels=exclusive", "data.optional_masks=[]"], "data.mask has a pattern for each of cell, nucleus, and data."),
        (["data.mask={cell: '{id}/cell.png'}"], "data.mask has no pattern for nucleus."),
        (["data.mask='{id}/cell.png'"], "data.labels=overlapping with data.mask={id}/cell.png."),
        (["data.image=null"], "data.labels=overlapping with a layout that is to be found out."),
        (["data.labels=both"], "data.labels is 'both'"),
    ],
)
def test_what_does_not_go_together_is_said_before_anything_is_read(train, tiny, tmp_path, capfd, words, message):
    assert train(*tiny, *words, f"run_dir={tmp_path / 'run'}") == 2
    assert message in capfd.readouterr().err
    assert not (tmp_path / "run" / "csv").exists()


@pytest.mark.slow
def test_a_class_that_may_not_be_missing(train, tiny, tmp_path, capfd):
    assert train(*tiny, "data.optional_masks=[]", f"run_dir={tmp_path / 'run'}") == 1
    assert "1 of 8 images have no mask of nucleus: c7/image.png" in capfd.readouterr().err
