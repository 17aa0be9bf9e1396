"""Responses that can be continued by their id: in memory, for a while, under a bound."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from server.api.responses import encode

MAX_RESPONSES = 256
MAX_BYTES = 64 << 20
KEPT_SECONDS = 3600.0


@dataclass(frozen=True)
class Stored:
    """`input` are all items up to the answer, those of earlier responses included; `response` is the answer."""

    input: list[Any]
    response: dict[str, Any]

    @property
    def conversation(self) -> list[Any]:
        return [*self.input, *self.response["output"]]


class StoredResponses:
    """The newest responses as JSON. Those that were not asked for longest go first, old ones in any case."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        *,
        max_responses: int = MAX_RESPONSES,
        max_bytes: int = MAX_BYTES,
        kept_seconds: float = KEPT_SECONDS,
    ) -> None:
        self._clock = clock
        self._max_responses = max_responses
        self._max_bytes = max_bytes
        self._kept_seconds = kept_seconds
        self._kept: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        self._bytes = 0

    def __repr__(self) -> str:
        return f"<{len(self._kept)} responses, {self._bytes} bytes>"

    def keep(self, stored: Stored) -> None:
        body = encode([stored.input, stored.response])
        self.forget(stored.response["id"])
        if len(body) > self._max_bytes:
            return
        self._kept[stored.response["id"]] = (self._clock(), body)
        self._bytes += len(body)
        while len(self._kept) > self._max_responses or self._bytes > self._max_bytes:
            self.forget(next(iter(self._kept)))

    def get(self, identifier: str) -> Stored | None:
        self._drop_old()
        found = self._kept.get(identifier)
        if found is None:
            return None
        self._kept[identifier] = (self._clock(), found[1])
        self._kept.move_to_end(identifier)
        items, response = msgspec.json.decode(found[1])
        return Stored(items, response)

    def forget(self, identifier: str) -> bool:
        """Whether there was one of this id."""
        found = self._kept.pop(identifier, None)
        self._bytes -= len(found[1]) if found else 0
        return found is not None

    def _drop_old(self) -> None:
        limit = self._clock() - self._kept_seconds
        while self._kept:
            identifier, (kept_at, _) = next(iter(self._kept.items()))
            if kept_at >= limit:
                return
            self.forget(identifier)
