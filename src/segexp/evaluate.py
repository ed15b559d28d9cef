"""python -m segexp.evaluate: see `segexp.cli.evaluate`. Nobody imports this file, so that `segexp.evaluate` is the function."""

import sys

from segexp.cli.evaluate import main

if __name__ == "__main__":
    sys.exit(main())
