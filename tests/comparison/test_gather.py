"""Rows of a table: seeds and folds gathered, and when they are not."""

import math

import pytest

from segexp.comparison.casewise import Metric
from segexp.comparison.gather import drawn, gather, unit_count
from segexp.errors import DataError
from segexp.metrics.statistics import bootstrap_interval

DICE = Metric("dice")
CASES = {"a": [0.9], "b": [0.8], "c": [0.7]}
OTHER = {"a": [0.7], "b": [0.8], "c": [0.9]}


def test_units_and_groups():
    assert drawn([None, None]) is None
    assert drawn(["x", "x", "y"]) is None, "two groups: cases are drawn"
    assert drawn(["x", "y", "y", "z"]) == ("x", "y", "y", "z")
    assert drawn(["x", None, None]) == ("x", None, None)
    assert (unit_count(["x", "x", None]), unit_count([None, None])) == (2, 2)


def test_seeds_make_one_row(made):
    runs = [made(f"run{seed}", cases, settings={"seed": seed}) for seed, cases in enumerate((CASES, OTHER))]
    (row,) = gather(runs, "val", DICE)
    assert row.seeds == (0, 1)
    assert row.scored.values.ravel().tolist() == pytest.approx([0.8] * 3)
    assert row.by_seed == pytest.approx((0.8, 0.8))
    assert row.spread == pytest.approx(0)
    assert (row.fact("seconds"), row.most("peak_memory_bytes")) == (90, 1_240_633_344)
    assert math.isnan(row.fact("nothing"))
    assert math.isnan(row.most("nothing"))
    rows = gather(runs, "val", DICE, seeds_together=False)
    assert [row.name for row in rows] == ["run0", "run1"]
    assert math.isnan(rows[0].spread)


def test_the_spread_between_seeds(made):
    scores = (0.80, 0.83, 0.86)
    runs = [made(f"run{n}", {"a": [s], "b": [s]}, settings={"seed": n}) for n, s in enumerate(scores)]
    (row,) = gather(runs, "val", DICE)
    assert row.by_seed == pytest.approx(scores)
    assert row.spread == pytest.approx(0.03)


def test_other_settings_are_another_row(made):
    runs = [
        made("a", CASES, settings={"seed": 0}),
        made("b", CASES, settings={"seed": 1}),
        made("c", OTHER, settings={"seed": 0}, choices={"model": "unetpp"}),
    ]
    rows = gather(runs, "val", DICE)
    assert [(row.name, row.seeds) for row in rows] == [("unet", (0, 1)), ("unetpp", (0,))]


def test_the_same_run_made_twice_is_not_a_seed(made):
    rows = gather([made("before", CASES), made("after", OTHER)], "val", DICE)
    assert [row.name for row in rows] == ["before", "after"]


def test_seeds_that_validate_other_cases_are_no_row(made):
    runs = [made("a", {"a": [0.9]}, settings={"seed": 0}), made("b", {"b": [0.8]}, settings={"seed": 1})]
    assert len(gather(runs, "val", DICE)) == 2


def test_runs_of_unknown_settings_are_no_row(made, make_run, tmp_path):
    from segexp.comparison.records import read_record

    unknown = []
    for name in ("a", "b"):
        for file in (make_run(tmp_path / name, CASES) / ".hydra").iterdir():
            file.unlink()
        unknown.append(read_record(tmp_path / name))
    assert [row.name for row in gather(unknown, "val", DICE)] == ["a", "b"]


def folds(made, name="run", seeds=(0,), count=3, **more):
    """A cross-validation of three cases."""
    found = []
    for seed in seeds:
        for fold in range(count):
            id_ = "abc"[(fold + seed) % 3]
            settings = {"seed": seed, "data.folds": 3, "data.fold": fold}
            train = [other for other in "abc" if other != id_]
            found.append(made(f"{name}_{seed}_{fold}", {id_: CASES[id_]}, settings=settings, train=train, **more))
    return found


def test_folds_make_one_row_of_all_cases(made):
    (row,) = gather(folds(made), "val", DICE)
    assert (sorted(row.scored.ids), row.folds, row.seeds) == (["a", "b", "c"], (0, 1, 2), (0,))
    assert row.interval == bootstrap_interval([0.9, 0.8, 0.7])
    assert row.by_seed == pytest.approx((0.8,))


def test_seeds_of_folds_make_one_row(made):
    (row,) = gather(folds(made, seeds=(0, 1)), "val", DICE)
    assert (len(row.runs), row.seeds, row.folds) == (6, (0, 1), (0, 1, 2))
    assert len(row.by_seed) == 2
    rows = gather(list(row.runs), "val", DICE, seeds_together=False)
    assert [(each.name, len(each.scored.ids)) for each in rows] == [("seed=0", 3), ("seed=1", 3)]


def test_folds_on_the_test_split_are_averaged(made):
    runs = [
        made(f"r{n}", {"x": [s]}, settings={"data.folds": 2, "data.fold": n}, split="test") for n, s in enumerate((0.8, 0.9))
    ]
    (row,) = gather(runs, "test", DICE)
    assert row.scored.values.tolist() == [[pytest.approx(0.85)]]


def test_folds_that_share_a_case(made):
    runs = [made(f"r{n}", CASES, settings={"data.folds": 2, "data.fold": n}) for n in range(2)]
    with pytest.raises(DataError) as caught:
        gather(runs, "val", DICE)
    assert str(caught.value) == (
        f"3 cases were validated by more than one fold of {runs[0].directory}, {runs[1].directory}: a, b, c. Each case is in "
        "val of one fold; these runs are no folds of one cross-validation. Compare runs of one study of folds: "
        "-m data.folds=5 data.fold=0,1,2,3,4."
    )


def test_the_interval_is_over_groups_from_three_on(made):
    scores = {name: [score] for name, score in zip("abcdef", (0.9, 0.85, 0.5, 0.55, 0.7, 0.75), strict=True)}
    values = [score for (score,) in scores.values()]
    two = dict(zip("abcdef", "xxxyyy", strict=True))
    three = dict(zip("abcdef", "xxyyzz", strict=True))
    assert gather([made("two", scores, groups=two)], "val", DICE)[0].interval == bootstrap_interval(values)
    found = gather([made("three", scores, groups=three)], "val", DICE)[0].interval
    assert found == bootstrap_interval(values, list(three.values()))
    assert found.groups == 3
