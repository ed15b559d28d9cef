"""Python values as overrides: what Hydra and a shell read back."""

import shlex

import pytest

from fixtures.advice import parse, problems
from segexp.config.overrides import CommandLine, shell_words, to_overrides


@pytest.mark.parametrize("value", ["a b", "it's", 'q"x', "a\\b", "${x}", "x,y", "null", 0.5, [1, "b c"], None, True])
def test_a_value_comes_back_from_shell_and_grammar(value):
    (word,) = shlex.split(shell_words({"data.root": value}))
    assert parse(word).value() == value


@pytest.mark.parametrize("name", ["white matter", "a:b", "a,b", "a(b)", "x=y", "a{b", "yes", "t1/t2", "1st"])
def test_the_name_of_a_class_comes_back(name):
    (word,) = to_overrides({"data": {"classes": {"background": 0, name: 1}}})
    assert parse(word).value() == {"background": 0, name: 1}


@pytest.mark.parametrize("key", ["groups", "normalize"])
def test_a_mapping_in_place_of_a_text_is_one_override(key):
    (word,) = to_overrides({"data": {key: {"file": "a.csv"}}})
    assert word == f"data.{key}={{file: a.csv}}"
    assert CommandLine([word]).expanded().overrides[-1].removeprefix("+") == word


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Type data.crop=[1,2]", "needs quotes"),
        ("Leave it out: ~data.classes.x", "needs quotes"),
        ("Type data.crop=0", "refused by the schema"),
        ("Type 'data.ignore=[0.5]'", "a whole number"),
        ("Type data.crops=32", "there is no such key"),
        ("Type gamma=2", "there is no such key"),
        ("Choose a smaller data.sizes", "is no key"),
        ("Type loss=dicey", "there is no such option"),
        ("Type 'data.classes={\"a\": 1}'", "Hydra does not read it"),
        ("Type checkpoint=runs/…", "no placeholder"),
        ("Type python -m segexp.trian data=demo", "no command"),
        ("Type pip install segexp[export]", "needs quotes"),
        ("Type pip install 'segexp[exports]'", "no such extra"),
        ("Type export SEGEXP_MAX_PIXEL=9", "no variable"),
        ("Type data.root='it's'", "not what a shell takes"),
        ("Type 'data.crop=[1,2]' or data.crop=null, or data.classes.x=VALUE with '~data.classes.y'", ""),
        ("Type pip install 'segexp[export]', or output=DIR/NAME.onnx", ""),
    ],
)
def test_what_would_be_refused_is_seen(text, reason):
    found = problems(text)
    assert bool(found) is bool(reason)
    assert reason in "".join(found)
