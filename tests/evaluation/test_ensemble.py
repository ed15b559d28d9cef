"""An ensemble scored as a network is: the mean of its members, and what each of them makes of a case by itself."""

import json
import math
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml

from fixtures.configs import data_config, train_config
from segexp.api.loading import checkpoint_files, heterogeneity_warning, load_members
from segexp.data.labels.modes import MULTICLASS, MULTILABEL
from segexp.data.splits import assign_splits, split_hash, split_table, write_split_csv
from segexp.data.statistics import DecodedCase
from segexp.errors import CheckpointError, ConfigError, DataError
from segexp.evaluation.ensemble import (
    Ensemble,
    MemberAssignment,
    MemberPredictions,
    MemberScores,
    as_logits,
    assign_members,
    differing_settings,
    is_own_data,
    score_members,
    study_checkpoints,
    training_images,
)
from segexp.evaluation.scoring import score_cases
from segexp.inference.predictor import Predictor
from segexp.inference.segmenter import Provenance
from segexp.metrics.cases import case_rows
from segexp.metrics.confusion import confusion
from segexp.metrics.significance import bootstrap_interval
from segexp.types import Case, Source


@pytest.fixture
def members(tmp_path, make_trained_run):
    runs = [make_trained_run(tmp_path / str(n), shift=shift) for n, shift in enumerate((-0.2, 0.05, 0.1))]
    return load_members([run / "checkpoints" / "best.ckpt" for run in runs], "cpu", [])


@pytest.fixture
def store(ramp):
    truth = (ramp() > 120).astype(np.uint8)
    truth[:3] = 255
    return [DecodedCase(ramp()[..., None], truth)] * 2


def counts(mask, truth):
    return confusion(torch.from_numpy(mask), torch.from_numpy(truth), 2).numpy()


@pytest.mark.parametrize("labelling", [MULTICLASS, MULTILABEL])
def test_probabilities_survive_being_logits(labelling):
    raw = torch.randn(3, 5, 7, generator=torch.Generator().manual_seed(0)) * 4
    probabilities = labelling.probabilities_(raw)
    again = labelling.probabilities_(as_logits(probabilities.clone(), overlapping=labelling is MULTILABEL))
    assert torch.allclose(again, probabilities, atol=1e-6)


def test_scores_are_those_of_the_mean(members, store):
    prepared = MemberPredictions(store, [members, members[2:]], [None, None])
    assert (len(prepared), prepared.spacing(1)) == (2, None)
    found = score_cases(Ensemble(members[0].spec), prepared, keep=(0, 1))
    for position, who in enumerate((members, members[2:])):
        expected = Predictor(who)(store[0].image).classes
        assert np.array_equal(found.kept[position], expected)
        assert np.array_equal(found.confusions[position], counts(expected, store[0].mask))
    assert not np.array_equal(found.kept[0], found.kept[1])
    assert prepared.by_member() == [], "not all of them predict each case"


def test_each_member_by_itself(members, store):
    prepared = MemberPredictions(store, [members] * 2, [None, None])
    for _ in range(2):  # a case may be asked for again, for its picture
        score_cases(Ensemble(members[0].spec), prepared)
    found = prepared.by_member()
    assert [each.shape for each in found] == [(3, 2, 2)] * 2
    for member, matrix in zip(members, found[1], strict=True):
        assert np.array_equal(matrix, counts(member.classes(store[1].image), store[1].mask))
    alone = MemberPredictions(store, [members[:1]] * 2, [None, None])
    score_cases(Ensemble(members[0].spec), alone)
    assert alone.by_member() == [], "one network is no ensemble"


def matrix(dice, size=1000):
    """Counts (2, 2) of a case with this Dice; None: the truth is empty."""
    if dice is None:
        return np.array([[size, 3], [0, 0]])
    hits = round(dice * size)
    return np.array([[size, size - hits], [size - hits, hits]])


def asked(together, alone):
    """Dice of the ensemble by case; of each case those of the members."""
    cases = [Case(str(n), Source(f"{n}.png"), ()) for n in range(len(together))]
    rows = case_rows("test", cases, np.stack([matrix(dice) for dice in together]), ("background", "cell"))
    return score_members("test", rows, [np.stack([matrix(dice) for dice in each]) for each in alone])


