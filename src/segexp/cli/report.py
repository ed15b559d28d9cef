"""segexp report RUN_OR_STUDY …: write report.html again from what lies in these folders."""

import sys
from collections.abc import Sequence

from segexp.cli.hydra_app import asks_for_help, run_cli
from segexp.errors import ConfigError

HELP = """
Write the page of a run or of a study again, from what lies in its folder; the data set is not needed.

  python -m segexp.report RUN_OR_STUDY [...]

Of a study the pages of its finished runs are written as well.
"""


def command(argv: Sequence[str]) -> int:
    """Understand the command line and run it; return the exit code."""
    if asks_for_help(argv, HELP):
        return 0
    if not argv:
        raise ConfigError(
            "No folder is named", "The directory of a run or a study was expected", "Type python -m segexp.report RUN_OR_STUDY"
        )
    from segexp.api.report import report

    for word in argv:
        for path in report(word):
            sys.stdout.write(f"{path}\n")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the console script leaves with what this returns."""
    return run_cli(lambda: command(sys.argv[1:] if argv is None else argv))
