"""Whether the folds of a cross-validation belong together and are all there, and what is said where they are not."""

import math

import pytest
import yaml

from segexp.errors import DataError
from segexp.evaluation.case_scores import Metric
from segexp.evaluation.grouping import (
    build_entries,
    check_folds,
    group_runs,
    missing_folds,
    rerun_advice,
    resampling_groups,
    split_conflict,
    unit_count,
)
from segexp.metrics.significance import bootstrap_interval


@pytest.fixture
def folds(made):
    """Write runs of some folds of three, each of a case of its own."""

    def written(*numbers, name="run", seed=0, study="study", model="unet", cases="012", **settings):
        return [
            made(
                f"{study}/{name}-{seed}-{n}",
                {cases[n]: [0.9]},
                settings={"seed": seed, "data.folds": 3, "data.fold": n, **settings},
                choices={"model": model},
                train=[id_ for id_ in cases if id_ != cases[n]],
            )
            for n in numbers
        ]

    return written


@pytest.fixture
def known(tmp_path):
    """Write what was typed for a study; returns its folder."""

    def written(*words, name="study"):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "multirun.yaml").write_text(yaml.safe_dump({"hydra": {"overrides": {"task": list(words)}}}))
        return tmp_path / name

    return written


def test_which_folds_lack(folds):
    assert missing_folds(folds(0, 1, 2)) == ""
    assert missing_folds(folds(0, 2, name="two")) == "fold 1 of 0 to 2 is missing"
    assert missing_folds(folds(1, name="one")) == "folds 0, 2 of 0 to 2 are missing"
    assert missing_folds([*folds(0, 1, 2, name="a"), *folds(1, seed=5)]) == "of the folds 0 to 2 seed 5 lacks 0, 2"


def test_runs_without_folds_lack_none(made):
    plain = made("plain", {"a": [0.9]})
    assert (missing_folds([plain]), split_conflict([plain])) == ("", None)
    check_folds([plain])


def test_runs_that_differ_in_seed_and_fold_only_are_alike(folds):
    runs = [*folds(0, 1), *folds(0, seed=1), *folds(0, name="other", model="unetpp")]
    assert [[run.directory.name for run in group] for group in group_runs(runs)] == [
        ["run-0-0", "run-0-1", "run-1-0"],
        ["other-0-0"],
    ]


def test_the_same_study_made_twice_is_two(folds, known):
    runs = [run for name in ("before", "after") for run in folds(0, 1, 2, study=name)]
    for name in ("before", "after"):
        known(name=name)
    check_folds(runs)
    rows = build_entries(runs, "val", Metric("dice"))
    assert [(row.name, len(row.scored.ids)) for row in rows] == [("before", 3), ("after", 3)]


def test_some_of_the_folds_are_refused(folds, known):
    runs = folds(0, 2)
    with pytest.raises(DataError) as caught:
        check_folds(runs)
    assert str(caught.value) == (
        f"The cross-validation in {runs[0].directory}, {runs[1].directory} is not whole: fold 1 of 0 to 2 is missing. All "
        "folds were expected, so that every case is scored once. Run what is missing: python -m segexp.train -m data=NAME "
        "data.folds=N "
        "'data.fold=range(N)'. For a table of the other folds alone type skip_unfinished=true."
    )
    check_folds(runs, partial=True)
    known("data.folds=3", "data.fold=0,2")
    with pytest.raises(DataError, match=r"study is not whole: .* Type: python -m segexp\.train -m data\.folds=3 'data\.fold="):
        check_folds(runs)


def test_folds_of_different_seeds_are_refused(folds):
    runs = [*folds(0, 2), *folds(1, seed=1)]
    with pytest.raises(DataError) as caught:
        check_folds(runs)
    expected = (
        "is not whole: of the folds 0 to 2 seed 0 lacks 1; seed 1 lacks 0, 2. All folds of each seed were expected, so that "
        "every case is scored once; another seed deals the cases in another way. Run what is missing: "
    )
    assert expected in str(caught.value)
    one_split = [*folds(0, 2, name="s", **{"data.split_seed": 0}), *folds(1, name="s", seed=1, **{"data.split_seed": 0})]
    with pytest.raises(DataError, match=r"so that every case is scored once\. Run"):
        check_folds(one_split)


