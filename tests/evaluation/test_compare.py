"""Records in, tables and sentences out."""

from dataclasses import replace

import numpy as np
import pytest

from segexp.errors import ConfigError, DataError
from segexp.evaluation.case_scores import Metric
from segexp.evaluation.compare import (
    compare_records,
    difference_of_data,
    difference_of_measure,
    difference_of_training,
    find_entry,
)
from segexp.evaluation.grouping import build_entries
from segexp.metrics.significance import bootstrap_interval, paired_interval

IDS = [f"{n:02}" for n in range(12)]
BASE = np.linspace(0.7, 0.9, 12).round(6)
GAIN = (np.linspace(0.002, 0.03, 12) * np.where(np.arange(12) == 3, -1, 1)).round(6)


def cases(values):
    return {id_: [float(value)] for id_, value in zip(IDS, values, strict=True)}


@pytest.fixture
def two(made):
    return [made("unet_run", cases(BASE)), made("unetpp_run", cases(BASE + GAIN), choices={"model": "unetpp"})]


def test_two_runs(two):
    found = compare_records(two)
    assert (str(found.metric), found.split) == ("dice", "val")
    assert [entry.name for entry in found.entries] == ["unetpp_run", "unet_run"], "the best first"
    assert found.entries[0].interval == bootstrap_interval((BASE + GAIN).round(6))
    (contrast,) = found.contrasts
    assert found.reference is contrast.reference is found.entries[0]
    expected = paired_interval(BASE, (BASE + GAIN).round(6))
    assert (contrast.difference.low, contrast.difference.high) == pytest.approx((expected.low, expected.high))
    (text,) = found.verdicts
    assert text.startswith("unetpp_run is better than unet_run: its dice is higher by 0.0144 (95 % interval 0.00")


def test_another_metric(two):
    found = compare_records(two, metric="iou/liver")
    iou = (BASE + GAIN) / (2 - (BASE + GAIN))
    assert found.entries[0].interval.mean == pytest.approx(iou.mean(), abs=1e-6)
    assert "its iou/liver is higher by" in found.verdicts[0]
    assert compare_records(two, metric="accuracy").entries[0].name == "unetpp_run"
    assert compare_records(two, metric="fp").entries[0].name == "unetpp_run", "fewer are better"
    assert compare_records(two, metric="dice", better="low").entries[0].name == "unet_run"


def test_a_reference_by_directory_or_name(two, tmp_path, monkeypatch):
    for name in (str(two[0].directory), "unet_run"):
        found = compare_records(two, reference=name)
        assert found.reference is not None
        assert found.reference.name == "unet_run"
        assert found.contrasts[0].difference.mean == pytest.approx(GAIN.mean(), abs=1e-5)
    monkeypatch.chdir(tmp_path)
    assert find_entry("./unet_run/", found.entries) == 1
    with pytest.raises(ConfigError) as caught:
        compare_records(two, reference="unet_ran")
    assert str(caught.value) == (
        "reference=unet_ran is none of the runs that are compared. The directory of one of them, or a name from the table, was "
        "expected. Did you mean unet_run, unetpp_run? Type its directory among the others as well."
    )


def test_one_run(two):
    found = compare_records(two[:1])
    assert (found.contrasts, found.reference) == ([], None)
    assert found.verdicts == ["There is one row, unet_run: nothing to compare it with."]
    assert found.entries[0].interval == bootstrap_interval(BASE)


def test_seeds(made):
    noise = np.random.default_rng(0).normal(0, 0.002, (4, 12)).round(6)
    runs = [
        made(f"{model}{seed}", cases(BASE + gain + noise[n]), settings={"seed": seed}, choices={"model": model})
        for n, (model, gain, seed) in enumerate((m, g, s) for m, g in (("unet", 0), ("unetpp", GAIN)) for s in (0, 1))
    ]
    found = compare_records(runs)
    assert [(entry.name, entry.seeds) for entry in found.entries] == [("unetpp", (0, 1)), ("unet", (0, 1))]
    expected = (BASE + noise[:2].mean(axis=0)) - (BASE + GAIN + noise[2:].mean(axis=0))
    assert found.contrasts[0].difference.mean == pytest.approx(expected.mean(), abs=1e-5)
    assert found.contrasts[0].difference.cases == 12, "cases, not runs times cases"
    separate = compare_records(runs, seeds_together=False)
    assert len(separate.entries) == 4
    assert separate.contrasts[0].comparisons == 6


