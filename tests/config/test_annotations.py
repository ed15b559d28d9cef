"""Annotations in words, and plain values against them."""

from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, Optional, Union

import pytest
from annotated_types import Ge, Gt, Le, Lt
from torch import nn

from segexp.config.annotations import check_value, expectation, matches, type_name


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
        (0.5, Annotated[float, Ge(0), Le(1)]),
        (None, Annotated[int | None, Ge(1)]),
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
        (1.0, Annotated[float, Gt(0), Lt(1)]),
        (0, Annotated[int, Ge(1)]),
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
        (Annotated[int, Ge(1)], "a whole number, 1 or more"),
        (Annotated[float, Gt(0), Lt(1)], "a number, strictly between 0 and 1"),
        (Annotated[float, Gt(0)], "a number, above 0"),
        (Annotated[float, Ge(0), Le(1)], "a number, between 0 and 1"),
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
    assert type_name(value) == word
