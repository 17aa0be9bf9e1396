"""Which model is in memory, for whom, and for how long: a pure policy and the shell that carries it out."""

from server.scheduler.ports import Lease
from server.scheduler.scheduler import Scheduler

__all__ = ["Lease", "Scheduler"]
