from pathlib import Path

import numpy as np
import pytest

from fixtures.configs import data_config
from segexp.data.autoconfig import DEMO, FACTS, complete_keys
from segexp.data.io.images import write_png
from segexp.data.layout.pairing import find_data_cases
from segexp.data.statistics import make_reader
from segexp.data.synthetic import datasets
from segexp.errors import ConfigError, DataError

OPEN = {"image": None, "mask": None, "groups": None, "classes": None, "ignore": [], "threshold": None, "channels": None}


@pytest.fixture
def few(monkeypatch):
    """Six small pictures in place of the usual number."""
    true = datasets.make_demo
    monkeypatch.setattr(datasets, "make_demo", lambda root, family: true(root, family, count=6, size=64))


def test_a_layout_that_is_given_stays_and_nothing_is_looked_at():
    assert complete_keys(data_config(OPEN, root="/nowhere", image="{id}.png")) == ({}, "")


def test_every_family_has_its_layout():
    assert set(DEMO) == set(datasets.FAMILIES)
    assert all(set(layout) <= set(FACTS) for layout in DEMO.values())


@pytest.mark.parametrize("family", datasets.FAMILIES)
def test_a_family_is_generated_and_described_so_that_it_can_be_read(tmp_path, few, family):
    data = data_config(OPEN, root=str(tmp_path), family=family)
    found, sentence = complete_keys(data)
    assert Path(found["root"]).parent == tmp_path
    assert sentence == f"Generated pictures ({family}) in {found['root']}"
    full = data.changed(**found)
    cases = find_data_cases(full)
    assert len(cases) == 6
    for case in cases:
        picture = make_reader(full)(case)
        assert picture.image.shape[2] == found["channels"]
        assert set(np.unique(picture.mask)) <= {0, 1}
    assert {case.split for case in cases} == ({"train", "val"} if family == "organ" else {None})
    assert len({case.group for case in cases}) == (2 if family == "organ" else 1)


def test_what_the_user_says_of_a_family_wins(tmp_path, few):
    found, _ = complete_keys(data_config(OPEN, root=str(tmp_path), family="organ", classes={"rest": 0, "liver": 255}))
    assert found["classes"] == {"rest": 0, "liver": 255}
    assert found["image"] == DEMO["organ"]["image"]


def test_an_open_layout_is_recognised_and_the_reason_told(tmp_path):
    root = datasets.make_demo(tmp_path, "organ", count=6, size=64)
    found, sentence = complete_keys(data_config(OPEN, root=str(root)))
    assert {key: found[key] for key in ("image", "mask", "channels")} == {
        "image": "{split}/{id}.png",
        "mask": "{split}/{id}_mask.png",
        "channels": 1,
    }
    assert sentence.startswith(f"Layout of {root}: ")
    assert len(sentence) > 60
    assert len(find_data_cases(data_config({**OPEN, **found}, root=str(root)))) == 6


def test_what_the_user_says_of_a_recognised_folder_wins(tmp_path):
    root = datasets.make_demo(tmp_path, "organ", count=6, size=64)
    found, _ = complete_keys(data_config(OPEN, root=str(root), channels=3, classes={"air": 0, "liver": 255}))
    assert (found["channels"], found["classes"]) == (3, {"air": 0, "liver": 255})


def test_a_folder_that_is_missing_is_named(tmp_path):
    with pytest.raises(DataError) as caught:
        complete_keys(data_config(OPEN, root=str(tmp_path / "nowhere")))
    assert str(tmp_path / "nowhere") in str(caught.value)


def test_data_auto_takes_typed_patterns_and_finds_out_the_rest(tmp_path):
    root = datasets.make_demo(tmp_path, "organ", count=6, size=64)
    patterns = {"image": "{split}/{id}.png", "mask": "{split}/{id}_mask.png"}
    found, sentence = complete_keys(data_config({**OPEN, **patterns}, name="auto", root=str(root)))
    assert found["classes"] == {"background": 0, "foreground": 255}
    assert (found["channels"], found["image"]) == (1, patterns["image"])
    assert sentence.startswith(f"Layout of {root}: as configured. image={{split}}/{{id}}.png mask={{split}}/{{id}}_mask.png. ")
    typed = {"classes": {"air": 0, "organ": 255}, "channels": 3}
    assert complete_keys(data_config({**OPEN, **patterns, **typed}, name="auto", root=str(root))) == ({}, "")
    with pytest.raises(ConfigError, match=r"without data\.mask\..*Type data\.mask too, or leave data\.image out"):
        complete_keys(data_config(OPEN, name="auto", root=str(root), image=patterns["image"]))


def test_classes_that_are_typed_are_not_inferred(tmp_path):
    for n in range(3):
        for folder in ("images", "masks"):
            write_png(tmp_path / folder / f"{n}.png", np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) + 1000 * n)
    with pytest.raises(DataError, match="different values"):
        complete_keys(data_config(OPEN, root=str(tmp_path)))
    found, _ = complete_keys(data_config(OPEN, root=str(tmp_path), classes={"low": 0, "high": 4095}, threshold=2000))
    assert (found["classes"], found["threshold"]) == ({"low": 0, "high": 4095}, 2000)
