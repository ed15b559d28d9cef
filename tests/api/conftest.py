"""Runs to predict with, networks to explain, and the command that predicts."""

from fixtures.explainability import known, learned, segmenter  # noqa: F401
from fixtures.prediction import make_trained_run, predict, ramp, run, save  # noqa: F401
