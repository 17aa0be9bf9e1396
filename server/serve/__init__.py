"""The composition root: builds every object once, wires them, and runs the HTTP server."""

from server.serve.background import BackgroundServer, State
from server.serve.foreground import run_foreground
from server.serve.listener import PortTaken

__all__ = ["BackgroundServer", "PortTaken", "State", "run_foreground"]
