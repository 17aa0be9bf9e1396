"""The arithmetic of making room: what is free, what will be, and whom to ask to leave."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from server.scheduler.events import Amounts
from server.scheduler.state import Phase, Slot


class Room:
    """A budget for one walk over the queue.

    `now` counts every process that exists, because memory is free only when a process has exited. `soon` leaves out
    those that are on their way out. A request that must wait claims its share of both, so that nobody behind it takes
    what it waits for.
    """

    def __init__(self, capacity: Amounts, seats: int, slots: Iterable[Slot], fill: float) -> None:
        self._capacity = capacity
        self._fill = fill
        self._now = dict(capacity)
        self._soon = dict(capacity)
        self._seats_now = self._seats_soon = self._seats = seats
        self.is_blocked = False
        for slot in slots:
            self._seats_now -= 1
            _subtract(self._now, slot.need)
            if slot.phase is not Phase.STOPPING:
                self._seats_soon -= 1
                _subtract(self._soon, slot.need)

    def fits_now(self, need: Amounts) -> bool:
        return not self.is_blocked and self._seats_now > 0 and self._fits(need, self._now)

    def fits_soon(self, need: Amounts) -> bool:
        return not self.is_blocked and self._seats_soon > 0 and self._fits(need, self._soon)

    def fits_empty(self, need: Amounts) -> bool:
        """Whether it fits when nothing else is loaded."""
        return self._seats > 0 and self._fits(need, self._capacity)

    def take(self, need: Amounts) -> None:
        """Count a process that starts, or the claim of a request that waits for room."""
        self._seats_now -= 1
        self._seats_soon -= 1
        _subtract(self._now, need)
        _subtract(self._soon, need)

    def leave(self, slot: Slot) -> None:
        """Count a process that is on its way out from now on."""
        self._seats_soon += 1
        _add(self._soon, slot.need)

    def block(self) -> None:
        """Let nobody else start: somebody waits for the whole machine."""
        self.is_blocked = True

    def victims(self, need: Amounts, slots: Iterable[Slot]) -> list[Slot] | None:
        """The fewest and least wanted of `slots` that must leave for `need`; None where all of them are not enough."""
        if self.is_blocked:
            return None
        chosen: list[Slot] = []
        for slot in sorted(slots, key=reluctance):
            if self._fits_without(need, chosen):
                break
            chosen.append(slot)
        if not self._fits_without(need, chosen):
            return None
        for slot in reversed(chosen.copy()):  # the most wanted first: spare whoever is not needed after all
            rest = [other for other in chosen if other is not slot]
            if self._fits_without(need, rest):
                chosen = rest
        return chosen

    def _fits_without(self, need: Amounts, leaving: list[Slot]) -> bool:
        free = dict(self._soon)
        for slot in leaving:
            _add(free, slot.need)
        return self._seats_soon + len(leaving) > 0 and self._fits(need, free)

    def _fits(self, need: Amounts, free: Mapping[str, float]) -> bool:
        return all(size <= self._fill * free.get(pool, math.inf) for pool, size in need.items() if size > 0)


def reluctance(slot: Slot) -> tuple[bool, bool, bool, float, float, str]:
    """Sorts runners by how little is lost when they leave.

    Idle before busy; pinned last of each; a busy one that is draining already before others, so that the choice does
    not swing and every drain comes to its end; then by expiry, which for equal keep-alives is the least recently used
    and otherwise respects that somebody asked for longer.
    """
    return (
        not slot.is_idle,
        slot.is_pinned,
        not slot.is_draining,
        slot.expires_at,
        slot.keep_alive_seconds,
        slot.key,
    )


def _subtract(free: dict[str, int], need: Amounts) -> None:
    for pool, size in need.items():
        if pool in free:
            free[pool] -= size


def _add(free: dict[str, int], need: Amounts) -> None:
    for pool, size in need.items():
        if pool in free:
            free[pool] += size
