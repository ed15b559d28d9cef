"""python -m segexp.export: see `segexp.cli.export`. Never imported, so that `segexp.export` remains the function."""

import sys

from segexp.cli.export import main

if __name__ == "__main__":
    sys.exit(main())
