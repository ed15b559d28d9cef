"""Wrong masks found by networks that can be told beforehand: each case by the run that held it out, and what is refused."""

import csv
import shutil

import numpy as np
import pytest

from segexp.checking.examine import examine
from segexp.errors import CheckpointError, ConfigError, DataError
from segexp.prediction.disputes import disputes, lines, write_ranking

DATA = {
    "name": "ramps",
    "image": "train/{id}.png",
    "mask": "train/{id}_mask.png",
    "classes": {"background": 0, "liver": 255},
    "ignore": [],
    "threshold": None,
    "groups": None,
    "channels": 1,
    "size": None,
    "crop": None,
    "family": None,
    "val_fraction": 0.25,
    "test_fraction": 0.0,
    "folds": None,
    "fold": None,
}
WRONG = {"03": "empty", "07": "shifted"}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory, save, ramp):
    """Ten ramps whose bright half is liver; two of the masks are wrong."""
    root = tmp_path_factory.mktemp("ramps")
    for n in range(10):
        image = ramp(seed=n)
        mask = np.where(image > 127, 255, 0).astype(np.uint8)
        mask = {"empty": 0 * mask, "shifted": np.roll(mask, 12, axis=1)}.get(WRONG.get(f"{n:02}"), mask)
        save(root / "train" / f"{n:02}.png", image)
        save(root / "train" / f"{n:02}_mask.png", mask)
    return root


@pytest.fixture
def study(tmp_path, make_run):
    """Two folds: the even cases and the odd ones; a network is right on what it held out and wrong on all else."""

    def written(ids=tuple(f"{n:02}" for n in range(10)), folds=2, shift=(0.0, 0.0), **more):
        for fold in range(folds):
            keys = {"folds": folds if folds > 1 else None, "fold": fold, "name": "ramps", "root": "there"}
            run = make_run(tmp_path / "study" / f"fold-{fold}", shift=shift[fold], data=keys, **more)
            rows = [f"{id_},{'val' if n % 2 == fold else 'train'},,," for n, id_ in enumerate(ids)]
            (run / "split.csv").write_text("\n".join(["id,split,group,image,mask", *rows]) + "\n")
        return tmp_path / "study"

    return written


@pytest.fixture
def ask(pictures):
    return lambda *runs, root=pictures: disputes(
        examine(DATA | {"root": str(root)}, alignment=False), list(map(str, runs)), "cpu", []
    )


def test_wrong_masks_come_first(study, ask):
    found = ask(study())
    assert {each.case.id for each in found.ranking[:2]} == set(WRONG)
    assert found.ranking[1].quality < 0.6 < 0.8 < found.ranking[2].quality
    assert found.notes == ["10 cases, each predicted by a run that was not trained on it."]
    empty = next(each for each in found.ranking if each.case.id == "03")
    assert (empty.dice, empty.only_given) == (0, 0)
    assert empty.only_predicted > 700


def test_each_case_is_predicted_by_the_run_that_held_it_out(study, ask):
    found = ask(study(shift=(0.0, 0.25)))  # fold 1 is wrong about everything that it predicts
    assert found.runs == {f"{n:02}": [f"fold-{n % 2}"] for n in range(10)}
    even, odd = ([each.dice for each in found.ranking if int(each.case.id) % 2 == k] for k in (0, 1))
    assert min(even) > 0.99
    assert max(odd) < 0.8
    image, mask, seen = found.look(found.ranking[0])
    assert (image.shape, mask.shape, seen.shape) == ((40, 48, 1), (40, 48), (40, 48))


def test_what_is_said_of_them(study, ask):
    said = lines(ask(study()))
    assert said[0] == "10 cases, each predicted by a run that was not trained on it."
    assert len(said) == 11
    assert {said[1].split()[1], said[2].split()[1]} == set(WRONG)
    assert said[1].startswith("  1. ")
    assert "label quality 0." in said[1]


def test_the_table(study, ask, tmp_path):
    found = ask(study())
    write_ranking(tmp_path / "table.csv", found)
    with (tmp_path / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["rank"] for row in rows] == [str(n) for n in range(1, 11)]
    assert {rows[0]["id"], rows[1]["id"]} == set(WRONG)
    assert [float(row["quality"]) for row in rows] == sorted(float(row["quality"]) for row in rows)
    assert rows[0]["runs"] == "fold-1"
    assert rows[0]["mask"].endswith(f"{rows[0]['id']}_mask.png")


def test_runs_of_other_data(study, ask):
    with pytest.raises(DataError) as caught:
        ask(study(ids=("00", "01", "xx", "yy")))
    text = str(caught.value)
    assert text.startswith("2 of the 4 cases that the runs held out are not among the 10 below ")
    assert ": xx, yy. The data that the runs were trained on were expected; their masks may have changed since" in text
    assert text.endswith(
        "Type the data of the runs as in training, which was data.name=ramps data.root=there, or train the study again on the "
        "data of now."
    )


def test_cases_that_no_run_held_out_are_counted(study, ask):
    found = ask(study(ids=tuple(f"{n:02}" for n in range(8))))
    assert len(found.ranking) == 8
    assert (
        found.notes[1] == "2 cases are not ranked: none of these runs validated on them (test cases, other folds, new files)."
    )


def test_a_run_without_folds_ranks_its_validation_cases(study, ask):
    found = ask(study(folds=1))
    assert len(found.ranking) == 5
    assert found.notes[1].startswith(
        "Only the validation cases of a run without folds can be ranked: 5 cases are not ranked. A study of"
    )


def test_a_mask_that_cannot_be_read_is_said(study, ask, pictures, tmp_path, save):
    root = shutil.copytree(pictures, tmp_path / "copy")
    save(root / "train" / "04_mask.png", np.full((40, 48), 9, np.uint8))
    found = ask(study(), root=root)
    assert len(found.ranking) == 9
    assert found.notes[1] == "1 case cannot be read, so not ranked: 04."


def test_data_whose_classes_nobody_knows(study, pictures):
    found = examine(DATA | {"root": str(pictures), "classes": None}, alignment=False)
    found.data["classes"] = None
    with pytest.raises(DataError, match=r"The classes of these data are not known\. .* Type them as in training: data=NAME"):
        disputes(found, [str(study())], "cpu", [])


def test_what_is_missing_or_does_not_fit(study, ask, tmp_path):
    with pytest.raises(CheckpointError, match="checkpoint=nowhere does not exist"):
        ask("nowhere")
    folder = study()
    (folder / "fold-0" / "split.csv").unlink()
    with pytest.raises(DataError, match=r"The split .*fold-0/split\.csv cannot be read"):
        ask(folder)
    shutil.rmtree(folder)
    with pytest.raises(ConfigError, match=r"data\.classes names background, liver, and the checkpoint was trained with"):
        ask(study(names=["background", "lesion"]))
