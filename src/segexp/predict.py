"""python -m segexp.predict: see `segexp.cli.predict`. Nobody imports this file, so that `segexp.predict` is the function."""

import sys

from segexp.cli.predict import main

if __name__ == "__main__":
    sys.exit(main())
