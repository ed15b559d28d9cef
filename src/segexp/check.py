"""python -m segexp.check: see `segexp.cli.check`. Nobody imports this file, so that `segexp.check` is the function."""

import sys

from segexp.cli.check import main

if __name__ == "__main__":
    sys.exit(main())
