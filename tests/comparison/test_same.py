"""Which rows may be set against each other, and the paragraph that says why not."""

import pytest

from segexp.comparison.casewise import Metric
from segexp.comparison.gather import gather
from segexp.comparison.same import difference_of_data, difference_of_measure, difference_of_training

CASES = {"a": [0.9], "b": [0.8]}
ENDING = (
    " Runs of the same data, classes and split were expected. Leave out the ones that differ, or type "
    "allow_different_data=true for a table without differences case by case."
)


@pytest.fixture
def rows():
    return lambda *runs, split="val": gather(runs, split, Metric("dice"))


def said(problem):
    return str(problem).removeprefix("The runs cannot be compared case by case: ").removesuffix(ENDING)


def test_the_same_data_in_another_order(made, rows):
    found = rows(made("one", CASES), made("other", dict(reversed(CASES.items())), choices={"model": "unetpp"}))
    assert difference_of_data(found, "val") is None
    assert difference_of_training(found) is None


def test_other_classes(made, rows):
    found = rows(made("one", CASES), made("other", CASES, classes=("background", "tumour")))
    problem = difference_of_data(found, "val")
    assert str(problem) == (
        "The runs cannot be compared case by case: the classes differ: background, liver in one, and background, tumour in "
        "other." + ENDING
    )


def test_other_cases(made, rows):
    found = rows(made("one", CASES), made("other", {"b": [0.8], "c": [0.8], "d": [0.7]}))
    expected = "different val cases are scored: 2 in one and 3 in other (a in one only; c, d in other only)."
    assert said(difference_of_data(found, "val")) == expected


def test_seeds_that_split_by_themselves_are_told_why(made, rows):
    found = rows(made("one", CASES), made("other", {"c": [0.8]}, settings={"seed": 1}))
    text = said(difference_of_data(found, "val"))
    assert text.endswith(
        "(a, b in one only; c in other only). The seed also decides the split where none lies on disk; data.split_seed=0 keeps "
        "it for all seeds."
    )


def test_folds_that_are_missing(made, rows):
    def fold(name, n, case, model):
        return made(name, case, settings={"data.folds": 2, "data.fold": n}, choices={"model": model})

    whole = [fold("a", 0, {"a": [0.9]}, "unet"), fold("b", 1, {"b": [0.9]}, "unet")]
    found = rows(*whole, fold("c", 0, {"a": [0.8]}, "unetpp"))
    expected = "2 in unet and 1 in unetpp (b in unet only; unet has 2 of 2 folds; unetpp has 1 of 2 folds)."
    assert said(difference_of_data(found, "val")) == f"different val cases are scored: {expected}"


def test_other_masks(made, rows):
    found = rows(made("one", CASES), made("other", {"a": [0.9], "b": [None]}))
    expected = "the masks differ: case b has 1000000 pixels of liver in one, and 0 in other."
    assert said(difference_of_data(found, "val")) == expected


def test_other_training_cases(made, rows):
    found = rows(made("one", CASES), made("other", CASES, train=("t0", "t1", "t2")))
    assert difference_of_data(found, "val") is None
    expected = "one and other were trained on different splits: the same cases are scored, but not the same cases train."
    assert said(difference_of_training(found)) == expected


def test_folds_dealt_in_another_way_are_no_difference(made, rows):
    def folds(seed, first, second):
        named = {"seed": seed, "data.folds": 2}
        return [
            made(f"{seed}_{n}", {id_: [0.9]}, settings={**named, "data.fold": n}, train=[other])
            for n, (id_, other) in enumerate(((first, second), (second, first)))
        ]

    runs = [*folds(0, "a", "b"), *folds(1, "b", "a")]
    found = gather(runs, "val", Metric("dice"), seeds_together=False)
    assert len(found) == 2
    assert difference_of_data(found, "val") is None
    assert difference_of_training(found) is None


def test_without_a_split_table_nobody_knows(made, rows):
    one, other = made("one", CASES), made("other", CASES, train=("t9",))
    other.split.clear()
    assert difference_of_training(rows(one, other)) is None


def measured(unit, spacing=None):
    return {"metrics.boundary": {"tolerance": 2.0, "unit": unit}, "data.spacing": spacing}


def test_distances_in_another_unit(made, rows):
    found = rows(made("one", CASES, settings=measured("pixel")), made("other", CASES, settings=measured("spacing")))
    expected = "hd95 was measured with other settings in one than in other (metrics.boundary)."
    assert said(difference_of_measure(found, "hd95")) == expected
    assert difference_of_measure(found, "dice") is None
    assert difference_of_measure(found, "accuracy") is None


def test_what_an_evaluation_was_told_is_not_known(made, rows):
    one, scores = made("one", CASES, settings=measured("spacing")), made("scores", CASES)
    scores.facts.update(status="evaluated", checkpoints=["a.ckpt", "b.ckpt"])
    assert difference_of_measure(rows(one, scores), "hd95") is None


def test_distances_in_another_spacing(made, rows):
    one, other = (made(name, CASES, settings=measured("spacing", size)) for name, size in (("one", 0.7), ("other", [0.7, 1.0])))
    found = rows(one, other)
    assert (
        said(difference_of_measure(found, "assd"))
        == "the size of a pixel (data.spacing) is 0.7 in one, and [0.7, 1.0] in other."
    )
    assert difference_of_measure(rows(one), "assd") is None
