"""python -m segexp.export: see `segexp.cli.export`. Nobody imports this file, so that `segexp.export` is the function."""

import sys

from segexp.cli.export import main

if __name__ == "__main__":
    sys.exit(main())
