"""python -m segexp.explain: see `segexp.cli.explain`. Never imported, so that `segexp.explain` remains the function."""

import sys

from segexp.cli.explain import main

if __name__ == "__main__":
    sys.exit(main())
