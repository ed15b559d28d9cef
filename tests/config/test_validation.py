"""`deep_supervision`: for whom, and what contradicts it."""

from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, Optional, Union

import pytest
from torch import nn

from segexp.config import conf_dir, scales
from segexp.config.validation import Range, check_value, expectation, head_problems, kind, matches, method_problems, with_heads


@pytest.mark.parametrize(("weights", "heads"), [(None, False), (False, False), (True, True), ([1, 0.5], True)])
def test_what_the_networks_are_told(weights, heads):
    assert scales(weights) is heads


def problems(asked, **model):
    return list(head_problems({"deep_supervision": asked, "model": {"_target_": "x.Net", **model}}, conf_dir()))


@pytest.mark.parametrize(
    ("asked", "told"), [(None, False), (None, True), (False, False), (True, True), ([1, 0.5], True), ([0, 1], True)]
)
def test_what_goes_together(asked, told):
    assert problems(asked, deep_supervision=told) == []
    assert problems(None) == problems(False) == []


@pytest.mark.parametrize("asked", [True, [1, 2]])
def test_a_network_without_heads_names_those_that_have(asked):
    (text,) = problems(asked)
    assert text.startswith(
        f"deep_supervision={str(asked).lower()}, and the network x.Net has no heads for it. Networks that have: "
    )
    assert "model=unetpp" in text
    assert text.endswith(
        ". A network of your own needs the argument deep_supervision and the method forward_scales; then type "
        "model.deep_supervision=true"
    )


def test_the_networks_with_heads_are_those_whose_file_says_so():
    files = list((conf_dir() / "model").glob("*.yaml"))
    found = with_heads(conf_dir())
    assert found == sorted(f"model={file.stem}" for file in files if "\ndeep_supervision:" in file.read_text(encoding="utf-8"))
    assert "model=unetpp" in found
    assert len(found) < len(files)


@pytest.mark.parametrize("asked", [[], [0, 0.0]])
def test_weights_of_nothing(asked):
    assert problems(asked, deep_supervision=True) == [
        f"deep_supervision={asked} has no weight above 0. Give one per head, finest first, or type deep_supervision=true"
    ]


@pytest.mark.parametrize(("asked", "told"), [(True, False), ([1, 2], False), (False, True)])
def test_contradictions(asked, told):
    assert problems(asked, deep_supervision=told) == [
        f"deep_supervision={str(asked).lower()} and model.deep_supervision={str(told).lower()} contradict each other. "
        "Leave model.deep_supervision out: it follows from the other"
    ]


class Colour(Enum):
    RED = "red"


NODE = {"_target_": "torch.nn.ReLU"}


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (3, int),
        (3, float),
        (3.5, float),
        (True, bool),
        ("a", str),
        (None, None),
        (None, int | None),
        (3, Optional[int]),  # noqa: UP045 (libraries still write it)
        ("auto", Union[Literal["auto"], int]),  # noqa: UP007
        ([1, 2], list[int]),
        ([1, 2], tuple[int, int]),
        ([1, 2, 3], tuple[int, ...]),
        ([1, 2.5], Sequence[float]),
        ([], list[int]),
        ({"a": 1}, dict[str, int]),
        ({"a": 1}, Mapping[str, Any]),
        ("some/where", Path),
        ("red", Colour),
        ("RED", Colour),
        (NODE, nn.Module),
        (NODE, type[nn.Module]),
        (NODE, nn.Module | None),
        (0.5, Annotated[float, Range(0, 1)]),
        (None, Annotated[int | None, Range(1)]),
        (object(), Any),
        ("x", "AnnotationNobodyKnows"),
    ],
)
def test_fits(value, hint):
    assert matches(value, hint)
    assert list(check_value("key", value, hint)) == []


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ("3", int),
        (3.0, int),
        (True, int),
        (True, float),
        (1, bool),
        (3, str),
        (None, int),
        ("no", Literal["auto"]),
        (1, Literal[True]),
        ([1, "a"], list[int]),
        ([1, 2, 3], tuple[int, int]),
        ("ab", list[str]),
        ("ab", Sequence[str]),
        ({"a": "x"}, dict[str, int]),
        ([1], dict),
        (3, Path),
        ("blue", Colour),
        (3, nn.Module),
        (NODE, int),
        (1.0, Annotated[float, Range(0, 1, strict=True)]),
        (0, Annotated[int, Range(1)]),
    ],
)
def test_does_not_fit(value, hint):
    assert not matches(value, hint)
    assert len(list(check_value("key", value, hint))) == 1


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (int | None, "a whole number or null"),
        (Literal["auto", 32], "auto | 32"),
        (Annotated[int, Range(1)], "a whole number, 1 or more"),
        (Annotated[float, Range(0, 1, strict=True)], "a number, strictly between 0 and 1"),
        (Annotated[float, Range(0, strict=True)], "a number, above 0"),
        (Annotated[float, Range(0, 1)], "a number, between 0 and 1"),
        (tuple[int, int], "a list of 2: a whole number; a whole number"),
        (list[str], "a list, each text"),
        (list, "a list"),
        (dict[str, int], "a mapping"),
        (nn.Module, "an object of Module (a mapping with _target_)"),
    ],
)
def test_hints_in_words(hint, words):
    assert expectation(hint) == words


def test_the_sentence_names_key_value_and_expectation():
    assert list(check_value("trainer.max_epochs", "many", int | None)) == [
        "trainer.max_epochs is 'many' (text); expected a whole number or null"
    ]
    assert list(check_value("a", None, int)) == ["a is null; expected a whole number"]


@pytest.mark.parametrize(
    ("value", "word"), [(True, "true or false"), (1, "a whole number"), ([1], "a list"), ({}, "a mapping")]
)
def test_kinds_as_yaml_users_say_them(value, word):
    assert kind(value) == word


def problems_methods(**trainer):
    return list(method_problems({"trainer": trainer}))


@pytest.mark.parametrize(
    "trainer",
    [
        {},
        {"swa": None, "ema": 0.9, "freeze_encoder": 0, "minutes": 3},
        {"swa": "75%", "minutes": 3.0, "freeze_encoder": "20%"},
        {"swa": 60, "ema": None, "minutes": None, "freeze_encoder": 5},
        {"swa": [1]},  # what is no moment at all is refused by its type
    ],
)
def test_nothing_to_say(trainer):
    assert problems_methods(**trainer) == []


def test_two_averages():
    assert problems_methods(swa="75%", ema=0.99) == [
        "trainer.ema=0.99 and trainer.swa=75% are two averages of the weights, and one of them is what is scored and kept. "
        "Type trainer.ema=null or trainer.swa=null"
    ]


def test_epochs_of_an_open_number():
    assert problems_methods(swa=60, minutes=10) == [
        "trainer.swa=60 counts epochs, and with trainer.minutes=10 their number is open. Type trainer.swa=75% for the last "
        "quarter of the time"
    ]


def test_no_moments():
    assert [text.partition(".")[2][:22] for text in problems_methods(swa="60", freeze_encoder="x%")] == [
        "swa is '60'. an epoch ",
        "freeze_encoder is 'x%'",
    ]
