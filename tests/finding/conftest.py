"""A composed configuration on the small slices, and its data, set up."""

import pytest
from hydra import compose, initialize_config_dir

from segexp import build
from segexp.config import plain, register_resolvers, validate


@pytest.fixture(scope="session")
def config(conf, small):
    def made(*more):
        register_resolvers()
        with initialize_config_dir(str(conf), version_base="1.3"):
            values = plain(compose("train", overrides=[*small, *more]))
        validate(values)
        return values

    return made


@pytest.fixture(scope="session")
def data(config):
    def made(values):
        data = build.datamodule(values)
        data.setup()
        return data

    return made
