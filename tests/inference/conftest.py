"""Runs to predict with, and the command that predicts."""

from fixtures.prediction import make_trained_run, predict, ramp, run, save  # noqa: F401
