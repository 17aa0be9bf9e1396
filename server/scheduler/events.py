"""What the policy hears and what it answers. All of it is plain values.

A ticket stands for one request, a runner number for one process, a key for one weights file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from server.errors import PunaError
from server.messages.frames import LaunchPlan
from server.scheduler.parts import Footprint
from server.scheduler.reuse import Setup

Amounts = Mapping[str, int]  # bytes per pool; a pool is "cpu" or one GPU, such as "gpu0"


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to load a model, and the memory it takes."""

    plan: LaunchPlan
    need: Amounts
    footprint: Footprint | None = field(default=None, compare=False)  # how `need` came about


@dataclass(frozen=True, slots=True)
class Order:
    """What a request wants to be loaded.

    `candidates`: never empty, best first. `fallback`: smaller ways, tried once when a load runs out of memory.
    `projector_on_cpu`: the same with the projector on the processor, tried before the smaller ways; None where no GPU
    would have it. `notes`: sentences for the log, should the model be loaded.
    """

    key: str
    setup: Setup
    candidates: tuple[Candidate, ...]
    fallback: tuple[Candidate, ...] = ()
    projector_on_cpu: Order | None = None
    name: str = ""
    digest: str = ""
    notes: tuple[str, ...] = ()


# ---- events --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Requested:
    """A client waits for a model. `keep_alive_seconds`: None keeps what the runner has, negative is for ever."""

    ticket: int
    order: Order
    keep_alive_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """A client left before it was answered."""

    ticket: int


@dataclass(frozen=True, slots=True)
class Released:
    """A client that was granted a runner is done with it."""

    ticket: int


@dataclass(frozen=True, slots=True)
class Progressed:
    """A loading runner gave a sign of life."""

    runner: int


@dataclass(frozen=True, slots=True)
class Started:
    """A runner is ready. `need`: what it really took, where it said so."""

    runner: int
    need: Amounts | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """A runner did not come up; its process is gone."""

    runner: int
    error: PunaError
    out_of_memory: bool = False


@dataclass(frozen=True, slots=True)
class Exited:
    """A runner's process is gone and its memory is back, whether it was told to stop or not."""

    runner: int
    out_of_memory: bool = False


@dataclass(frozen=True, slots=True)
class Lost:
    """A client found a runner's process dead. Its memory may not be back yet; Exited follows."""

    runner: int


@dataclass(frozen=True, slots=True)
class UnloadRequested:
    """Somebody wants the model gone as soon as nobody uses it."""

    key: str


@dataclass(frozen=True, slots=True)
class KeepRequested:
    """Somebody gave the model another keep-alive; negative pins it."""

    key: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Measured:
    """What the machine has. A pool that is only in `total` cannot be read live: its total is all we may use."""

    free: Amounts
    total: Amounts


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


@dataclass(frozen=True, slots=True)
class Closing:
    """The server stops: nobody new is let in, who is being served may finish."""


Event = (
    Requested
    | Withdrawn
    | Released
    | Progressed
    | Started
    | Failed
    | Exited
    | Lost
    | UnloadRequested
    | KeepRequested
    | Measured
    | Tick
    | Closing
)


# ---- commands ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Grant:
    ticket: int
    runner: int


@dataclass(frozen=True, slots=True)
class Refuse:
    ticket: int
    error: PunaError = field(compare=False)


@dataclass(frozen=True, slots=True)
class Start:
    """Start a process with `candidate`; answer with Started or Failed."""

    runner: int
    order: Order
    candidate: Candidate


@dataclass(frozen=True, slots=True)
class Stop:
    """End a process, or give up its start; answer with Exited."""

    runner: int


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Send a Tick at this time; None needs none."""

    at: float | None


Command = Grant | Refuse | Start | Stop | WakeAt
