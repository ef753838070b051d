"""`python -m lossbook` is the command `lossbook`."""

import sys

from lossbook.cli import main

if __name__ == "__main__":
    sys.exit(main())
