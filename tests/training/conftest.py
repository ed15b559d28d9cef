"""A configuration and its data, for what is found by training; a module that trains in no time."""

from fixtures.callbacks import toy  # noqa: F401
from fixtures.tuner import config, data  # noqa: F401