def test_the_gain_is_over_the_mean_of_the_members_case_by_case():
    found = asked([0.9, 0.7, 0.8], [[0.8, 0.7], [0.6, 0.7], [0.9, 0.7]])
    assert found.dice == pytest.approx(((0.8 + 0.6 + 0.9) / 3, 0.7))
    assert found.gain.mean == pytest.approx((0.15 + 0.05 + 0.0) / 3)
    assert found.gain.cases == 3
    assert found.facts["gain"] == found.gain.mean
    assert found.facts["interval"] == [found.gain.low, found.gain.high]


def test_in_words():
    better = asked([0.9] * 8, [[0.8, 0.7 + 0.01 * n] for n in range(8)])
    assert str(better).startswith("the 2 networks alone have Dice 0.7350 to 0.8000, 0.7675 on average; the ensemble is better ")
    assert f"than that: +0.1325 (95 % interval {better.gain.low:+.4f} to {better.gain.high:+.4f}, 8 cases)" in str(better)
    worse = asked([0.6] * 8, [[0.8, 0.7 + 0.01 * n] for n in range(8)])
    assert "the ensemble is worse than that: -0.1675 (" in str(worse)
    nothing = asked([0.8, 0.7] * 4, [[0.7, 0.7], [0.8, 0.8]] * 4)
    assert "0.7500 to 0.7500, 0.7500 on average; the ensemble's 0.0000 (95 % interval -0." in str(nothing)
    assert str(nothing).endswith(", 8 cases) shows no difference")


def test_a_case_without_the_class_is_left_out():
    found = asked([0.9, None], [[0.8, 0.8], [None, None]])
    assert (found.dice, found.gain.cases) == ((0.8, 0.8), 1)
    none = asked([None], [[None, None]])
    assert math.isnan(none.gain.mean)
    assert json.loads(json.dumps(none.facts)) == {"dice": [None, None], "cases": 0}


def test_nothing_is_known_where_members_differ():
    assert score_members("test", [], []) is None


@pytest.fixture
def study(tmp_path, make_trained_run):
    """Write jobs by name, each with its settings; returns the study's folder."""

    def written(**jobs):
        for name, settings in jobs.items():
            folder = make_trained_run(tmp_path / "study" / name)
            (folder / ".hydra").mkdir()
            model = {"_target_": settings.pop("net", "nets.A"), "width": settings.pop("width", 8)}
            config = {"model": model, "seed": settings.pop("seed", 0), "data": settings}
            (folder / ".hydra" / "config.yaml").write_text(yaml.safe_dump(config))
            (folder / ".hydra" / "overrides.yaml").write_text("[]\n")
            (folder / "metrics.json").write_text("{}")
        typed = {"hydra": {"overrides": {"task": ["data.folds=3", "data.fold=range(3)"]}}}
        (tmp_path / "study" / "multirun.yaml").write_text(yaml.safe_dump(typed))
        return tmp_path / "study"

    return written


def fold(n, **more):
    return {"folds": 3, "fold": n, **more}


def test_folds_and_seeds_are_members(study):
    folder = study(a=fold(0), b=fold(1), c=fold(2), d=fold(0, seed=1), e=fold(1, seed=1), f=fold(2, seed=1))
    assert study_checkpoints(folder) == [folder / name / "checkpoints" / "best.ckpt" for name in "abcdef"]
    assert checkpoint_files([str(folder)]) == study_checkpoints(folder)


def test_a_fold_that_is_missing(study):
    folder = study(a=fold(0), c=fold(2))
    with pytest.raises(CheckpointError) as caught:
        study_checkpoints(folder)
    assert str(caught.value) == (
        f"The cross-validation in {folder} is not whole: fold 1 of 0 to 2 is missing. A run of each of the 3 folds was "
        f"expected, of the same settings. Type: python -m segexp.train -m data.folds=3 'data.fold=range(3)' "
        f"hydra.sweep.dir={folder}, "
        f"which does only what is missing. To take some of its runs, name them: 'checkpoint=[{folder}/a, {folder}/c]'."
    )
    assert len(checkpoint_files([str(folder / "a"), str(folder / "c")])) == 2, "as it says"


