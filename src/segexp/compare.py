"""python -m segexp.compare: see `segexp.cli.compare`. Nobody imports this file, so that `segexp.compare` is the function."""

import sys

from segexp.cli.compare import main

if __name__ == "__main__":
    sys.exit(main())
