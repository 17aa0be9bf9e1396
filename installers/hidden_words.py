"""Runs before the program (a runtime hook of PyInstaller): a runner or the converter starts without what follows, which
prepares Qt and the command line."""

import sys

from server.programs import run_hidden

if (status := run_hidden(sys.argv[1:])) is not None:
    sys.exit(status)
