"""`python -m olmkit` is the `olm` command."""

import sys

from olmkit.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
