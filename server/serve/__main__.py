"""`python -m server.serve`: start the server, say where it is, and say so too when one runs already."""

from __future__ import annotations

import sys

from server import client
from server.errors import InvalidSetting
from server.serve.foreground import run_foreground
from server.serve.welcome import welcome
from server.settings import client_url, load


def main() -> int:
    """Returns the exit status."""
    try:
        settings = load()
    except InvalidSetting as error:
        sys.stderr.write(f"Error: {error}\n")
        return 1
    if client.identify(settings.host, settings.port).kind == "puna":
        sys.stdout.write(f"Puna runs already.\n{welcome(client_url(settings))}")
        return 0
    return run_foreground(settings, announce=welcome, with_starter=True)


if __name__ == "__main__":
    sys.exit(main())
