"""What an experiment says about the network, and which networks it is left out for; the commands are in test_experiments."""

import pytest
from omegaconf import OmegaConf

from segexp.config.experiment import fit_to_network


@pytest.fixture
def folder(tmp_path):
    """A folder of groups with one experiment, which says three things about the network."""
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("model: {width: 8, stride: 4, padding: 1}\ntrainer: {minutes: 2}\n")
    return tmp_path


def composed(target="torch.nn.MaxPool2d", **said):
    return OmegaConf.create(
        {"model": {"_target_": target, "kernel_size": 2, **(said or {"width": 8, "stride": 4, "padding": 1})}}
    )


def test_what_the_network_has_stays_and_the_rest_goes(folder):
    config = composed()
    said = fit_to_network(config, {"model", "experiment"}, "mine", [folder])
    assert said == "experiment=mine says model.width=8 to its own network; the one chosen here has no such setting."
    assert config.model == {"_target_": "torch.nn.MaxPool2d", "kernel_size": 2, "stride": 4, "padding": 1}


@pytest.mark.parametrize(
    ("typed", "experiment"),
    [({"experiment"}, "mine"), ({"model"}, None), ({"model", "experiment"}, "other"), ({"model", "model.width"}, "mine")],
    ids=["the network was not typed", "no experiment", "no such file", "the key was typed"],
)
def test_nothing_is_left_out(folder, typed, experiment):
    config = composed()
    before = config.copy()
    assert fit_to_network(config, typed, experiment, [folder]) == ""
    assert config == before


def test_a_key_that_the_experiment_did_not_say_stays_for_the_validation(folder):
    config = composed(widht=3, width=8)
    fit_to_network(config, {"model"}, "mine", [folder])
    assert "widht" in config.model
    assert "width" not in config.model


def test_a_class_that_takes_any_keyword_gets_what_it_names(folder):
    config = composed("torch.nn.Identity")
    fit_to_network(config, {"model"}, "mine", [folder])
    assert set(config.model) == {"_target_", "kernel_size"}


def test_a_target_that_is_not_there_is_left_to_the_validation(folder):
    config = composed("no.such.Net")
    assert fit_to_network(config, {"model"}, "mine", [folder]) == ""
    assert "width" in config.model


def test_the_first_folder_that_has_the_experiment_counts(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    (other / "experiment").mkdir()
    (other / "experiment" / "mine.yaml").write_text("seed: 1\n")
    assert fit_to_network(composed(), {"model"}, "mine", [other, folder]) == ""
    assert "width" in fit_to_network(composed(), {"model"}, "mine", [folder, other])
