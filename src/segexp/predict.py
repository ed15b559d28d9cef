"""python -m segexp.predict: see `segexp.cli.predict`. Never imported, so that `segexp.predict` remains the function."""

import sys

from segexp.cli.predict import main

if __name__ == "__main__":
    sys.exit(main())
