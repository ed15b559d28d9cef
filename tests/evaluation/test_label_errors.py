"""How far a mask and a prediction are apart: by hand, and the order of wrong masks."""

import csv
import shutil

import numpy as np
import pytest
import torch

from fixtures.configs import data_config
from segexp.api.loading import checkpoint_files, load_members
from segexp.checks.run import run_checks
from segexp.data.labels.modes import ALL_CLASSES, MULTICLASS, MULTILABEL
from segexp.errors import CheckpointError, ConfigError, DataError
from segexp.evaluation.label_errors import (
    class_qualities,
    compare_mask,
    rank_masks,
    ranking_lines,
    sort_by_quality,
    write_ranking,
)
from segexp.types import Case, Source


def case(name):
    return Case(name, Source(name), (Source(name),))


def test_the_quality_of_each_class_by_hand():
    probabilities = torch.tensor([[[0.7, 0.2, 0.1, 0.5]], [[0.2, 0.5, 0.1, 0.5]], [[0.1, 0.3, 0.8, 0.0]]])
    mask, guess = np.array([[0, 2, 255, 1]], np.uint8), np.array([[0, 1, 2, 0]], np.uint8)
    slack = 3e-3
    first, own_first = (2 * 0.5 + slack) / (1.2 + 1 + slack), (2 * 0.5 + slack) / (1.2 + 1 + slack)
    second, own_second = (2 * 0.3 + slack) / (0.4 + 1 + slack), slack / (0.4 + slack)
    found = class_qualities(probabilities, mask, guess, MULTICLASS)
    assert found.tolist() == pytest.approx([first / own_first, min(1, second / own_second)], abs=1e-6)
    bits, guess = np.array([[0, 3, 255, 1]], np.uint8), np.array([[0, 1, 2, 0]], np.uint8)  # both classes; the first; ignored
    first = (2 * 1.0 + slack) / (1.2 + 2 + slack)
    found = class_qualities(probabilities, bits, guess, MULTILABEL)
    assert found.tolist() == pytest.approx([min(1, first / own_first), 1], abs=1e-6)
    wrong = class_qualities(probabilities, np.array([[1, 0, 0, 0]], np.uint8), guess, MULTILABEL)
    total = 1.3 + 4e-3
    assert wrong[0] == pytest.approx((2 * 0.2 + 4e-3) / (total + 1) / ((2 * 0.5 + 4e-3) / (total + 1)), abs=1e-6)


def test_a_network_that_is_sure_of_nothing_does_not_blame_every_mask():
    mask = np.zeros((20, 20), np.uint8)
    mask[5:15, 5:15] = 1
    for sure in (0.55, 0.99):
        chance = torch.from_numpy(np.where(mask, sure, 1 - sure).astype(np.float32))
        found = compare_mask(case("a"), mask, torch.stack([1 - chance, chance]), mask, MULTICLASS)
        assert found.quality == 1


def test_a_few_doubtful_pixels_do_not_make_an_empty_mask_wrong():
    chance = torch.zeros(100, 100)
    chance[0, :2] = 0.6
    empty, both = np.zeros((100, 100), np.uint8), torch.stack([1 - chance, chance])
    guess = (chance > 0.5).numpy().astype(np.uint8)
    found = compare_mask(case("a"), empty, both, guess, MULTICLASS)
    assert (found.dice, found.only_predicted) == (0, 2)
    assert found.quality > 0.85
    assert np.isnan(compare_mask(case("b"), empty + np.uint8(255), both, guess, MULTICLASS).quality)


def test_counts_and_dice():
    mask, guess = np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8)
    mask[:2], guess[1:3] = 1, 1
    chance = torch.from_numpy(np.where(guess, 0.9, 0.1).astype(np.float32))
    found = compare_mask(case("a"), mask, torch.stack([1 - chance, chance]), guess, MULTICLASS)
    assert (found.only_given, found.only_predicted, found.dice) == (4, 4, 0.5)
    own = 2 * 8 * 0.9 + 0.016
    assert found.quality == pytest.approx((2 * (4 * 0.9 + 4 * 0.1) + 0.016) / own, abs=1e-6)
    nothing = np.zeros((4, 4), np.uint8)
    assert compare_mask(case("b"), nothing, torch.stack([1 - chance, chance]), nothing, MULTICLASS).dice == 1


def test_emptied_shifted_and_eroded_masks_come_first():
    y, x = np.mgrid[:64, :64]
    inside = (y - 32.0) ** 2 + (x - 32.0) ** 2 - 15**2
    chance = torch.from_numpy((1 / (1 + np.exp(inside / 40))).astype(np.float32))
    true = (inside < 0).astype(np.uint8)
    masks = {
        "good": true,
        "sloppy": (inside < 30).astype(np.uint8),
        "shifted": np.roll(true, 8, 1),
        "eroded": (inside < -150).astype(np.uint8),
        "empty": 0 * true,
        "ignored": np.full_like(true, 255),
    }
    both = torch.stack([1 - chance, chance])
    order = [
        each.case.id for each in sort_by_quality(compare_mask(case(n), m, both, true, MULTICLASS) for n, m in masks.items())
    ]
    assert set(order[:3]) == {"shifted", "eroded", "empty"}
    assert order[3:] == ["sloppy", "good", "ignored"]


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
def study(tmp_path, make_trained_run):
    """Two folds: the even cases and the odd ones; a network is right on what it held out and wrong on all else."""

    def written(ids=tuple(f"{n:02}" for n in range(10)), folds=2, shift=(0.0, 0.0), **more):
        for fold in range(folds):
            keys = {"folds": folds if folds > 1 else None, "fold": fold, "name": "ramps", "root": "there"}
            run = make_trained_run(tmp_path / "study" / f"fold-{fold}", shift=shift[fold], data=keys, **more)
            rows = [f"{id_},{'val' if n % 2 == fold else 'train'},,," for n, id_ in enumerate(ids)]
            (run / "split.csv").write_text("\n".join(["id,split,group,image,mask", *rows]) + "\n")
        return tmp_path / "study"

    return written


@pytest.fixture
def ask(pictures):
    return lambda *runs, root=pictures: rank_masks(
        run_checks(data_config(DATA, root=str(root)), alignment=False),
        load_members(checkpoint_files(list(map(str, runs))), "cpu", []),
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
    said = ranking_lines(ask(study()))
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


def test_data_whose_classes_nobody_knows(pictures):
    found = run_checks(data_config(DATA, root=str(pictures), classes=None), alignment=False)
    found.data = found.data.changed(classes=None)
    with pytest.raises(DataError, match=r"The classes of these data are not known\. .* Type them as in training: data=NAME"):
        rank_masks(found, [])


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


def test_without_a_background_a_mask_is_judged_by_all_classes():
    mask = np.array([[0, 0, 1, 1]], np.uint8)
    guess = np.array([[0, 1, 1, 1]], np.uint8)
    chance = torch.from_numpy(np.moveaxis(np.eye(2, dtype=np.float32)[guess], -1, 0).copy())
    found = compare_mask(case("a"), mask, chance, guess, ALL_CLASSES)
    assert found.dice == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert (found.only_given, found.only_predicted) == (0, 0)
    assert len(class_qualities(chance, mask, guess, ALL_CLASSES)) == 2
