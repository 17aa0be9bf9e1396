"""Files of this machine that travel by their name instead of by their bytes."""

from __future__ import annotations

BEGINNING_BYTES = 1024 * 1024  # whose digest shows that one can read a file
