"""A configuration and its data, for what is found by training."""

from fixtures.tuner import config, data  # noqa: F401
