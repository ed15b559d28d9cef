"""What distinguishes runs, and the names made of it."""

import pytest

from segexp.evaluation.settings_diff import distinct_suffixes, flatten, row_names, settings_key, varying_settings

CASES = {"a": [0.9], "b": [0.8]}


@pytest.fixture
def dated(made):
    """Write a run in a folder that the clock named."""
    count = iter(range(100))
    return lambda settings=None, **choices: made(f"2026-01-01_{next(count):02}", CASES, settings=settings, choices=choices)


def test_nested_settings_by_dotted_key():
    assert flatten({"a": {"b": 1, "c": {"d": [1, 2]}}, "e": {}}) == {"a.b": 1, "a.c.d": [1, 2], "e": {}}


def test_what_differs(dated):
    runs = [dated({"optimizer.lr": 0.001, "seed": 0}), dated({"optimizer.lr": 0.01, "seed": 1})]
    assert varying_settings(runs) == {"optimizer.lr": [0.001, 0.01], "seed": [0, 1]}
    assert varying_settings(runs, ["seed"]) == {"optimizer.lr": [0.001, 0.01]}
    assert varying_settings(runs[:1]) == {}


def test_what_leaves_the_scores_as_they_are_does_not_count(dated):
    one, other = dated({"trainer.gpus": 0, "data.root": "a", "tags": ["x"]}), dated({"trainer.gpus": 1, "data.root": "b"})
    assert varying_settings([one, other]) == {}
    assert settings_key(one) == settings_key(other)
    assert settings_key(one) != settings_key(dated({"data.batch_size": 2}))
    assert settings_key(dated({"seed": 1}), ["seed"]) == settings_key(one, ["seed"])


def test_a_setting_that_is_null_is_like_one_that_is_not_there(dated):
    assert settings_key(dated({"distill": None, "more": {}})) == settings_key(dated())
    assert settings_key(dated({"trainer.gradient_clip_val": 0.0})) != settings_key(dated()), "nought is a value"


def test_how_pseudo_labels_are_made_counts_where_there_are_some(dated):
    off = {"data.unlabeled": None, "data.pseudo.confidence": 0.9}
    assert settings_key(dated(off)) == settings_key(dated())
    assert varying_settings([dated(off), dated(off | {"data.pseudo.confidence": 0.5})]) == {}
    some = off | {"data.unlabeled": "more"}
    assert settings_key(dated(some)) != settings_key(dated())
    assert varying_settings([dated(some), dated(some | {"data.pseudo.confidence": 0.5})]) == {
        "data.pseudo.confidence": [0.9, 0.5]
    }


def test_a_setting_that_only_one_has(dated):
    assert varying_settings([dated(), dated({"trainer.ema": 0.9})]) == {"trainer.ema": ["none", 0.9]}


def test_a_group_stands_for_what_follows_from_it(dated):
    runs = [
        dated({"model.width": 16}, model="unet"),
        dated({"model.width": 32, "model.deep": True}, model="unetpp"),
        dated({"model.width": 32, "model.deep": True}, model="unetpp"),
    ]
    assert varying_settings(runs) == {"model": ["unet", "unetpp", "unetpp"]}
    wider = dated({"model.width": 64, "model.deep": True}, model="unetpp")
    found = varying_settings([*runs, wider])
    assert found == {"model": ["unet", "unetpp", "unetpp", "unetpp"], "model.width": [16, 32, 32, 64]}


def test_an_experiment_stands_for_what_follows_from_it(dated):
    runs = [dated({"trainer.ema": 0.9, "loss.w": 1}, experiment="liver"), dated({"trainer.ema": 0.8, "loss.w": 2})]
    assert varying_settings(runs) == {"experiment": ["liver", "none"]}


def named(*runs, without=()):
    return row_names([[run] for run in runs], without)


def test_names_of_settings(dated):
    assert named(dated(), dated(model="unetpp")) == ["unet", "unetpp"]
    assert named(dated({"optimizer.lr": 0.1}), dated({"optimizer.lr": 0.2})) == ["lr=0.1", "lr=0.2"]
    assert named(dated({"seed": 0}), dated({"seed": 1})) == ["seed=0", "seed=1"]
    both = [dated({"optimizer.lr": 0.1}), dated({"optimizer.lr": 0.1}, model="unetpp"), dated({"optimizer.lr": 0.2})]
    assert named(*both) == ["unet lr=0.1", "unetpp lr=0.1", "unet lr=0.2"]
    same_end = [dated({"a.w": 1, "b.w": 2}), dated({"a.w": 2, "b.w": 1})]
    assert named(*same_end) == ["a.w=1 b.w=2", "a.w=2 b.w=1"]
    assert named(dated({"data.crop": [64, 64]}), dated({"data.crop": None})) == ["crop=[64, 64]", "crop=null"]


def test_settings_that_vary_within_rows_are_named_only_where_they_must(dated):
    runs = [dated({"seed": 0}), dated({"seed": 1}, model="unetpp")]
    assert named(*runs, without=["seed"]) == ["unet", "unetpp"]
    assert named(dated({"seed": 0}), dated({"seed": 1}), without=["seed"]) == ["seed=0", "seed=1"]


def test_names_that_the_user_chose(made):
    runs = [made("baseline", CASES), made("with_ema", CASES, settings={"trainer.ema": 0.9})]
    assert named(*runs) == ["baseline", "with_ema"]
    assert row_names([[runs[0], runs[0]], [runs[1]]]) == ["ema=none", "ema=0.9"], "not of a row that is several runs"


def test_a_job_of_a_study_is_named_by_its_settings(study):
    from segexp.evaluation.records import read_records

    jobs = {"model-unet": (CASES, {}), "model-unetpp": (CASES, {"choices": {"model": "unetpp"}})}
    records, _ = read_records([study(**jobs)])
    assert named(*records) == ["unet", "unetpp"]


def test_a_row_alone(dated, made):
    assert named(dated(model="unetpp")) == ["unetpp"]
    assert named(made("mine", CASES)) == ["mine"]


def test_what_nothing_tells_apart_is_named_by_its_path(dated):
    assert named(dated(), dated()) == ["2026-01-01_00", "2026-01-01_01"]
    many = [dated({f"a.k{n}": i for n in range(5)}) for i in range(2)]
    assert named(*many) == ["2026-01-01_02", "2026-01-01_03"]


def test_ends_of_paths(tmp_path):
    assert distinct_suffixes([tmp_path / "a" / "x", tmp_path / "b" / "x"]) == ["a/x", "b/x"]
    assert distinct_suffixes([tmp_path / "a" / "x", tmp_path / "a" / "y"]) == ["x", "y"]


def test_no_background_is_a_setting_and_the_first_class_is_the_default(dated):
    old, usual, none = dated({"data.name": "x"}), *(dated({"data.name": "x", "data.background": b}) for b in ("first", None))
    assert settings_key(old) == settings_key(usual) != settings_key(none)
    assert varying_settings([old, usual]) == {}
    assert varying_settings([old, none]) == {"data.background": ["first", "null"]}
