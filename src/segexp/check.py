"""python -m segexp.check: see `segexp.cli.check`. Never imported, so that `segexp.check` remains the function."""

import sys

from segexp.cli.check import main

if __name__ == "__main__":
    sys.exit(main())
