"""Runs that are compared, and runs to predict with."""

from fixtures.comparison import made, study  # noqa: F401
from fixtures.prediction import make_trained_run, predict, ramp, run, save  # noqa: F401
