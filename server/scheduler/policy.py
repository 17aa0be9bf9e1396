"""Loading, waiting, making room and giving up: an event in, commands out. No clock, no I/O, no tasks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from server.errors import PunaError, RunnerStartFailed, ServerBusy, ServerStopping
from server.scheduler import events
from server.scheduler.events import Candidate, Command, Event, Grant, Order, Refuse, Start, Stop, WakeAt
from server.scheduler.room import Room
from server.scheduler.state import Limits, Phase, Slot, Waiting


class Policy:
    """All decisions about models in memory.

    Every request is answered exactly once, by a Grant, a Refuse or its own Withdrawn. A granted one must send
    Released. Every Start must be answered by Started or Failed, and every Stop by Exited or Failed; Exited may also
    come unasked. There is at most one slot per key.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.slots: dict[str, Slot] = {}
        self.waiting: dict[int, Waiting] = {}  # in order of arrival
        self.capacity: dict[str, int] = {}  # what our runners may take together; a pool that is missing has no limit
        self.is_closing = False
        self._last_runner = 0
        self._wake_at: float | None = None
        self._commands: list[Command] = []
        self._now = 0.0
        self._handlers: dict[type, Callable[[Any], None]] = {
            events.Requested: self._requested,
            events.Withdrawn: self._withdrawn,
            events.Released: self._released,
            events.Progressed: self._progressed,
            events.Started: self._started,
            events.Failed: self._failed,
            events.Exited: self._exited,
            events.Lost: self._lost,
            events.UnloadRequested: self._unload_requested,
            events.KeepRequested: self._keep_requested,
            events.Measured: self._measured,
            events.Tick: self._ticked,
            events.Closing: self._closing,
        }

    def __repr__(self) -> str:
        loading = sum(slot.phase is Phase.LOADING for slot in self.slots.values())
        runners = len(self.slots)
        return f"{runners} runner{'' if runners == 1 else 's'}, {loading} loading, {len(self.waiting)} waiting"

    def decide(self, event: Event, now: float) -> list[Command]:
        """What to do about `event`. `now` is in seconds of any clock that does not go back."""
        self._commands, self._now = [], now
        self._handlers[type(event)](event)
        self._grant_open()
        self._give_up_loads()
        self._stop_expired()
        if not self.is_closing:
            self._walk()
        self._set_wake()
        return self._commands

    def can_grant(self, order: Order) -> bool:
        """Whether a request would be served at once, by a runner that is there."""
        slot = self.slots.get(order.key)
        return slot is not None and slot.is_open and slot.serves(order.setup)

    def slot_of(self, runner: int) -> Slot | None:
        return next((slot for slot in self.slots.values() if slot.runner == runner), None)

    # ---- events ----------------------------------------------------------------------------------------------------

    def _requested(self, event: events.Requested) -> None:
        if self.is_closing:
            self._refuse(event.ticket, ServerStopping())
        elif self._is_full and not self.can_grant(event.order):
            self._refuse(event.ticket, ServerBusy())
        else:
            self.waiting[event.ticket] = Waiting(event.ticket, event.order, event.keep_alive_seconds)

    @property
    def _is_full(self) -> bool:
        """The limit counts who waits behind others: each load in progress has one request in hand, and so has the
        scheduler itself, which is why a limit of zero still lets one request load."""
        in_hand = sum(slot.phase is Phase.LOADING for slot in self.slots.values())
        return len(self.waiting) - max(1, in_hand) >= self.limits.max_queue

    def _withdrawn(self, event: events.Withdrawn) -> None:
        self.waiting.pop(event.ticket, None)

    def _released(self, event: events.Released) -> None:
        for slot in self.slots.values():
            if event.ticket in slot.leases:
                slot.leases.remove(event.ticket)
                slot.idle_since = self._now
                return

    def _progressed(self, event: events.Progressed) -> None:
        slot = self.slot_of(event.runner)
        if slot is not None and slot.phase is Phase.LOADING:
            slot.stalls_at = self._stall_time()

    def _started(self, event: events.Started) -> None:
        slot = self.slot_of(event.runner)
        if slot is None or slot.phase is not Phase.LOADING:
            return  # told to stop in the meantime; Exited follows
        slot.phase, slot.stalls_at, slot.idle_since = Phase.READY, math.inf, self._now
        if event.need is not None:
            slot.need = event.need

    def _failed(self, event: events.Failed) -> None:
        slot = self.slot_of(event.runner)
        if slot is None:
            return
        del self.slots[slot.key]
        if slot.phase is not Phase.LOADING:
            return
        hopeful = self._waiting_for(slot)
        if event.out_of_memory and slot.order.projector_on_cpu is not None:
            for waiting in hopeful:  # a try of its own, beside the one below
                waiting.order = waiting.order.projector_on_cpu or waiting.order
            return
        retry = event.out_of_memory and (slot.order.fallback or self.slots)
        if retry and not any(waiting.retried for waiting in hopeful):
            for waiting in hopeful:
                waiting.retried = waiting.is_alone = True
                waiting.order = _smaller(waiting.order)
        else:
            self._refuse_all(hopeful, event.error)

    def _exited(self, event: events.Exited) -> None:
        slot = self.slot_of(event.runner)
        if slot is None:
            return
        del self.slots[slot.key]
        if slot.phase is Phase.LOADING:
            self._refuse_all(self._waiting_for(slot), RunnerStartFailed())
        if event.out_of_memory and slot.phase is Phase.READY:
            for other in self.slots.values():  # so that the next request starts on a clean machine
                other.keep_alive_seconds = 0.0

    def _lost(self, event: events.Lost) -> None:
        slot = self.slot_of(event.runner)
        if slot is not None:
            slot.phase, slot.is_draining = Phase.STOPPING, False  # nobody gets it any more; it needs no Stop

    def _unload_requested(self, event: events.UnloadRequested) -> None:
        self._keep_requested(events.KeepRequested(event.key, 0.0))

    def _keep_requested(self, event: events.KeepRequested) -> None:
        slot = self.slots.get(event.key)
        if slot is not None:
            slot.keep_alive_seconds, slot.idle_since = event.seconds, self._now

    def _measured(self, event: events.Measured) -> None:
        """A runner that is ready has what it needs, and what is free comes on top. One that loads or stops has any
        part of it, so its pools are judged another time."""
        taken = dict.fromkeys(event.total, 0)
        unsettled: set[str] = set()
        for slot in self.slots.values():
            if slot.phase is not Phase.READY:
                unsettled.update(slot.need)
            for pool, size in slot.need.items():
                taken[pool] = taken.get(pool, 0) + size
        for pool, total in event.total.items():
            if pool not in unsettled or pool not in self.capacity:
                self.capacity[pool] = min(total, event.free[pool] + taken[pool]) if pool in event.free else total

    def _ticked(self, event: events.Tick) -> None:
        self._wake_at = None  # the alarm is spent, even where it came a little early

    def _closing(self, event: events.Closing) -> None:
        self.is_closing = True
        self._refuse_all(list(self.waiting.values()), ServerStopping())
        for slot in self.slots.values():
            slot.is_draining, slot.keep_alive_seconds = True, 0.0

    # ---- what follows from any event -------------------------------------------------------------------------------

    def _grant_open(self) -> None:
        """Whoever waits for a runner that is ready and not draining gets it, wherever they stand in the queue."""
        for waiting in list(self.waiting.values()):
            if self.can_grant(waiting.order):
                self._grant(waiting, self.slots[waiting.order.key])

    def _give_up_loads(self) -> None:
        """Stop loads that have gone silent, and those that nobody waits for any more."""
        for slot in [slot for slot in self.slots.values() if slot.phase is Phase.LOADING]:
            if slot.stalls_at <= self._now:
                self._refuse_all(self._waiting_for(slot), _timed_out(self.limits.load_timeout_seconds))
            if not self._waiting_for(slot):
                self._stop(slot)

    def _stop_expired(self) -> None:
        for slot in list(self.slots.values()):
            if slot.is_idle and slot.expires_at <= self._now:
                self._stop(slot)

    def _walk(self) -> None:
        """Go through the queue in order. For each request, the first that applies:

        1. its runner is ready, agrees with it and nobody before it needs the room: grant;
        2. its runner is loading or stopping: wait;
        3. its runner is ready but loaded differently: drain it, and stop it once it is idle;
        4. one of its candidates fits into what is free, beyond what those before it claim: start;
        5. make room: stop idle runners, drain busy ones, no more than it takes; claim what becomes free.
        """
        room = Room(self.capacity, self.limits.max_loaded_models, self.slots.values(), self.limits.fill)
        leaving: set[str] = set()
        for waiting in list(self.waiting.values()):
            slot = self.slots.get(waiting.order.key)
            if slot is None:
                self._seat(waiting, room, leaving)
            elif slot.phase is Phase.READY and slot.key not in leaving:
                if slot.serves(waiting.order.setup):
                    self._grant(waiting, slot)
                else:
                    self._ask_to_leave(slot, room, leaving)
        for slot in self.slots.values():
            slot.is_draining = slot.key in leaving

    def _seat(self, waiting: Waiting, room: Room, leaving: set[str]) -> None:
        candidates = waiting.order.candidates
        possible = [candidate for candidate in candidates if room.fits_empty(candidate.need)]
        if waiting.is_alone or not possible:
            self._seat_alone(waiting, room, leaving)
            return
        for candidate in possible:
            if room.fits_now(candidate.need):
                self._start(waiting, candidate)
                room.take(candidate.need)
                return
        candidate, victims = self._cheapest(possible, room, leaving)
        for slot in victims:
            self._ask_to_leave(slot, room, leaving)
        room.take(candidate.need)

    def _seat_alone(self, waiting: Waiting, room: Room, leaving: set[str]) -> None:
        """A model too large for the machine is still tried, with everything else gone; the engine knows best."""
        if not self.slots and not room.is_blocked:
            fitting = [candidate for candidate in waiting.order.candidates if room.fits_empty(candidate.need)]
            self._start(waiting, fitting[0] if fitting else waiting.order.candidates[-1])
        for slot in self._movable(leaving):
            self._ask_to_leave(slot, room, leaving)
        room.block()

    def _cheapest(self, candidates: list[Candidate], room: Room, leaving: set[str]) -> tuple[Candidate, list[Slot]]:
        """The candidate that disturbs least, with the runners that must leave for it. No runners where the room is on
        its way, or where it cannot be made yet because others load or come first."""
        offers: list[tuple[Candidate, list[Slot]]] = []
        for candidate in candidates:
            if room.fits_soon(candidate.need):
                return candidate, []
            victims = room.victims(candidate.need, self._movable(leaving))
            if victims is not None:
                offers.append((candidate, victims))
        if not offers:
            return candidates[0], []
        return min(offers, key=lambda offer: (sum(not slot.is_idle for slot in offer[1]), len(offer[1])))

    def _movable(self, leaving: set[str]) -> list[Slot]:
        return [slot for slot in self.slots.values() if slot.phase is Phase.READY and slot.key not in leaving]

    def _ask_to_leave(self, slot: Slot, room: Room, leaving: set[str]) -> None:
        room.leave(slot)
        if slot.is_idle:
            self._stop(slot)
        else:
            leaving.add(slot.key)

    # ---- commands --------------------------------------------------------------------------------------------------

    def _grant(self, waiting: Waiting, slot: Slot) -> None:
        del self.waiting[waiting.ticket]
        slot.leases.add(waiting.ticket)
        if waiting.keep_alive_seconds is not None:
            slot.keep_alive_seconds = waiting.keep_alive_seconds
        self._commands.append(Grant(waiting.ticket, slot.runner))

    def _refuse(self, ticket: int, error: PunaError) -> None:
        self.waiting.pop(ticket, None)
        self._commands.append(Refuse(ticket, error))

    def _refuse_all(self, waiting: list[Waiting], error: PunaError) -> None:
        for one in waiting:
            self._refuse(one.ticket, error)

    def _start(self, waiting: Waiting, candidate: Candidate) -> None:
        self._last_runner += 1
        slot = Slot(self._last_runner, waiting.order, candidate.need, self.limits.keep_alive_seconds)
        slot.stalls_at = self._stall_time()
        self.slots[slot.key] = slot
        self._commands.append(Start(slot.runner, waiting.order, candidate))

    def _stop(self, slot: Slot) -> None:
        slot.phase, slot.is_draining = Phase.STOPPING, False
        self._commands.append(Stop(slot.runner))

    def _set_wake(self) -> None:
        staying = [slot for slot in self.slots.values() if slot.phase is not Phase.STOPPING]
        times = [min(slot.expires_at, slot.stalls_at) for slot in staying]
        at = min(times, default=math.inf)
        wake_at = at if math.isfinite(at) else None
        if wake_at != self._wake_at:
            self._wake_at = wake_at
            self._commands.append(WakeAt(wake_at))

    # ---- small questions -------------------------------------------------------------------------------------------

    def _waiting_for(self, slot: Slot) -> list[Waiting]:
        """The requests that a loading runner will serve."""
        return [
            waiting
            for waiting in self.waiting.values()
            if waiting.order.key == slot.key and slot.serves(waiting.order.setup)
        ]

    def _stall_time(self) -> float:
        timeout = self.limits.load_timeout_seconds
        return self._now + timeout if timeout > 0 else math.inf


def _smaller(order: Order) -> Order:
    """The same order in its smaller way, where it has one."""
    return replace(order, candidates=order.fallback, fallback=()) if order.fallback else order


def _timed_out(seconds: float) -> RunnerStartFailed:
    return RunnerStartFailed(
        f"timed out waiting for the model to load: its runner gave no sign of life for {seconds:g} seconds; "
        "try again, or raise OLLAMA_LOAD_TIMEOUT where the disk is slow"
    )
