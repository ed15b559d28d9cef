"""The evaluate command on a small run: the scores of the run again, other splits, other data, and what it refuses."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch

from segexp import __version__
from segexp.checkpoint import load_segmenter, read_checkpoint, store_postprocessing
from segexp.config.components import MEASURES
from segexp.evaluation.tune_postprocessing import TuningResult, candidates_for
from segexp.inference.postprocessing import Postprocessing
from segexp.locking import folder_lock
from segexp.metrics.significance import Interval

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["bf16-mixed", "32"])
def run(request, tmp_path_factory, train, small):
    """A run of three epochs, in each precision that a CPU has."""
    run = tmp_path_factory.mktemp("evaluated") / "run"
    assert train(*small, f"trainer.precision={request.param}", "trainer.max_epochs=3", f"run_dir={run}") == 0
    return run


@pytest.fixture(scope="module")
def one(tmp_path_factory, train, small):
    """Another run, with weights that tell nothing, on a copy of the pictures that a test may change."""
    folder = tmp_path_factory.mktemp("one")
    pictures = folder / "pictures"
    shutil.copytree(next(word for word in small if word.startswith("data.root=")).removeprefix("data.root="), pictures)
    words = [*small, f"data.root={pictures}", "trainer.max_epochs=1", f"run_dir={folder / 'run'}"]
    assert train(*words) == 0
    return folder


@pytest.fixture
def score(evaluate, tmp_path, monkeypatch, capfd):
    """Type an evaluate command in an empty folder; returns the scores it wrote."""
    monkeypatch.chdir(tmp_path)

    def command(*words):
        assert evaluate(*words, "gpus=0", "output=scores") == 0
        command.out, command.err = capfd.readouterr()
        return scores(tmp_path / "scores")

    return command


@pytest.fixture
def refused(evaluate, tmp_path, monkeypatch, capfd):
    """Type an evaluate command that is refused; returns exit code and paragraph."""
    monkeypatch.chdir(tmp_path)

    def command(*words):
        code = evaluate(*words)
        out, err = capfd.readouterr()
        assert (out, err.count("\n")) == ("", 1), (out, err)
        assert not (tmp_path / "scores").exists()
        return code, err.removeprefix("segexp: ").rstrip("\n")

    return command


def scores(folder):
    return json.loads((folder / "metrics.json").read_text())["scores"]


def rows(folder):
    with (folder / "cases.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_scores_of_the_run_again(run, score, tmp_path):
    assert score(f"checkpoint={run}") == pytest.approx(scores(run), abs=1e-6)
    assert score.err == ""
    content = json.loads((run / "metrics.json").read_text())
    dice, iou, accuracy = (
        f"{content['scores'][name]:.4f} [{content['intervals'][name][0]:.4f}, {content['intervals'][name][1]:.4f}]"
        for name in ("val/dice", "val/iou", "val/accuracy")
    )
    line = f"val: Dice {dice}, IoU {iou}, pixel accuracy {accuracy} over 5 cases, 95 % intervals in brackets"
    assert json.loads((tmp_path / "scores" / "metrics.json").read_text())["intervals"] == content["intervals"]
    assert score.out.splitlines() == [line, "Scores, cases and pictures: scores", "Report: scores/report.html"]


def test_every_score_of_the_run_is_found_again_to_the_last_digit(run, score, tmp_path):
    found = score(f"checkpoint={run}")
    assert {"val/hd95", "val/nsd/liver", "val/ece", "val/brier/liver"} <= set(found)
    assert found == scores(run)
    for name in ("cases.csv", "confusion.csv", "calibration.json"):
        assert (tmp_path / "scores" / name).read_bytes() == (run / name).read_bytes()


def test_other_measures_than_those_of_the_run(run, score, tmp_path):
    found = score(f"checkpoint={run}", "metrics=membrane", "metrics.membrane.thresholds=[]")
    assert {"val/v_rand", "val/warping_error/liver", "val/hd95"} <= set(found)
    assert "val/v_rand_max" not in found
    assert {name: found[name] for name in scores(run)} == scores(run)
    bare = score(f"checkpoint={run}", "metrics=none")
    assert bare == {name: value for name, value in scores(run).items() if name in bare}
    assert "val/hd95" not in bare
    assert not (tmp_path / "scores" / "calibration.json").exists()


def test_measures_that_cannot_be_are_refused(run, refused):
    code, text = refused(f"checkpoint={run}", "metrics=default", "metrics.boundary.tolerance=wide")
    assert code == 2
    assert text == "metrics.boundary.tolerance is 'wide' (text); expected a number."
    assert "metrics.boundary.tolerance" in refused(f"checkpoint={run}", "metrics.boundary.tolerance=3")[1]
    assert "the data give none" in refused(f"checkpoint={run}", "metrics=default", "metrics.boundary.unit=spacing")[1]


def test_a_measure_of_a_stranger_is_not_run(one, copied, refused, evaluate):
    file = copied / "checkpoints" / "best.ckpt"
    values = torch.load(file, weights_only=True)
    values["segexp"]["config"]["metrics"] = {"mine": {"_target_": "os.system", "command": "true"}}
    torch.save(values, file)
    code, text = refused(f"checkpoint={copied}")
    assert code == 1
    assert text == (
        "The checkpoint asks to run os.system (metrics.mine._target_), which is no measure of segexp. Those of "
        f"{', '.join(MEASURES)} are built without asking; anything else could run code of a stranger. Do not use this file: no "
        "part of segexp needs it, and no 'trust=[PACKAGE]' allows it; or leave it out: metrics=none."
    )
    assert evaluate(f"checkpoint={copied}", "metrics=none") == 0


def test_a_run_of_before_there_were_measures(one, copied, score):
    file = copied / "checkpoints" / "best.ckpt"
    values = torch.load(file, weights_only=True)
    del values["segexp"]["config"]["metrics"]
    torch.save(values, file)
    assert "val/hd95" not in score(f"checkpoint={copied}")


def test_from_anywhere_and_by_file(run, score, tmp_path):
    moved = tmp_path / "some where" / "else"
    shutil.copytree(run, moved)
    assert score("checkpoint='some where/else'") == pytest.approx(scores(run), abs=1e-6)
    assert score(f"checkpoint='{moved / 'checkpoints' / 'best.ckpt'}'") == pytest.approx(scores(run), abs=1e-6)


def test_what_is_written(run, score, tmp_path):
    score(f"checkpoint={run}")
    assert rows(tmp_path / "scores") == rows(run)
    files = {str(path.relative_to(tmp_path / "scores")) for path in tmp_path.rglob("*") if path.is_file()}
    names = {"metrics.json", "cases.csv", "confusion.csv", "calibration.json", "report.html"}
    names |= {f"pictures/{name}" for name in ("val_cases.png", "val_confusion.png", "cases/index.json")}
    shown = {name for name in files if name.startswith("pictures/cases/val_")}
    assert len(shown) == 4 * 5
    assert files - shown == names, "and nothing else"
    facts = json.loads((tmp_path / "scores" / "metrics.json").read_text())
    assert facts["checkpoint"] == str(run / "checkpoints" / "best.ckpt")
    assert facts["postprocessing"] == Postprocessing().as_dict()


def test_without_output_nothing_is_written(run, evaluate, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert evaluate(f"checkpoint={run}") == 0
    assert capfd.readouterr().out.startswith("val: Dice ")
    assert list(tmp_path.iterdir()) == []


def test_other_splits(run, score, tmp_path):
    train, val = score(f"checkpoint={run}", "split=train"), score(f"checkpoint={run}", "split=val")
    assert val == pytest.approx(scores(run), abs=1e-6)
    assert {name.partition("/")[0] for name in train} == {"train"}
    everything = score(f"checkpoint={run}", "split=all")
    assert everything["all/cases"] == 10
    assert everything["all/accuracy"] == pytest.approx((train["train/accuracy"] + val["val/accuracy"]) / 2)
    assert len({row["id"] for row in rows(tmp_path / "scores")}) == 10


def test_other_data_in_the_same_layout(one, score, slices, tmp_path):
    shutil.copytree(slices, tmp_path / "other")
    for kind in ("", "_mask"):
        (tmp_path / "other" / "val" / f"000{kind}.png").unlink()
    found = score(f"checkpoint={one / 'run'}", "data.root=other", "data.groups=null")
    assert {name.partition("/")[0] for name in found} == {"all"}
    assert found["all/cases"] == 9
    assert score(f"checkpoint={one / 'run'}", "data.root=other", "data.groups=null", "split=val")["val/cases"] == 4


def test_other_data_in_another_layout(one, score, slices, tmp_path):
    for picture in slices.glob("*/*.png"):
        target = (
            tmp_path / "flat" / ("labels" if "mask" in picture.name else "images") / f"{picture.parent.name}_{picture.name}"
        )
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, target)
    layout = ['data.image="images/{id}.png"', 'data.mask="labels/{id}_mask.png"', "data.groups=null"]
    found = score(f"checkpoint={one / 'run'}", "data.root=flat", *layout)
    assert found == pytest.approx(score(f"checkpoint={one / 'run'}", "split=all"), abs=1e-6)


def test_other_values_for_the_same_classes(one, score):
    ignoring = score(f"checkpoint={one / 'run'}", "data.classes={background: 0, liver: [255, 254]}")
    assert ignoring == pytest.approx(scores(one / "run"), abs=1e-6)


def test_data_that_changed_since_the_run_are_refused(one, refused, score):
    pictures = [one / "pictures" / "val" / f"000{kind}.png" for kind in ("", "_mask")]
    aside = [path.rename(one / path.name) for path in pictures]
    table = one / "pictures" / "mapping.csv"
    lines = table.read_text().splitlines(keepends=True)
    table.write_text("".join(line for line in lines if not line.startswith("val,000")))
    try:
        assert refused(f"checkpoint={one / 'run'}") == (
            1,
            f"The 9 cases below {one / 'pictures'} no longer give the split that the run was trained with. The same files as "
            "in training were expected, so that no training image is scored as validation. Bring the files back, or type "
            "split=all to score every case whatever it was used for.",
        )
        assert score(f"checkpoint={one / 'run'}", "split=all")["all/cases"] == 9
    finally:
        for moved, path in zip(aside, pictures, strict=True):
            moved.rename(path)
        table.write_text("".join(lines))


WRONG_CLASSES = (
    "data.classes names {typed}, and the checkpoint was trained with background, liver. The same classes in the same order "
    "were expected; only the mask values that mean them may differ. Type 'data.classes={{background: VALUE, liver: VALUE}}'."
)


@pytest.mark.parametrize(
    ("words", "code", "paragraph"),
    [
        (["split=vall"], 2, "split is 'vall' (text); expected val | test | train | all or null."),
        (["split=test"], 1, "No case is in the split test. The data have train, val. Type split=train."),
        (["splitt=val"], 2, "splitt is not a key of this configuration. Did you mean split?"),
        (["data.rot=x"], 2, "data.rot is not a key of data. Did you mean root, crop?"),
        (["data.cache=tape"], 2, "data.cache is 'tape' (text); expected auto | ram | disk | none."),
        (["pictures=many"], 2, "pictures is 'many' (text); expected a whole number, 0 or more."),
        (["trust=me"], 2, "trust is 'me' (text); expected a list, each text, or true or false."),
        (["data=skin"], 2, "data=skin does not fit: data is not a group of options here. Type its keys: data.KEY=VALUE."),
        (
            ["tune=postprocess", "split=test"],
            2,
            "split=test with tune=postprocess. The post-processing is chosen on the validation images: the network was "
            "fitted to the training images, and a choice on the test images would invalidate them. Leave split out.",
        ),
        (
            ["tune=postprocess", "data.groups=null"],
            2,
            "data.groups with tune=postprocess. The post-processing is chosen on the validation images of the run itself, read "
            "as in training. Leave data.groups out; data.root=DIR says where the images are now.",
        ),
        (
            ["tune=postprocess", "checkpoint=[a,b]"],
            2,
            "checkpoint names 2 files. The post-processing is chosen for one network, and stored in its file. Type "
            "checkpoint=RUN with one of them.",
        ),
        (
            ["checkpoint=[a,b]"],
            1,
            "checkpoint=a does not exist. A run directory or a .ckpt file was expected. Type checkpoint=RUN, the directory "
            "that training printed.",
        ),
        (["tune=loss"], 2, "tune is 'loss' (text); expected postprocess or null."),
        (["postprocess=some"], 2, "postprocess is 'some' (text); expected stored | none."),
        (["-m"], 2, "-m is on the command line. One checkpoint is scored at a time. Leave -m out."),
        (
            ["data.root=nowhere"],
            1,
            "The data folder nowhere does not exist (from {here}). data.root is the folder that holds the pictures. "
            "Type data.root=DIR.",
        ),
        (
            ["data.classes={background: 0, liver: 255, tumour: 128}"],
            2,
            WRONG_CLASSES.format(typed="background, liver, tumour"),
        ),
        (["data.classes={liver: 255, background: 0}"], 2, WRONG_CLASSES.format(typed="liver, background")),
        (["data.classes={liver: 255}"], 2, WRONG_CLASSES.format(typed="liver")),
        (
            ["data.channels=3"],
            2,
            "data.channels=3, and the checkpoint was trained with 1. The network's own number of channels was expected; "
            "images are read as gray or colour to fit it. Leave data.channels out.",
        ),
    ],
    ids=lambda value: "_".join(value) if isinstance(value, list) else None,
)
def test_what_is_refused(one, refused, tmp_path, words, code, paragraph):
    assert refused(f"checkpoint={one / 'run'}", *words) == (code, paragraph.replace("{here}", str(tmp_path)))


# Post-processing ---------------------------------------------------------------------------------------------------------

RULE = Postprocessing(0.3, 5, fill_holes=True)


@pytest.fixture
def copied(one, tmp_path):
    """A copy of the run, whose checkpoint a test may change."""
    shutil.copytree(one / "run", tmp_path / "copied")
    return tmp_path / "copied"


def held(run):
    return read_checkpoint(run / "checkpoints" / "best.ckpt")["segexp"].get("postprocessing")


def test_what_is_stored_is_scored_and_named(one, copied, score, tmp_path):
    plain = score(f"checkpoint={copied}")
    assert len(score.out.splitlines()) == 3
    store_postprocessing(copied / "checkpoints" / "best.ckpt", {"parameters": RULE.as_dict()})
    ours = score(f"checkpoint={copied}")
    said = "the post-processing that is stored in the checkpoint: " + str(RULE)
    assert score.out.splitlines()[0] == f"With {said}"
    assert json.loads((tmp_path / "scores" / "metrics.json").read_text())["postprocessing"] == RULE.as_dict()
    assert ours != pytest.approx(plain, nan_ok=True)
    assert score(f"checkpoint={copied}", "postprocess=none") == pytest.approx(plain, nan_ok=True)
    assert score.out.splitlines()[0] == f"Without {said}"
    facts = json.loads((tmp_path / "scores" / "metrics.json").read_text())
    assert facts["postprocessing"] == Postprocessing().as_dict()


def test_tuning_on_the_runs_own_validation(one, copied, evaluate, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    before = (copied / "checkpoints" / "best.ckpt").read_bytes()
    assert evaluate(f"checkpoint={copied}", "tune=postprocess", "output=tuned") == 0
    out = capfd.readouterr().out.splitlines()
    assert out[0] == "Post-processing on val, 5 cases"
    assert out[-1] == "All candidates: tuned/tuning.csv"
    dice = scores(one / "run")["val/dice"]
    assert next(line for line in out if line.startswith("none ")).split()[1] == f"{dice:.4f}"
    with (tmp_path / "tuned" / "tuning.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert float(table[0]["dice"]) == pytest.approx(dice)
    assert out[-3].startswith("Kept") == (held(copied) is not None)
    assert out[-3].startswith("Kept") or (copied / "checkpoints" / "best.ckpt").read_bytes() == before
    if held(copied):
        assert evaluate(f"checkpoint={copied}") == 0
        assert "With the post-processing" in capfd.readouterr().out


@pytest.fixture
def found(monkeypatch):
    """Have the tuning find a gain with a given lower end."""

    def say(low):
        candidates = candidates_for(2, 1000)
        best = candidates.index(Postprocessing(0.4, fill_holes=True))
        dice = np.full(len(candidates), 0.8)
        dice[best] = 0.85
        zeros = np.zeros(len(candidates), int)
        tuned = TuningResult(candidates[best], Interval(0.04, low, 0.06, 5), "cases", 1, candidates, dice, zeros)
        monkeypatch.setattr("segexp.evaluation.tune_postprocessing.tune_postprocessing", lambda *_: tuned)

    return say


def test_a_gain_beyond_doubt_is_stored_and_an_earlier_one_goes_with_the_doubt(copied, evaluate, found, capfd):
    file = copied / "checkpoints" / "best.ckpt"
    words = (f"checkpoint={copied}", "tune=postprocess")
    found(0.02)
    assert evaluate(*words) == 0
    assert capfd.readouterr().out.splitlines()[-2:] == [
        "Kept: the interval excludes 0",
        f"Stored in {file}: evaluate and predict use it from now on, and postprocess=none leaves it out",
    ]
    assert held(copied) == {
        "parameters": Postprocessing(0.4, fill_holes=True).as_dict(),
        "gain": 0.04,
        "low": 0.02,
        "high": 0.06,
        "cases": 5,
        "groups": 1,
        "over": "cases",
        "split_hash": read_checkpoint(file)["segexp"]["split_hash"],
    }
    assert load_segmenter(copied).postprocessing == Postprocessing(0.4, fill_holes=True)
    found(-0.02)
    assert evaluate(*words) == 0
    assert capfd.readouterr().out.splitlines()[-1] == (
        f"What {file} held before (foreground above probability 0.4, holes filled) is taken out of it"
    )
    assert held(copied) is None
    assert evaluate(*words) == 0
    assert capfd.readouterr().out.splitlines()[-2:] == [
        "Not kept: the interval includes 0, so the gain may be chance",
        f"{file} is as it was",
    ]


def test_tuning_finds_the_images_where_they_are_now_and_takes_no_others(one, copied, evaluate, tmp_path, capfd, found):
    found(0.02)
    shutil.copytree(one / "pictures", tmp_path / "moved")
    assert evaluate(f"checkpoint={copied}", "tune=postprocess", f"data.root={tmp_path / 'moved'}") == 0
    assert held(copied)
    for kind in ("", "_mask"):
        (tmp_path / "moved" / "val" / f"000{kind}.png").unlink()
    table = tmp_path / "moved" / "mapping.csv"
    table.write_text("".join(row for row in table.read_text().splitlines(keepends=True) if not row.startswith("val,000")))
    capfd.readouterr()
    assert evaluate(f"checkpoint={copied}", "tune=postprocess", f"data.root={tmp_path / 'moved'}") == 1
    assert capfd.readouterr().err == (
        f"segexp: The 9 cases below {tmp_path / 'moved'} no longer give the split that the run was trained with. The same "
        "files as in training were expected, so that no training image is scored as validation. Bring the files back, or type "
        "data.root=DIR, where they are now; it is the run's own images or none.\n"
    )


def test_a_checkpoint_must_be_named(refused):
    assert refused() == (2, "checkpoint has no value. It has no default. Type checkpoint=VALUE.")


def test_the_command_as_a_process(run, tmp_path, start):
    code, _, err = start("evaluate", [f"checkpoint={run}", "output=scores"], tmp_path).ended()
    assert (code, err) == (0, "")
    assert scores(tmp_path / "scores") == pytest.approx(scores(run), abs=1e-6)


def test_help(evaluate, capfd):
    assert evaluate("--help") == 0
    out = capfd.readouterr().out
    assert "python -m segexp.evaluate checkpoint=RUN_OR_FILE" in out
    assert out.endswith(f"segexp {__version__}\n")


def test_a_run_keeps_its_own_scores(one, refused):
    before = (one / "run" / "cases.csv").read_bytes()
    code, message = refused(f"checkpoint={one / 'run'}", f"output={one / 'run'}")
    assert code == 2
    assert "is the directory of a run, whose own scores, cases and report would be replaced" in message
    assert message.rstrip().endswith(f"Type output={one / 'run'}/evaluation.")
    assert (one / "run" / "cases.csv").read_bytes() == before


def test_nothing_is_tuned_in_a_run_that_is_trained(one, refused):
    with folder_lock(one / "run", "run directory"):
        code, message = refused(f"checkpoint={one / 'run'}", "tune=postprocess")
    assert code == 1
    assert f"The run directory {one / 'run'} is in use by process " in message
