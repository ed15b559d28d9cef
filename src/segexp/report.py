"""python -m segexp.report: see `segexp.cli.report`. Nobody imports this file, so that `segexp.report` is the function."""

import sys

from segexp.cli.report import main

if __name__ == "__main__":
    sys.exit(main())
