"""Where conf/ is, what is composed of it, and plain values."""

import shutil
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from segexp.config import composition
from segexp.config.composition import conf_dir, register_resolvers, scales, to_plain
from segexp.errors import ConfigError


def test_conf_is_found_in_the_repository(conf):
    assert conf_dir() == conf


def test_conf_inside_the_package_comes_first_and_a_missing_one_is_an_error(tmp_path, monkeypatch, conf):
    package = tmp_path / "site" / "segexp"
    package.mkdir(parents=True)
    monkeypatch.setattr(composition, "__file__", str(package / "config" / "composition.py"))
    with pytest.raises(ConfigError, match=r"looked for conf/train\.yaml in .*site"):
        conf_dir()
    shutil.copytree(conf, package / "conf")
    assert conf_dir() == package / "conf"


def test_plain_resolves_everything():
    composed = OmegaConf.create(
        {
            "data": {"classes": {"a": 0, "b": 1, "c": 2}, "none": None, "n": "${segexp.count:${data.classes}}"},
            "unknown": "${segexp.count:${data.none}}",
            "list": [1, {"x": "${data.n}"}],
            "first": "${segexp.first:${data.none},here}",
        }
    )
    values = to_plain(composed)
    assert values["data"]["n"] == 3
    assert values["unknown"] is None
    assert values["list"] == [1, {"x": 3}]
    assert values["first"] == "here"
    assert type(values["data"]) is dict
    assert type(values["list"]) is list


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        ({"data": {"root": "???"}}, "data.root has no value. It has no default. Type data.root=VALUE."),
        ({"a": "${data.root}", "data": {"root": "???"}}, "data.root has no value."),
        ({"a": "${data.nothing}", "data": {}}, "a cannot be resolved: Interpolation key 'data.nothing' not found"),
    ],
)
def test_what_cannot_be_resolved_names_the_key(node, expected):
    with pytest.raises(ConfigError) as caught:
        to_plain(OmegaConf.create(node))
    assert expected in str(caught.value)


def test_resolvers_may_be_registered_again():
    register_resolvers()
    register_resolvers()
    assert OmegaConf.create({"a": "${segexp.slug:x/y}"}).a.startswith("x_y-")
    assert Path(OmegaConf.create({"o": ["seed=1"], "f": [], "a": "${segexp.job_name:${o},${f}}"}).a).name == "seed-1"


@pytest.mark.parametrize(("weights", "heads"), [(None, False), (False, False), (True, True), ([1, 0.5], True)])
def test_what_the_networks_are_told(weights, heads):
    assert scales(weights) is heads
