"""The server's side of a runner: start the process, talk to it in frames, and say clearly how it ended."""

from server.runner.runner import Runner

__all__ = ["Runner"]