def test_a_fold_that_never_finished(study):
    folder = study(a=fold(0), b=fold(1), c=fold(2))
    (folder / "b" / "metrics.json").unlink()
    (folder / "b" / "failed.txt").write_text("segexp: No room. Type less.\n\nTraceback")
    message = r"1 of the 3 runs of .*study never finished: b \(failed: No room\. Type less\)\. .* Type: python -m segexp\.train"
    with pytest.raises(CheckpointError, match=message):
        study_checkpoints(folder)


def test_networks_of_different_settings_are_an_ensemble_and_it_is_said(study):
    folder = study(a={}, b={"seed": 1}, c={"width": 16, "net": "nets.B"})
    files = study_checkpoints(folder)
    assert len(files) == 3
    assert differing_settings(files) == ["model._target_", "model.width"]
    assert (
        heterogeneity_warning(files)
        == "The 3 networks differ in model._target_, model.width; of a sweep name those that are good."
    )
    assert (heterogeneity_warning(files[:2]), heterogeneity_warning(files[:1])) == ("", "")


def test_a_fold_of_other_settings_is_none_of_them(study):
    folder = study(a=fold(0), b=fold(1), c=fold(2, width=16))
    with pytest.raises(CheckpointError, match=r"is not whole: fold 2 of 0 to 2 is missing\. .* of the same settings"):
        study_checkpoints(folder)


def test_two_cross_validations_in_one_study(study):
    folder = study(**{f"{net}{n}": fold(n, net=net) for net in ("x", "y") for n in range(3)})
    assert len(study_checkpoints(folder)) == 6
    shutil.rmtree(folder / "y1")
    with pytest.raises(CheckpointError, match=r"is not whole: fold 1 of 0 to 2 is missing"):
        study_checkpoints(folder)


def test_copies_without_their_settings_are_taken_as_they_are(tmp_path, make_trained_run):
    for name in "ab":
        make_trained_run(tmp_path / "copies" / name)
    assert len(study_checkpoints(tmp_path / "copies")) == 2
    assert study_checkpoints(tmp_path / "nowhere") == []
    assert differing_settings(study_checkpoints(tmp_path / "copies")) == []


KEYS = {"val_fraction": 0.25, "test_fraction": 0.0, "folds": None, "fold": None}


def cases_of(root, count=9):
    return [Case(f"c{n}", Source(Path(root) / f"c{n}.png"), (Source(Path(root) / f"c{n}_mask.png"),)) for n in range(count)]


CASES = cases_of("pictures")


def member(seed=0, file="nowhere/checkpoints/best.ckpt", **keys):
    """What is known of a run: its configuration, its file, and the hash of its split."""
    data = {"root": "pictures", "image": "{id}.png", **KEYS, **keys}
    splits = assign_splits(CASES, seed=seed, **{key: data[key] for key in KEYS})
    found = split_hash({"id": id_, "split": split} for id_, split in splits.items())
    config = train_config({"data": data, "seed": seed})
    return SimpleNamespace(origin=Provenance(Path(file), config, found), splits=splits)


def folds(**keys):
    return [member(folds=3, fold=n, **keys) for n in range(3)]


def choose(members, split=None, cases=CASES, root="pictures"):
    return assign_members(members, cases, data_config(root=root, image="{id}.png"), split)


def test_every_case_of_folds_is_predicted_by_the_one_that_held_it_out():
    members = folds()
    found = choose(members)
    assert list(found) == ["val"]
    assert [case.id for case in found["val"].cases] == [case.id for case in CASES]
    for case, who in zip(found["val"].cases, found["val"].members, strict=True):
        assert [each.splits[case.id] for each in who] == ["val"]
    assert found["val"].says == "the 1 of 3 networks that held it out"


def test_the_test_split_is_predicted_by_all():
    members = folds(test_fraction=0.3)
    found = choose(members)
    test = [case.id for case in CASES if members[0].splits[case.id] == "test"]
    assert ([case.id for case in found["test"].cases], found["test"].says) == (test, "all 3 networks")
    assert not set(test) & {case.id for case in found["val"].cases}
    assert list(choose(members, "test")) == ["test"]


def test_seeds_of_one_split_predict_their_validation_cases_together():
    same = [member(seed=0), member(seed=0)]
    assert choose(same)["val"].says == "all 2 networks"
    other = choose([member(seed=0), member(seed=1)])["val"]
    assert all(who for who in other.members), "of two splits the one that did not train on it"