def test_folds_of_different_splits_are_refused(folds):
    more = [*folds(0, 1), *folds(2, name="later", cases="0123")]
    with pytest.raises(DataError) as caught:
        check_folds(more, partial=True)
    assert str(caught.value) == (
        f"The folds in {', '.join(str(run.directory) for run in more)} are of different splits: 1 case is not known to all "
        "of them (3). Folds of one split of the same cases were expected, so that each case is held out once. Train them as "
        "one study of the data of now: python -m segexp.train -m data=NAME data.folds=N 'data.fold=range(N)' study=NAME."
    )
    other = [*folds(0, 1, name="a"), *folds(2, name="b", cases="021")]
    with pytest.raises(DataError, match=r"different splits: 1 case is held out by more than one of them \(1\)\. Folds of one"):
        check_folds(other)


def test_a_fold_with_other_settings_is_named(folds, known):
    runs = [*folds(0, 1), *folds(2, name="other", model="unetpp")]
    known()
    with pytest.raises(DataError, match=r"fold 2 of 0 to 2 is missing \(other-0-2 is one with other settings: model\)\. All"):
        check_folds(runs)
    split = [*folds(0, 1, name="a"), *folds(2, name="b", **{"data.split_seed": 3})]
    with pytest.raises(DataError, match=r"b-0-2 is one with other settings: data\.split_seed\)"):
        check_folds(split)


def test_all_folds_or_one_of_each_row_are_taken(folds, made):
    check_folds(folds(0, 1, 2))
    check_folds([*folds(1, name="a"), *folds(1, name="b", model="unetpp")])
    scored = [run for n in (0, 1) for run in folds(n, study=f"scored{n}")]
    for run in scored:
        run.facts["status"] = "evaluated"
    check_folds(scored)


def test_what_to_type_is_the_command_of_the_study(folds, known, tmp_path):
    (run,) = folds(0)
    study = known("data=liver", "data.folds=3", "data.fold=0,1", "study=mine")
    here = f"hydra.sweep.dir={study}"
    assert rerun_advice(run.study, 3) == (
        f"Type: python -m segexp.train -m data=liver data.folds=3 'data.fold=range(3)' study=mine {here}, which does only what "
        "is missing"
    )
    hydra = run.directory / ".hydra" / "hydra.yaml"
    hydra.write_text(yaml.safe_dump({"hydra": {"runtime": {"cwd": "/home/me", "choices": {}}}}))
    assert rerun_advice(study, 3).startswith("Type in /home/me: python -m segexp.train -m data=liver")


DICE = Metric("dice")
CASES = {"a": [0.9], "b": [0.8], "c": [0.7]}
OTHER = {"a": [0.7], "b": [0.8], "c": [0.9]}


def test_units_and_groups():
    assert resampling_groups([None, None]) is None
    assert resampling_groups(["x", "x", "y"]) is None, "two groups: cases are drawn"
    assert resampling_groups(["x", "y", "y", "z"]) == ("x", "y", "y", "z")
    assert resampling_groups(["x", None, None]) == ("x", None, None)
    assert (unit_count(["x", "x", None]), unit_count([None, None])) == (2, 2)


def test_seeds_make_one_row(made):
    runs = [made(f"run{seed}", cases, settings={"seed": seed}) for seed, cases in enumerate((CASES, OTHER))]
    (row,) = build_entries(runs, "val", DICE)
    assert row.seeds == (0, 1)
    assert row.scored.values.ravel().tolist() == pytest.approx([0.8] * 3)
    assert row.by_seed == pytest.approx((0.8, 0.8))
    assert row.spread == pytest.approx(0)
    assert (row.fact("seconds"), row.most("peak_memory_bytes")) == (90, 1_240_633_344)
    assert math.isnan(row.fact("nothing"))
    assert math.isnan(row.most("nothing"))
    rows = build_entries(runs, "val", DICE, seeds_together=False)
    assert [row.name for row in rows] == ["run0", "run1"]
    assert math.isnan(rows[0].spread)


