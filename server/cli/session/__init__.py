"""The interactive session of `puna run`."""

from server.cli.session.loop import run_session

__all__ = ["run_session"]