def test_a_cross_validation(made):
    runs = [
        made(
            f"{model}{fold}",
            cases_of(values, fold),
            settings={"data.folds": 3, "data.fold": fold},
            choices={"model": model},
            train=[id_ for n, id_ in enumerate(IDS) if n % 3 != fold],
        )
        for model, values in (("unet", BASE), ("unetpp", BASE + GAIN))
        for fold in range(3)
    ]
    found = compare_records(runs)
    assert [(entry.name, len(entry.scored.ids)) for entry in found.entries] == [("unetpp", 12), ("unet", 12)]
    assert found.contrasts[0].difference.mean == pytest.approx(-GAIN.mean(), abs=1e-5)
    assert "Each case is scored by the run of the fold that did not train on it." in found.notes
    with pytest.raises(DataError, match=r"12 in unetpp and 8 in unet .* unet has 2 of 3 folds\)"):
        compare_records(runs[1:])


def cases_of(values, fold):
    return {id_: [float(values[n])] for n, id_ in enumerate(IDS) if n % 3 == fold}


def test_other_data_are_refused_or_not_paired(made, two):
    other = made("other", {"x": [0.5], "y": [0.6]})
    with pytest.raises(DataError, match=r"^The runs cannot be compared case by case: different val cases are scored: 12 in "):
        compare_records([*two, other])
    found = compare_records([*two, other], allow_different_data=True)
    assert [entry.name for entry in found.entries] == ["unetpp_run", "unet_run", "other"]
    assert (found.contrasts, found.reference, found.verdicts) == ([], None, [])
    assert found.notes[-1].startswith("The runs cannot be compared case by case: different val cases are scored")
    assert found.notes[-1].endswith(
        "; there are no differences case by case, and two intervals that overlap or do not decide nothing."
    )


def test_other_training_cases_are_refused_or_said(made, two):
    other = made("other", cases(BASE - 0.1), train=("t0",))
    with pytest.raises(DataError, match="were trained on different splits: the same cases are scored, but not the same cases"):
        compare_records([*two, other])
    found = compare_records([*two, other], allow_different_data=True)
    assert len(found.contrasts) == 2, "the same cases can be paired"
    assert found.notes[-1].endswith("not the same cases train; so a difference may come from the training cases.")


def test_other_classes_are_refused(made, two):
    other = made("other", cases(BASE), classes=("background", "tumour"))
    with pytest.raises(DataError, match="the classes differ: background, liver in unetpp_run, and background, tumour in other"):
        compare_records([*two, other])


def test_seeds_in_one_row_are_told_how_to_be_compared(made):
    runs = [made(f"run{seed}", {"a": [0.8], "b": [0.7 + seed / 100]}, settings={"seed": seed}) for seed in (0, 1)]
    found = compare_records(runs)
    (verdict,) = found.verdicts
    assert verdict.endswith(": nothing to compare it with. Its seeds are compared by seeds=separate.")
    assert len(compare_records(runs, seeds_together=False).contrasts) == 1


CASES = {"a": [0.9], "b": [0.8]}
ENDING = (
    " Runs of the same data, classes and split were expected. Leave out the ones that differ, or type "
    "allow_different_data=true for a table without differences case by case."
)


@pytest.fixture
def rows():
    return lambda *runs, split="val": build_entries(runs, split, Metric("dice"))


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
    found = build_entries(runs, "val", Metric("dice"), seeds_together=False)
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


def test_means_over_other_classes_are_not_compared(made):
    both = {id_: [0.8, 0.6] for id_ in IDS}
    names = ("field", "wood", "water")
    usual, all_classes = (made(name, both, classes=names) for name in ("usual", "all"))
    all_classes = replace(all_classes, facts={**all_classes.facts, "background": False})
    assert (usual.foreground, all_classes.foreground) == (("wood", "water"), names)
    with pytest.raises(DataError, match=r"the means leave out (field|no class) in .*data.background"):
        compare_records([usual, all_classes])
    means = {entry.name: entry.scored.mean() for entry in compare_records([all_classes, all_classes]).entries}
    assert next(iter(means.values())) == pytest.approx((1 + 0.8 + 0.6) / 3)
    assert len(compare_records([usual, all_classes], metric="dice/wood").contrasts) == 1
