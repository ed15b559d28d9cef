"""python -m segexp.train: see `segexp.cli.train`. Never imported, so that `segexp.train` remains the function."""

import sys

from segexp.cli.train import main

if __name__ == "__main__":
    sys.exit(main())
