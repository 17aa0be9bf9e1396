"""What the scheduler is given, and what it gives out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from anyio.abc import TaskGroup

from server.hardware.devices import Device, Reading
from server.messages.frames import LaunchPlan, Loaded
from server.scheduler.placement import PlacementSettings

if TYPE_CHECKING:
    from server.runner import Runner


class StartRunner(Protocol):
    """Starts a process and returns once it has loaded the plan.

    It calls `on_progress` with a fraction at every sign of life. When it fails or is cancelled it leaves no process
    behind; where it can say why, it raises a PunaError. Tasks that serve the runner live in `task_group`.
    """

    def __call__(
        self, plan: LaunchPlan, *, task_group: TaskGroup, on_progress: Callable[[float], None]
    ) -> Awaitable[Runner]: ...


class Hardware(Protocol):
    async def devices(self) -> tuple[Device, ...]: ...
    async def measure(self) -> Reading: ...
    async def process_memory(self, pid: int) -> Mapping[str, int]: ...
    def close(self) -> None: ...


class SchedulerSettings(PlacementSettings, Protocol):
    """The part of the settings that the scheduler goes by."""

    @property
    def keep_alive_seconds(self) -> float: ...
    @property
    def load_timeout_seconds(self) -> float: ...
    @property
    def max_loaded_models(self) -> int: ...
    @property
    def max_queue(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Lease:
    """A runner that stays loaded until the lease is given back."""

    runner: Runner
    plan: LaunchPlan
    loaded: Loaded
