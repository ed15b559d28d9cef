"""Folder names of studies and jobs."""

import re

import pytest

from segexp.config.naming import LONGEST, job_name, network_name, slug, study_name


@pytest.mark.parametrize("text", ["unet", "0.001", "1e-05", "bf16-mixed", "a.b", "x_y"])
def test_plain_values_name_themselves(text):
    assert slug(text) == text


@pytest.mark.parametrize("text", ["a/b", "a b", "[256,256]", "k=v", "ä", "", "..", "../up", "'q'"])
def test_other_values_become_safe_and_stay_apart(text):
    name = slug(text)
    assert re.fullmatch(r"[A-Za-z0-9.+_-]+", name)
    assert not name.startswith(".")
    assert name != slug(text.replace("/", "_").replace(" ", "_") + "x")
    assert name == slug(text)


def test_values_that_look_alike_have_different_names():
    assert len({slug(t) for t in ("a/b", "a b", "a_b", "a=b", "a,b")}) == 5


def test_a_job_is_named_by_what_is_swept():
    overrides = ["data=liver", "model=unet", "seed=1", "+trainer.extra=3", "study=x"]
    assert job_name(overrides, ["data"]) == "model-unet_seed-1_trainer.extra-3"
    assert job_name(overrides, ["data", "model", "seed", "trainer.extra"]) == "job"


def test_group_keys_with_slashes_and_packages_are_safe():
    assert job_name(["model@net/a=unet"]) == "model_net_a-unet"


def test_long_names_are_cut_and_stay_apart():
    one, two = (job_name([f"data.root={'x' * 300}{end}"]) for end in "ab")
    assert one != two
    assert max(len(one), len(two)) <= LONGEST + 20


def test_a_study_is_named_by_its_keys_and_its_command():
    name = study_name(["model", "optimizer.lr"], ["model=a,b", "optimizer.lr=1,2"])
    assert re.fullmatch(r"model_lr-[0-9a-f]{8}", name)
    assert name == study_name(["model", "optimizer.lr"], ["optimizer.lr=1,2", "model=a,b"])
    assert name != study_name(["model", "optimizer.lr"], ["model=a,b", "optimizer.lr=1,3"])
    assert study_name([], []).startswith("study-")


def test_the_runs_of_a_class_of_ones_own_have_its_name():
    assert network_name("unet", ["seed=1", "model.width=3"]) == "unet"
    assert network_name("unet", ["model._target_=my_nets.sub.Tiny", "model.width=3"]) == "Tiny"
    assert network_name("unet", ["++model._target_=a.First", "model._target_=b.Second"]) == "Second"
