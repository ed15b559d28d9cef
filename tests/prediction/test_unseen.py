"""Which cases an ensemble is scored on, and by whom: never by a member that was trained on them."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from segexp.data.splits import assign_splits, split_hash, split_table, write_split_csv
from segexp.errors import ConfigError, DataError
from segexp.prediction.unseen import Chosen, chosen, own_data, trained_on
from segexp.types import Case, Source

KEYS = {"val_fraction": 0.25, "test_fraction": 0.0, "folds": None, "fold": None}


def cases_of(root, count=9):
    return [Case(f"c{n}", Source(Path(root) / f"c{n}.png"), (Source(Path(root) / f"c{n}_mask.png"),)) for n in range(count)]


CASES = cases_of("pictures")


def member(seed=0, file="nowhere/checkpoints/best.ckpt", **keys):
    """What is known of a run: its config, its file, and the hash of its split."""
    data = {"root": "pictures", "image": "{id}.png", **KEYS, **keys}
    splits = assign_splits(CASES, seed=seed, **{key: data[key] for key in KEYS})
    found = split_hash({"id": id_, "split": split} for id_, split in splits.items())
    return SimpleNamespace(facts={"config": {"data": data, "seed": seed}, "split_hash": found, "file": file}, splits=splits)


def folds(**keys):
    return [member(folds=3, fold=n, **keys) for n in range(3)]


def choose(members, split=None, cases=CASES, root="pictures"):
    return chosen(members, cases, {"root": root, "image": "{id}.png"}, split)


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
    assert trained_on(one) == set(), "nothing is known without split.csv"
    write_split_csv(tmp_path / "run" / "split.csv", split_table(cases, one.splits, tmp_path / "data"))
    train = [case for case in cases if one.splits[case.id] == "train"]
    assert trained_on(one) == {str(case.image) for case in train}
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
    members = folds(root=str(tmp_path / "a"))
    assert own_data(members, {"root": str(tmp_path / "b" / ".." / "a"), "image": "{id}.png", "mask": "better/{id}.png"})
    assert not own_data(members, {"root": str(tmp_path / "b"), "image": "{id}.png"})
    assert not own_data(members, {"root": str(tmp_path / "a"), "image": "*/{id}.png"})


def test_who_predicts_in_words():
    a, b = object(), object()
    assert Chosen([], [[a, b], [a]]).says == "the 1 to 2 of 2 networks that held it out"
