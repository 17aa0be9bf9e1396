"""When and with which numbers a runner says how it is. The time is passed in."""

from __future__ import annotations

from server.messages.frames import Pulse

SHORTEST_SECONDS = 0.25


class PulseRate:
    """At most four a second while something happens, and one at once when the runner becomes idle."""

    def __init__(self, now: float) -> None:
        self._since = now
        self._read = 0
        self._generated = 0
        self._total = 0
        self._steps = 0
        self._last: Pulse | None = None

    def count(self, read: int, generated: int) -> None:
        """One step evaluated so many prompt tokens and sampled so many new ones."""
        self._read += read
        self._generated += generated
        self._total += generated
        self._steps += 1

    def is_due(self, now: float) -> bool:
        """Whether streams that run may be reported again."""
        return now - self._since >= SHORTEST_SECONDS

    def next(self, now: float, active: int, waiting: int, used: int) -> Pulse | None:
        """The pulse to send; None when nothing changed, or when it is too soon for one that is not the last."""
        is_idle = active == 0 and waiting == 0
        if not is_idle and not self.is_due(now):
            return None
        seconds = now - self._since
        seconds = max(seconds, 1e-3)
        pulse = Pulse(
            active=active,
            waiting=waiting,
            used_tokens=used,
            prompt_tokens_per_second=0.0 if is_idle else round(self._read / seconds, 1),
            tokens_per_second=0.0 if is_idle else round(self._generated / seconds, 1),
            generated_tokens=self._total,
            steps=self._steps,
        )
        self._since, self._read, self._generated = now, 0, 0
        if pulse == self._last:
            return None
        self._last = pulse
        return pulse
