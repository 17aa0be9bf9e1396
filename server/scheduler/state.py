"""What the policy remembers: the models in memory and the requests that wait."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum

from server.scheduler.events import Amounts, Order
from server.scheduler.reuse import Setup, can_reuse


@dataclass(frozen=True, slots=True)
class Limits:
    """`load_timeout_seconds` is the longest silence of a loading runner; zero or less is no limit. `fill` is the part
    of a pool's free memory that an estimate may take, because estimates are estimates."""

    max_loaded_models: int = 3
    max_queue: int = 512
    keep_alive_seconds: float = 300.0
    load_timeout_seconds: float = 300.0
    fill: float = 0.8


class Phase(Enum):
    LOADING = "loading"
    READY = "ready"
    STOPPING = "stopping"


@dataclass(slots=True)
class Slot:
    """One runner process, from the command to start it until it has exited."""

    runner: int
    order: Order
    need: Amounts
    keep_alive_seconds: float
    phase: Phase = Phase.LOADING
    leases: set[int] = field(default_factory=set)
    is_draining: bool = False  # gets no new leases, because a request that came earlier needs it gone
    idle_since: float = 0.0  # means something only while there are no leases
    stalls_at: float = math.inf  # not infinite only while loading

    @property
    def key(self) -> str:
        return self.order.key

    @property
    def is_idle(self) -> bool:
        return self.phase is Phase.READY and not self.leases

    @property
    def is_open(self) -> bool:
        return self.phase is Phase.READY and not self.is_draining

    @property
    def is_pinned(self) -> bool:
        return self.keep_alive_seconds < 0

    @property
    def expires_at(self) -> float:
        """When an idle runner is stopped; infinite for never, and while it is busy or loading."""
        if not self.is_idle or self.is_pinned:
            return math.inf
        return self.idle_since + self.keep_alive_seconds

    def serves(self, setup: Setup) -> bool:
        return can_reuse(self.order.setup, setup)


@dataclass(slots=True)
class Waiting:
    """A request that is not answered yet. `is_alone`: its model is to be loaded when nothing else is."""

    ticket: int
    order: Order
    keep_alive_seconds: float | None
    is_alone: bool = False
    retried: bool = False
