"""A generated data set, and a copy of it to spoil."""

from fixtures.checks import copy, generated  # noqa: F401
