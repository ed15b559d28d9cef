"""python -m segexp: see `segexp.cli.main`."""

import sys

from segexp.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
