"""Facts and verdict in words, from a small examination made by hand."""

import pytest

from segexp.checking.findings import CaseFacts, Examination, Finding
from segexp.report.facts import class_facts, class_of, facts_of, label_table, name_of, share_text, unclaimed, verdict
from segexp.types import Case, Source

DATA = {"name": "cells", "root": "/somewhere/cells", "classes": {"background": 0, "cell": [254, 255]}, "ignore": [9]}


def case_facts(name, values, shares=(), size=(100, 200), **more):
    return CaseFacts(
        name, size, **({"channels": 1, "dtype": "uint8", "low": 3.0, "high": 250.0} | more), values=values, shares=shares
    )


def examination(data=None, findings=(), **facts):
    found = facts or {
        "a": case_facts("a", {"0": 15_000, "255": 5_000}, (0.75, 0.25)),
        "b": case_facts("b", {"0": 19_000, "254": 100, "9": 900}, (0.99, 0.01), (300, 200), channels=3, high=65535.0),
        "c": case_facts("c", {"0": 19_990, "7": 10}, (1.0, 0.0), dtype="uint16", low=-1.0),
    }
    cases = [Case(name, Source(f"{name}.png"), (), None, "g" if name != "c" else "h") for name in found]
    splits = {name: "train" if name != "c" else "val" for name in found}
    return Examination(data or DATA, "as typed", cases, splits, found, list(findings))


def finding(level):
    return Finding(level, "kind", "found", "do")


@pytest.mark.parametrize(
    ("levels", "text"),
    [
        ([], "Nothing found that stands in the way of training."),
        (["note", "note"], "Nothing found that stands in the way of training."),
        (["warning", "note"], "No error, 1 warning: training will run; look at the warnings before you trust it."),
        (["error", "error", "warning"], "2 errors: training cannot work as it stands, or its scores would be wrong."),
        (["error"], "1 error: training cannot work as it stands, or its scores would be wrong."),
    ],
)
def test_the_verdict(levels, text):
    assert verdict(examination(findings=map(finding, levels))) == text


def test_what_the_table_says():
    assert dict(facts_of(examination())) == {
        "cases": "3 (2 train, 1 val)",
        "groups kept together": "2",
        "sizes (height x width)": "100x200 (2), 300x200 (1)",
        "channels": "1 (2), 3 (1)",
        "values stored as": "uint8 (2), uint16 (1)",
        "intensities": "-1 to 65535",
        "mask values": "0 = background; 255, 254 = cell; 9 = (ignored)",
        "values of no class": "7",
        "pixels": "background 91.4 %, cell 8.6 %, (ignored) 1.5 %",
        "masks without foreground": "1 of 3",
    }


def test_many_sizes_are_a_range_and_many_values_are_counted():
    many = {str(n): case_facts(str(n), {str(v): 1 for v in range(30)}, size=(100 + n, 50)) for n in range(6)}
    found = dict(facts_of(examination({**DATA, "classes": None}, **many)))
    assert found["sizes (height x width)"] == "6 sizes from 100x50 to 105x50"
    assert found["mask values"].endswith("and 18 more")
    assert "pixels" not in found


def test_an_examination_that_could_read_nothing():
    empty = Examination(DATA, "as typed", [], {}, {}, [finding("error")])
    assert dict(facts_of(empty)) == {"cases": "0", "readable": "none"}


def test_a_mask_value_means_a_class():
    gray = label_table(DATA)
    assert [class_of(value, gray) for value in ("0", "254", "255", "9", "7", "#FFFFFF")] == [0, 1, 1, 255, None, 1]
    soft = label_table({"classes": {"no": 0, "yes": 255}, "threshold": 127})
    assert [class_of(value, soft) for value in ("3", "127", "128", "0.5")] == [0, 0, 1, 0]
    colour = label_table({"classes": {"land": "#102030", "sea": "#0000FF"}, "ignore": ["#000000"]})
    assert [class_of(value, colour) for value in ("#102030", "#0000FF", "#000000", "#123456")] == [0, 1, 255, None]


def test_classes_without_pixels_are_there_too():
    table = label_table({"classes": {"a": 0, "b": 255, "c": 3}, "ignore": []})
    found = class_facts(examination(), table)
    assert [(each.name, each.values, each.cases) for each in found] == [("a", ("0",), 3), ("b", ("255",), 1), ("c", (), 0)]
    assert found[2].share == 0
    assert unclaimed(examination().facts.values(), table) == {"9": 900, "254": 100, "7": 10}


@pytest.mark.parametrize("data", [{"classes": None}, {"classes": {"one": 0}}, {}])
def test_without_classes_there_is_no_table(data):
    assert label_table(data) is None


def test_names_and_shares():
    assert name_of({"name": "auto", "root": "/x/liver"}) == "liver"
    assert name_of({"name": "mine", "root": "/x/liver"}) == "mine"
    assert [share_text(share) for share in (0.0, 0.5, 0.001, 0.00002)] == ["0.0 %", "50.0 %", "0.1 %", "0.002 %"]
