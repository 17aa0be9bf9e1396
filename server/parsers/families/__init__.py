"""The parsers of model families: one row each."""

from __future__ import annotations

from server.parsers.families.opening import Opening
from server.parsers.families.table import FAMILIES, Family

__all__ = ["FAMILIES", "Family", "Opening"]
