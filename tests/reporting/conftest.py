"""Runs and studies with everything that a report shows, and a browser."""

from fixtures.comparison import made, study  # noqa: F401
from fixtures.reporting import browser, full_run, full_study, open_page  # noqa: F401
