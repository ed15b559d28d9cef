"""A cross-validation from end to end on small pictures: trained, resumed, pooled, an ensemble, a finder of wrong masks."""

import csv
import json
import shutil

import cv2
import numpy as np
import pytest

from segexp.cli import check, predict
from segexp.data.datamodule import SegmentationDataModule
from segexp.data.synthetic.datasets import make_demo
from segexp.errors import DataError

pytestmark = pytest.mark.slow

WRONG = {"train/028": "empty", "train/023": "shift", "train/012": "erode", "train/014": "shift", "train/037": "erode"}
OTHERS = {"check": check, "predict": predict}
FOLDS = ("data.folds=3", "data.fold=range(3)")
TINY = (
    *("data=liver", "data.size=64", "data.cache=ram", "augment=flips", "metrics=none", "callbacks=none", "logger=csv"),
    *("model=unet", "model.width=8", "model.depth=3", "optimizer.lr=0.005"),
    *(
        "trainer.gpus=0",
        "data.num_workers=0",
        "data.batch_size=4",
        "trainer.max_epochs=15",
        "trainer.check_val_every_n_epoch=5",
    ),
)


def spoiled(mask, how):
    if how == "empty":
        return 0 * mask
    return np.roll(mask, (8, 8), (0, 1)) if how == "shift" else cv2.erode(mask, np.ones((7, 7)))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """48 slices of 64 pixels, five of whose masks are wrong."""
    root = make_demo(tmp_path_factory.mktemp("spoiled"), "organ", count=48, size=64)
    for name, how in WRONG.items():
        file = root / f"{name}_mask.png"
        cv2.imwrite(str(file), spoiled(cv2.imread(str(file), cv2.IMREAD_GRAYSCALE), how))
    return root


def stopped(data, stage=None, original=SegmentationDataModule.setup):
    """Read the pictures, except those of one fold."""
    if data.data.fold == 1:
        raise DataError("Stopped before it began")
    original(data, stage)


@pytest.fixture(scope="module")
def home(tmp_path_factory, pictures, train):
    """A folder in which a study of three folds was typed; one of them was stopped and made by the same command again."""
    home = tmp_path_factory.mktemp("home")
    patch = pytest.MonkeyPatch()
    patch.chdir(home)
    words = ("-m", *TINY, *FOLDS, f"data.root={pictures}", "study=cv")
    with pytest.MonkeyPatch.context() as stopping:
        stopping.setattr(SegmentationDataModule, "setup", stopped)
        assert train(*words) == 1
    shutil.rmtree(home / "runs" / "studies" / "cv" / "data.fold-1", ignore_errors=True)
    first = (home / "runs" / "studies" / "cv" / "data.fold-0" / "metrics.json").stat().st_mtime
    assert train(*words) == 0
    assert (home / "runs" / "studies" / "cv" / "data.fold-0" / "metrics.json").stat().st_mtime == first
    yield home
    patch.undo()


@pytest.fixture
def study(home, monkeypatch):
    monkeypatch.chdir(home)
    return home / "runs" / "studies" / "cv"


@pytest.fixture
def say(capfd, train, compare, evaluate):
    """Type a command; returns exit code, stdout, stderr."""
    verbs = {"train": train, "compare": compare, "evaluate": evaluate}
    verbs |= {name: lambda *words, main=verb.main: main([str(word) for word in words]) for name, verb in OTHERS.items()}

    def say(verb, *words):
        capfd.readouterr()
        code = verbs[verb](*words)
        return code, *capfd.readouterr()

    return say


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_study_says_what_its_folds_are_worth_together(study):
    assert sorted(path.name for path in study.iterdir() if path.is_dir()) == [f"data.fold-{n}" for n in range(3)]
    page = (study / "report.html").read_text(encoding="utf-8")
    assert "3 of 3 jobs of a cross-validation finished." in page
    assert "Val Dice of all folds together: 0." in page
    held = [row["id"] for fold in study.glob("data.fold-*") for row in table(fold / "split.csv") if row["split"] == "val"]
    assert (len(held), len(set(held))) == (48, 48)


