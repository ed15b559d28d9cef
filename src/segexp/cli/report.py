"""python -m segexp.report RUN_OR_STUDY …: write report.html again from what lies in these folders."""

import sys
from collections.abc import Sequence
from pathlib import Path

from segexp.errors import SegexpError

HELP = """
Write the page of a run or of a study again, from what lies in its folder; the data set is not needed.

  python -m segexp.report RUN_OR_STUDY [...]

Of a study the pages of its finished runs are written as well.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or {"--help", "-h"} & set(words):
        sys.stdout.write(f"{HELP.strip()}\n")
        return 0 if words else 2
    from segexp.reporting.regenerate import write_reports

    try:
        for word in words:
            for path in write_reports(Path(word)):
                sys.stdout.write(f"{path}\n")
    except SegexpError as error:
        sys.stderr.write(f"segexp: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
