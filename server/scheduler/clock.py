"""Time, as something that tests can hand over."""

from __future__ import annotations

import time
from typing import Protocol

import anyio


class Clock(Protocol):
    def now(self) -> float:
        """Seconds that never go back."""

    def unix(self) -> float:
        """Seconds since 1970, as the user's clock has them."""

    async def sleep_until(self, at: float) -> None:
        """Return when `now` has reached `at`, or a little before."""


class SystemClock:
    def now(self) -> float:
        return time.monotonic()

    def unix(self) -> float:
        return time.time()

    async def sleep_until(self, at: float) -> None:
        await anyio.sleep(max(0.0, at - self.now()))
