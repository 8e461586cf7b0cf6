"""`python -m clover` is `clover`."""

import sys

from clover.cli import main

if __name__ == "__main__":
    sys.exit(main())
