"""python -m segexp.compare: see `segexp.cli.compare`. Never imported, so that `segexp.compare` remains the function."""

import sys

from segexp.cli.compare import main

if __name__ == "__main__":
    sys.exit(main())
