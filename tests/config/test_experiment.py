"""What an experiment says about the network, and which networks it is taken back for; the commands are in test_experiments."""

import pytest
from omegaconf import OmegaConf

from segexp.config.experiment import fit_to_network

CHOICES = {"experiment": "mine", "model": "pool"}


@pytest.fixture
def folder(tmp_path):
    """A folder of groups with an experiment and the file of another network than its own."""
    for name, text in {
        "experiment/mine": "model: {width: 8, stride: 4}\ntrainer: {minutes: 2}\n",
        "experiment/fitting": "model: {stride: 4}\n",
        "model/pool": "_target_: torch.nn.MaxPool2d\nkernel_size: 2\nstride: ${seed}\n",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.yaml").write_text(text)
    return tmp_path


def composed(target="torch.nn.MaxPool2d", **said):
    return OmegaConf.create({"seed": 7, "model": {"_target_": target, "kernel_size": 2, **(said or {"width": 8, "stride": 4})}})


def test_a_network_that_has_not_all_of_it_keeps_what_its_file_says(folder):
    config = composed()
    said = fit_to_network(config, {"model", "experiment"}, CHOICES, [folder])
    assert said == (
        "experiment=mine says model.stride=4, model.width=8 to its own network; this one has other settings and keeps them."
    )
    assert config.model == {"_target_": "torch.nn.MaxPool2d", "kernel_size": 2, "stride": 7}


def test_a_network_that_has_all_of_it_gets_it(folder):
    config = composed(stride=4)
    assert fit_to_network(config, {"model"}, CHOICES | {"experiment": "fitting"}, [folder]) == ""
    assert config.model.stride == 4


@pytest.mark.parametrize(
    ("typed", "choices"),
    [({"experiment"}, {}), ({"model"}, {"experiment": None}), ({"model", "experiment"}, {"experiment": "other"})],
    ids=["the network was not typed", "no experiment", "no such file"],
)
def test_nothing_is_taken_back(folder, typed, choices):
    config = composed()
    before = config.copy()
    assert fit_to_network(config, typed, CHOICES | choices, [folder]) == ""
    assert config == before


def test_what_was_typed_stays(folder):
    config = composed()
    assert fit_to_network(config, {"model", "model.width"}, CHOICES, [folder]) == ""
    assert config.model.width == 8
    config = composed(width=8, stride=5)
    assert "model.width=8 to" in fit_to_network(config, {"model", "model.stride"}, CHOICES, [folder])
    assert config.model == {"_target_": "torch.nn.MaxPool2d", "kernel_size": 2, "stride": 5}


def test_a_key_that_the_experiment_did_not_say_stays_for_the_validation(folder):
    config = composed(widht=3, width=8)
    fit_to_network(config, {"model"}, CHOICES, [folder])
    assert "widht" in config.model
    assert "width" not in config.model


def test_a_class_that_takes_any_keyword_gets_what_it_names(folder):
    config = composed("torch.nn.Identity")
    fit_to_network(config, {"model"}, CHOICES | {"model": "none"}, [folder])
    assert set(config.model) == {"_target_", "kernel_size"}


def test_a_target_that_is_not_there_is_left_to_the_validation(folder):
    config = composed("no.such.Net")
    assert fit_to_network(config, {"model"}, CHOICES, [folder]) == ""
    assert "width" in config.model


def test_the_first_folder_that_has_the_experiment_counts(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    (other / "experiment").mkdir()
    (other / "experiment" / "mine.yaml").write_text("seed: 1\n")
    assert fit_to_network(composed(), {"model"}, CHOICES, [other, folder]) == ""
    assert "width" in fit_to_network(composed(), {"model"}, CHOICES, [folder, other])
