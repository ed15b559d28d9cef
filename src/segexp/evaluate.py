"""python -m segexp.evaluate: see `segexp.cli.evaluate`. Never imported, so that `segexp.evaluate` remains the function."""

import sys

from segexp.cli.evaluate import main

if __name__ == "__main__":
    sys.exit(main())
