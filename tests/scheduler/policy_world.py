"""A policy, and around it everything it must be able to rely on; checks its promises after every event."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from server.errors import PunaError
from server.scheduler import events
from server.scheduler.events import Event, Grant, Order, Refuse, Start, Stop, WakeAt
from server.scheduler.policy import Policy
from server.scheduler.state import Limits, Phase
from tests.scheduler.scheduler_fakes import order


@dataclass
class World:
    limits: Limits = field(default_factory=lambda: Limits(fill=1.0))
    memory: Mapping[str, int] = field(default_factory=lambda: {"cpu": 100})
    now: float = 0.0

    def __post_init__(self) -> None:
        self.policy = Policy(self.limits)
        self.tickets = 0
        self.waiting: dict[int, Order] = {}
        self.leases: dict[int, int] = {}  # ticket to runner
        self.loading: dict[int, Start] = {}
        self.ready: dict[int, Start] = {}
        self.stopping: dict[int, Start] = {}
        self.answers: dict[int, str] = {}
        self.errors: dict[int, PunaError] = {}
        self.wake_at: float | None = None
        self.is_closing = False
        self.said: list[str] = []
        self.post(events.Measured(dict(self.memory), dict(self.memory)))

    # ---- stimuli ---------------------------------------------------------------------------------------------------

    def post(self, event: Event) -> list[str]:
        """What the policy said to it, in words."""
        self.said = []
        for command in self.policy.decide(event, self.now):
            self._perform(command)
        self._check()
        return self.said

    def request(self, wanted: Order | str, need: int = 10, keep_alive: float | None = None, **setup: object) -> int:
        self.tickets += 1
        wanted = order(wanted, need, **setup) if isinstance(wanted, str) else wanted
        self.waiting[self.tickets] = wanted
        self.post(events.Requested(self.tickets, wanted, keep_alive))
        return self.tickets

    def withdraw(self, ticket: int) -> list[str]:
        del self.waiting[ticket]
        return self.post(events.Withdrawn(ticket))

    def release(self, ticket: int) -> list[str]:
        del self.leases[ticket]
        return self.post(events.Released(ticket))

    def started(self, key: str) -> list[str]:
        runner = self.runner(key, self.loading)
        self.ready[runner] = self.loading.pop(runner)
        return self.post(events.Started(runner))

    def failed(self, key: str, error: PunaError, out_of_memory: bool = False) -> list[str]:
        runner = self.runner(key, self.loading)
        del self.loading[runner]
        return self.post(events.Failed(runner, error, out_of_memory))

    def exited(self, key: str) -> list[str]:
        runner = self.runner(key, self.stopping)
        del self.stopping[runner]
        return self.post(events.Exited(runner))

    def crashed(self, key: str, out_of_memory: bool = False) -> list[str]:
        runner = self.runner(key, self.ready)
        del self.ready[runner]
        return self.post(events.Exited(runner, out_of_memory))

    def pass_time(self, seconds: float) -> list[str]:
        self.now += seconds
        return self.post(events.Tick())

    def close(self) -> list[str]:
        self.is_closing = True
        return self.post(events.Closing())

    def load(self, key: str, need: int = 10, keep_alive: float | None = None, **setup: object) -> int:
        """A model that is ready and leased; the ticket of the lease."""
        ticket = self.request(key, need, keep_alive, **setup)
        self.started(key)
        assert ticket in self.leases
        return ticket

    def load_idle(self, key: str, need: int = 10, keep_alive: float | None = None) -> None:
        self.release(self.load(key, need, keep_alive))

    def finish_everything(self) -> None:
        """No more arrivals: let every load, answer and exit come to its end."""
        for _ in range(10_000):
            if self.loading:
                self.started(next(iter(self.loading.values())).order.key)
            elif self.stopping:
                self.exited(next(iter(self.stopping.values())).order.key)
            elif self.leases:
                self.release(next(iter(self.leases)))
            else:
                return
        raise AssertionError("this never comes to rest")

    # ---- what it knows ---------------------------------------------------------------------------------------------

    @staticmethod
    def runner(key: str, among: dict[int, Start]) -> int:
        return next(runner for runner, start in among.items() if start.order.key == key)

    @property
    def state(self) -> str:
        return repr(self.policy)

    def _perform(self, command: events.Command) -> None:
        match command:
            case Grant(ticket, runner):
                self._answer(ticket, "granted")
                assert runner in self.ready, "granted a runner that is not ready"
                assert self.ready[runner].order.key == self._order_of[ticket].key
                self.leases[ticket] = runner
                self.said.append(f"grant {self.ready[runner].order.key}")
            case Refuse(ticket, error):
                self._answer(ticket, "refused")
                self.errors[ticket] = error
                self.said.append("refuse")
            case Start(runner):
                keys = [start.order.key for start in self._processes.values()]
                assert command.order.key not in keys, "two processes for one model"
                self._check_memory(command)
                self.loading[runner] = command
                self.said.append(f"start {command.order.key}")
            case Stop(runner):
                start = self.ready.pop(runner, None) or self.loading.pop(runner)
                assert runner not in self.leases.values(), "stopped a leased runner"
                self.stopping[runner] = start
                self.said.append(f"stop {start.order.key}")
            case WakeAt(at):
                self.wake_at = at

    def _answer(self, ticket: int, answer: str) -> None:
        assert ticket not in self.answers, "answered twice"
        self.answers[ticket] = answer
        self._order_of[ticket] = self.waiting.pop(ticket)

    @property
    def _order_of(self) -> dict[int, Order]:
        return self.__dict__.setdefault("_orders", {})

    @property
    def _processes(self) -> dict[int, Start]:
        return self.loading | self.ready | self.stopping

    def _check_memory(self, start: Start) -> None:
        if not self._processes:
            return  # alone on the machine, anything may be tried
        for pool, size in self.memory.items():
            if not start.candidate.need.get(pool):
                continue
            need = sum(other.candidate.need.get(pool, 0) for other in [*self._processes.values(), start])
            assert need <= size, "promised more memory than there is"

    def _check(self) -> None:
        assert len(self._processes) <= self.limits.max_loaded_models
        assert set(self.policy.waiting) == set(self.waiting)
        assert {slot.runner for slot in self.policy.slots.values()} == set(self._processes)
        leased = {ticket for slot in self.policy.slots.values() for ticket in slot.leases}
        alive = {ticket for ticket, runner in self.leases.items() if runner in self._processes}
        assert leased == alive
        in_hand = max(1, len(self.loading))
        assert len(self.waiting) <= self.limits.max_queue + in_hand + self.limits.max_loaded_models
        for slot in self.policy.slots.values():
            assert not (slot.is_idle and slot.is_draining), "an idle runner that drains should have been stopped"
            assert slot.phase is not Phase.STOPPING or not slot.leases
        if self.waiting and not self.is_closing:
            assert self._processes, "requests wait and nothing happens"
