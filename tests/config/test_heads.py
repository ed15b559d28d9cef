"""`deep_supervision`: for whom, and what contradicts it."""

import pytest

from segexp.config import conf_dir, scales
from segexp.config.heads import head_problems, with_heads


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
