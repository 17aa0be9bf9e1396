"""How fast and how parallel downloads are: changed at any time, felt at once."""

from __future__ import annotations

import time
from collections.abc import Callable

import anyio

from server.settings import setting_named


class Signal:
    """Wakes everyone who waits at that moment."""

    def __init__(self) -> None:
        self._event = anyio.Event()

    def notify(self) -> None:
        self._event.set()
        self._event = anyio.Event()

    async def wait(self) -> None:
        await self._event.wait()


class Limits:
    """`parts` of a file are downloaded at the same time; `bytes_per_second` is what all downloads together take at
    most, 0 for no limit."""

    def __init__(self, parts: int = 8, bytes_per_second: int = 0) -> None:
        self.parts = parts
        self.bytes_per_second = bytes_per_second
        self._listeners: list[Callable[[], None]] = []
        self._changed = Signal()
        self._free_at = 0.0

    def __repr__(self) -> str:
        speed = f"{self.bytes_per_second} bytes/s" if self.bytes_per_second else "no limit"
        return f"<{self.parts} parts, {speed}>"

    def change(self, *, parts: int | None = None, bytes_per_second: int | None = None) -> None:
        """None leaves a limit as it is. Raises InvalidSetting for a number that the setting does not allow either."""
        if parts is not None:
            parts = setting_named("download_parts").read(str(parts), "as asked for")
        if bytes_per_second is not None:
            bytes_per_second = setting_named("download_speed_bytes").read(str(bytes_per_second), "as asked for")
        self.parts = self.parts if parts is None else parts
        self.bytes_per_second = self.bytes_per_second if bytes_per_second is None else bytes_per_second
        self._free_at = 0.0
        self._changed.notify()
        for listener in self._listeners:
            listener()

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` after each change; the result ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    async def take(self, count: int) -> None:
        """Wait until `count` more bytes are within the speed. Who waits longer than a change of it starts over."""
        while self.bytes_per_second:
            now = time.monotonic()
            begin = max(now, self._free_at)
            self._free_at = begin + count / self.bytes_per_second
            with anyio.move_on_after(self._free_at - now):
                await self._changed.wait()
                continue
            return