def test_compare_pools_every_case_once_and_pairs_two_studies(study, say, tmp_path):
    code, out, _ = say("compare", study)
    assert code == 0
    assert "There is one row, unet: nothing to compare it with." in out
    assert "Each case is scored by the run of the fold that did not train on it." in out
    other = shutil.copytree(study, tmp_path / "other")
    for file in other.glob("*/.hydra/config.yaml"):
        file.write_text(file.read_text().replace("width: 8", "width: 16"))
    for file in other.glob("*/cases.csv"):
        rows = [{**row, "dice": row["dice"] and str(0.9 * float(row["dice"]))} for row in table(file)]
        with file.open("w", newline="") as opened:
            writer = csv.DictWriter(opened, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    code, out, _ = say("compare", study, other)
    assert code == 0
    assert "width=8 is better than width=16" in out
    assert "47 cases of" in out, "each once; the empty mask has no Dice"


def test_a_fold_that_is_missing_is_said_by_every_command(study, say, tmp_path, pictures):
    part = shutil.copytree(study, tmp_path / "part")
    shutil.rmtree(part / "data.fold-1")
    missing = "fold 1 of 0 to 2 is missing"
    for verb, words in (
        ("compare", [part]),
        ("predict", [f"checkpoint={part}", f"input={pictures / 'val'}", "output=out"]),
        ("evaluate", [f"checkpoint={part}"]),
        ("check", [f"runs={part}", "data=liver", f"data.root={pictures}", "trainer.gpus=0", "output=out"]),
    ):
        code, _, err = say(verb, *words)
        assert code == 1, verb
        assert f"The cross-validation in {part} is not whole: {missing}. " in err, verb
        assert "python -m segexp.train -m data=liver" in err, verb
        assert f"hydra.sweep.dir={part}, which does only what is missing" in err, verb
    code, out, _ = say("compare", part, "skip_unfinished=true")
    assert code == 0
    assert f"unet has 2 of 3 folds ({missing})." in out


def test_more_folds_than_groups(say, pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = say("train", *TINY, f"data.root={pictures}", "data.folds=40", "data.fold=0")
    assert code == 2
    assert "data.folds=40, but there are only " in err
    assert "groups that stay together. Each fold needs a group of its own. Type data.folds=" in err
    code, _, err = say("train", *TINY, f"data.root={pictures}", "data.folds=4")
    assert code == 2
    assert "for all of them as one study -m data.folds=4 'data.fold=range(4)'" in err


def test_the_folds_predict_as_one_ensemble(study, say, pictures, tmp_path):
    (tmp_path / "in").mkdir()
    shutil.copy(pictures / "val" / "000.png", tmp_path / "in")
    code, out, _ = say("predict", f"checkpoint={study}", f"input={tmp_path / 'in'}", f"output={tmp_path / 'out'}", "gpus=0")
    assert code == 0
    assert "(background, liver, 3 views)" in out
    assert (tmp_path / "out" / "000.png").is_file()


def test_the_ensemble_is_scored_on_what_its_members_never_saw(study, say, pictures, tmp_path):
    code, out, _ = say("evaluate", f"checkpoint={study}", "gpus=0", f"output={tmp_path / 'scores'}")
    assert code == 0
    assert "val: each case by the 1 of 3 networks that held it out" in out
    again = {row["id"]: row for row in table(tmp_path / "scores" / "cases.csv") if row["class"] == "liver"}
    first = {r["id"]: r for fold in study.glob("data.fold-*") for r in table(fold / "cases.csv") if r["class"] == "liver"}
    assert len(again) == 48
    assert again == {name: first[name] for name in again}, "as each fold scored them, to the last digit"
    assert (tmp_path / "scores" / "report.html").is_file()
    assert say("compare", tmp_path / "scores")[0] == 0
    code, _, err = say("evaluate", f"checkpoint={study}", "split=all", "gpus=0")
    assert (code, "split=all asks for cases that members of the ensemble were trained on" in err) == (2, True)
    words = (f"data.root={pictures / 'train'}", 'data.image="{id}.png"', 'data.mask="{id}_mask.png"', "data.groups=null")
    code, _, err = say("evaluate", f"checkpoint={study}", *words, "gpus=0")
    assert (code, "are pictures that members of the ensemble were trained on: " in err) == (2, True)


def test_the_ensemble_is_set_against_its_members(study, say, tmp_path):
    root = make_demo(tmp_path / "new", "organ", count=8, size=64, seed=9)
    words = (f"checkpoint={study}", f"data.root={root}", "gpus=0", f"output={tmp_path / 'scores'}")
    code, out, _ = say("evaluate", *words)
    assert code == 0
    assert "all: each case by all 3 networks" in out
    assert "all: the 3 networks alone have Dice 0." in out
    facts = json.loads((tmp_path / "scores" / "metrics.json").read_text())
    found = facts["singles"]["all"]
    for fold, dice in zip(sorted(study.glob("data.fold-*")), found["dice"], strict=True):
        code, out, _ = say("evaluate", f"checkpoint={fold}", f"data.root={root}", "gpus=0")
        assert f"all: Dice {dice:.4f} " in out, "as each of them is scored by itself"
    assert found["gain"] == pytest.approx(facts["scores"]["all/dice"] - sum(found["dice"]) / 3, abs=1e-6)


def test_planted_errors_are_among_the_first_ten(study, say, pictures, tmp_path):
    words = ("data=liver", f"data.root={pictures}", f"runs={study}", "trainer.gpus=0", f"output={tmp_path}")
    _, out, err = say("check", *words)
    assert err == ""
    rows = table(tmp_path / "label_errors.csv")
    assert len(rows) == 48
    assert set(WRONG) <= {row["id"] for row in rows[:10]}
    first = [line.split()[1] for line in out.splitlines() if "label quality" in line]
    assert first == [row["id"] for row in rows[:10]]
    page = (tmp_path / "check.html").read_text(encoding="utf-8")
    assert "Masks to look at first" in page
    for row in rows[:5]:
        split = {r["id"]: r["split"] for r in table(study / row["runs"] / "split.csv")}
        assert split[row["id"]] == "val"


def test_the_page_is_written_though_the_runs_do_not_fit(study, say, slices, tmp_path):
    code, _, err = say("check", "data=liver", f"data.root={slices}", f"runs={study}", "trainer.gpus=0", f"output={tmp_path}")
    assert code == 1
    assert "cases that the runs held out are not among the 10 below" in err
    assert "data.name=liver" in err
    assert (tmp_path / "check.html").is_file()
    assert not (tmp_path / "label_errors.csv").exists()