def test_cases_that_members_were_trained_on_are_refused():
    for split in ("train", "all"):
        with pytest.raises(ConfigError) as caught:
            choose(folds(), split)
        assert str(caught.value) == (
            f"split={split} asks for cases that members of the ensemble were trained on. Such scores would be too good: of its "
            "own data below pictures an ensemble is scored on what it never saw. Type split=val (each case by the members that "
            "held it out), split=test, or data.root=DIR for other data."
        )


def test_no_test_split():
    with pytest.raises(ConfigError, match=r"split=test: there is no case that is one of all 3 members\. .*data\.test_fraction"):
        choose(folds(), "test")


def test_data_that_changed_since():
    with pytest.raises(
        DataError, match=r"The 8 cases below pictures no longer give the split .* data\.root=DIR for other data"
    ):
        choose(folds(), cases=CASES[:-1])


def test_other_data_are_predicted_by_all_of_them():
    other = cases_of("elsewhere")
    found = choose(folds(), cases=other, root="elsewhere")
    assert (list(found), found["all"].says) == (["all"], "all 3 networks")
    assert list(choose(folds(), "all", other, "elsewhere")) == ["all"]
    with pytest.raises(ConfigError, match=r"split=val of other data is not known to an ensemble\. .* Type split=all"):
        choose(folds(), "val", other, "elsewhere")


def test_training_pictures_under_another_name_are_refused(tmp_path):
    """As where data.root is a folder of the data, or another pattern finds the same files."""
    one = member(file=str(tmp_path / "run" / "checkpoints" / "best.ckpt"), root=str(tmp_path / "data"))
    (tmp_path / "run").mkdir()
    cases = cases_of(tmp_path / "data")
    assert training_images(one) == set(), "nothing is known without split.csv"
    write_split_csv(tmp_path / "run" / "split.csv", split_table(cases, one.splits, tmp_path / "data"))
    train = [case for case in cases if one.splits[case.id] == "train"]
    assert training_images(one) == {str(case.image) for case in train}
    renamed = [Case(f"train/{case.id}", case.image, case.masks) for case in cases]
    with pytest.raises(ConfigError) as caught:
        choose([one, one], cases=renamed, root=str(tmp_path))
    assert str(caught.value) == (
        f"{len(train)} of the 9 cases below {tmp_path} are pictures that members of the ensemble were trained on: "
        f"{', '.join(f'train/{case.id}' for case in train[:3])} and {len(train) - 3} more. Such scores would be too good: an "
        "ensemble is scored on what none of its members saw. Type split=val without other data (each case by the members that "
        "held it out), or data.root=DIR of other pictures."
    )
    held = [case for case in renamed if one.splits[case.id.removeprefix("train/")] == "val"]
    assert list(choose([one, one], cases=held, root=str(tmp_path))) == ["all"], "what was held out may be scored"


def test_pages_of_a_stack_are_told_apart(tmp_path):
    one = member(file=str(tmp_path / "checkpoints" / "best.ckpt"), root=str(tmp_path))
    pages = [Case(str(n), Source(tmp_path / "stack.tif", n), ()) for n in range(3)]
    write_split_csv(tmp_path / "split.csv", split_table(pages, {"0": "train", "1": "val", "2": "train"}, tmp_path))
    with pytest.raises(ConfigError, match=r"^2 of the 3 cases .* trained on: 0, 2\. "):
        choose([one, one], cases=pages, root="elsewhere")


def test_what_are_the_data_of_the_members(tmp_path):
    def section(folder, **keys):
        return data_config(root=str(tmp_path / folder), **keys)

    members = folds(root=str(tmp_path / "a"))
    assert is_own_data(members, section("b/../a", image="{id}.png", mask="better/{id}.png"))
    assert not is_own_data(members, section("b", image="{id}.png"))
    assert not is_own_data(members, section("a", image="*/{id}.png"))


def test_who_predicts_in_words():
    a, b = object(), object()
    assert MemberAssignment([], [[a, b], [a]]).says == "the 1 to 2 of 2 networks that held it out"


def test_members_without_a_score_are_left_out_of_the_range():
    scores = MemberScores((float("nan"), 0.5, 0.7), bootstrap_interval(np.array([0.1, 0.1, 0.1])))
    assert str(scores).startswith("the 3 networks alone have Dice 0.5000 to 0.7000, 0.6000 on average")
