"""When a failed request is tried again, and when that has been done often enough."""

from __future__ import annotations

import msgspec

from server.errors import PunaError
from server.net.transport import NetworkFailure
from server.registry.session import Refused

# A busy or failing registry, or one that is being restarted; 408 and 425 say that trying again is meant.
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 522, 524})
MOST_RETRY_AFTER_SECONDS = 300.0


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """`attempts` in a row without a single byte are the end. The pauses between them grow from `first_seconds`, each
    twice the one before."""

    attempts: int = 6
    first_seconds: float = 1.0
    silence_seconds: float = 30.0

    def pause_seconds(self, failures: int, error: PunaError) -> float:
        """After so many failures in a row, of which `error` is the last."""
        asked = error.retry_after_seconds if isinstance(error, Refused) else 0.0
        own = self.first_seconds * float(2 ** max(0, failures - 1))
        return max(own, min(asked, MOST_RETRY_AFTER_SECONDS))


def may_pass(error: PunaError) -> bool:
    """Whether the same request may succeed later."""
    return isinstance(error, NetworkFailure) or (isinstance(error, Refused) and error.code in _PASSING)
