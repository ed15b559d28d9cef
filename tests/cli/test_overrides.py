"""A class table that is typed stands for the whole table, however it is typed and wherever it goes."""

import pytest

from segexp.cli.overrides import parse
from segexp.config.composition import compose, to_plain

TABLE = "data.classes={cell: 0, edge: 255}"


def classes(*words):
    return to_plain(compose("train", parse(words).overrides))["data"]


@pytest.mark.parametrize("data", ["liver", "landcover", "auto"])
@pytest.mark.parametrize("sign", ["", "+", "++"])
def test_a_typed_table_takes_the_place_of_the_files(data, sign):
    found = classes(f"data={data}", f"{sign}{TABLE}", "data.root=x")
    assert list(found["classes"].items()) == [("cell", 0), ("edge", 255)]
    assert found["num_classes"] == 2


def test_single_classes_are_changed_in_place():
    found = classes("data=liver", "data.classes.liver=[255,7]", "+data.classes.tumour=128")
    assert found["classes"] == {"background": 0, "liver": [255, 7], "tumour": 128}
    assert classes("data=demo", TABLE, "data.classes.edge=9")["classes"] == {"cell": 0, "edge": 9}


def test_everything_else_is_left_as_typed():
    words = ["model=unet", "data.normalize={mean: 0.5, std: 0.5}", "data.classes=null", "seed=1,2", "~data.ignore"]
    assert parse([*words, "-m"]).overrides == words
    assert parse([TABLE, "seed=1"]).overrides == ["++data.classes=null", f"+{TABLE}", "seed=1"]


def test_a_table_that_was_expanded_before_is_expanded_alike():
    once = parse([TABLE]).overrides
    again = parse(once[1:]).overrides
    assert again == once


def test_points_of_a_weight_take_the_place_of_the_files():
    typed = "loss.terms.dice.weight={0: 0.0, 50%: 1.0}"
    assert parse([typed]).overrides == ["++loss.terms.dice.weight=null", f"+{typed}"]
    assert parse(["loss.terms.dice.weight=[[0,1],[9,0]]"]).overrides == ["loss.terms.dice.weight=[[0,1],[9,0]]"]
    loss = to_plain(compose("train", parse(["data=demo", "loss.terms.dice.weight={0: 0.0, 50: 1.0}"]).overrides))["loss"]
    assert loss["terms"]["dice"]["weight"] == {0: 0.0, 50: 1.0}
    assert loss["terms"]["ce"]["weight"] == 1.0


def test_arguments_of_a_typed_target_are_added_where_the_file_has_none():
    words = ["model._target_=mine.Net", "model.blocks=3", "+model.more=1", "~model.norm", "data.crop=3", "optimizer.lr=1"]
    expected = ["model._target_=mine.Net", "++model.blocks=3", *words[2:]]
    assert parse(words).overrides == expected
    assert parse(expected).overrides == expected
    assert parse(["-m", "model._target_=a.A,b.B", "model.blocks=1,2"]).overrides[1] == "++model.blocks=1,2"
