"""python -m segexp.report: see `segexp.cli.report`. Never imported, so that `segexp.report` remains the function."""

import sys

from segexp.cli.report import main

if __name__ == "__main__":
    sys.exit(main())
