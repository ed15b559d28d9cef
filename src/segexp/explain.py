"""python -m segexp.explain: see `segexp.cli.explain`. Nobody imports this file, so that `segexp.explain` is the function."""

import sys

from segexp.cli.explain import main

if __name__ == "__main__":
    sys.exit(main())
