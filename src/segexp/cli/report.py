"""segexp report RUN_OR_STUDY …: regenerate report.html."""

import sys
from collections.abc import Sequence

from segexp.cli.hydra_app import asks_for_help, make_main
from segexp.errors import ConfigError

HELP = """
Regenerate report.html of a run or study from its folder; the data set is not needed.

  python -m segexp.report RUN_OR_STUDY [...]

For a study, the reports of its finished runs are regenerated as well.
"""


def command(argv: Sequence[str]) -> int:
    """Run the command line; return the exit code."""
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


main = make_main(command)