def test_the_spread_between_seeds(made):
    scores = (0.80, 0.83, 0.86)
    runs = [made(f"run{n}", {"a": [s], "b": [s]}, settings={"seed": n}) for n, s in enumerate(scores)]
    (row,) = build_entries(runs, "val", DICE)
    assert row.by_seed == pytest.approx(scores)
    assert row.spread == pytest.approx(0.03)


def test_other_settings_are_another_row(made):
    runs = [
        made("a", CASES, settings={"seed": 0}),
        made("b", CASES, settings={"seed": 1}),
        made("c", OTHER, settings={"seed": 0}, choices={"model": "unetpp"}),
    ]
    rows = build_entries(runs, "val", DICE)
    assert [(row.name, row.seeds) for row in rows] == [("unet", (0, 1)), ("unetpp", (0,))]


def test_the_same_run_made_twice_is_not_a_seed(made):
    rows = build_entries([made("before", CASES), made("after", OTHER)], "val", DICE)
    assert [row.name for row in rows] == ["before", "after"]


def test_seeds_that_validate_other_cases_are_no_row(made):
    runs = [made("a", {"a": [0.9]}, settings={"seed": 0}), made("b", {"b": [0.8]}, settings={"seed": 1})]
    assert len(build_entries(runs, "val", DICE)) == 2


def test_runs_of_unknown_settings_are_no_row(made, make_run, tmp_path):
    from segexp.evaluation.records import read_record

    unknown = []
    for name in ("a", "b"):
        for file in (make_run(tmp_path / name, CASES) / ".hydra").iterdir():
            file.unlink()
        unknown.append(read_record(tmp_path / name))
    assert [row.name for row in build_entries(unknown, "val", DICE)] == ["a", "b"]


def folds_gather(made, name="run", seeds=(0,), count=3, **more):
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
    (row,) = build_entries(folds_gather(made), "val", DICE)
    assert (sorted(row.scored.ids), row.folds, row.seeds) == (["a", "b", "c"], (0, 1, 2), (0,))
    assert row.interval == bootstrap_interval([0.9, 0.8, 0.7])
    assert row.by_seed == pytest.approx((0.8,))


def test_seeds_of_folds_make_one_row(made):
    (row,) = build_entries(folds_gather(made, seeds=(0, 1)), "val", DICE)
    assert (len(row.runs), row.seeds, row.folds) == (6, (0, 1), (0, 1, 2))
    assert len(row.by_seed) == 2
    rows = build_entries(list(row.runs), "val", DICE, seeds_together=False)
    assert [(each.name, len(each.scored.ids)) for each in rows] == [("seed=0", 3), ("seed=1", 3)]


def test_folds_on_the_test_split_are_averaged(made):
    runs = [
        made(f"r{n}", {"x": [s]}, settings={"data.folds": 2, "data.fold": n}, split="test") for n, s in enumerate((0.8, 0.9))
    ]
    (row,) = build_entries(runs, "test", DICE)
    assert row.scored.values.tolist() == [[pytest.approx(0.85)]]


def test_folds_that_share_a_case(made):
    runs = [made(f"r{n}", CASES, settings={"data.folds": 2, "data.fold": n}) for n in range(2)]
    with pytest.raises(DataError) as caught:
        build_entries(runs, "val", DICE)
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
    assert build_entries([made("two", scores, groups=two)], "val", DICE)[0].interval == bootstrap_interval(values)
    found = build_entries([made("three", scores, groups=three)], "val", DICE)[0].interval
    assert found == bootstrap_interval(values, list(three.values()))
    assert found.groups == 3
