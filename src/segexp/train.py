"""python -m segexp.train: see `segexp.cli.train`. Nobody imports this file, so that `segexp.train` is the function."""

import sys

from segexp.cli.train import main

if __name__ == "__main__":
    sys.exit(main())
