"""`python -m server.convert`: convert one model, told by a line on standard input."""

from __future__ import annotations

import sys

from server.convert.process import main

if __name__ == "__main__":
    sys.exit(main())
