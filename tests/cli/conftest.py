"""Runs and studies with everything that a report shows."""

from fixtures.reporting import full_run, full_study  # noqa: F401
