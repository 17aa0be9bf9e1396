"""`puna serve`: the server in the foreground, until a signal ends it."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Callable

import anyio

from server import client
from server.errors import PunaError
from server.serve.core import Address, serve
from server.serve.listener import PortTaken
from server.serve.logs import log_to_stderr
from server.settings import Settings

log = logging.getLogger(__name__)


def run_foreground(
    settings: Settings, announce: Callable[[str], str] | None = None, *, with_starter: bool = False
) -> int:
    """Serve until SIGINT, SIGTERM or SIGHUP. Returns the exit status: 0 after a signal, 1 when the start failed.

    `announce`: from the server's address to a text that is printed when requests are answered. `with_starter` as in
    `serve`.
    """
    log_to_stderr(settings.log_level)
    try:
        anyio.run(_serve_until_signal, settings, announce, with_starter)
    except PortTaken as error:
        return _failed(_named(error))
    except PunaError as error:
        return _failed(error)
    except KeyboardInterrupt:  # a second Ctrl+C while stopping
        return 0
    return 0


def _failed(error: PunaError) -> int:
    """Say it once, unless the log knows more than the user is told."""
    if error.log != str(error):
        log.error("%s", error.log)
    sys.stderr.write(f"Error: {error}\n")
    return 1


def _named(error: PortTaken) -> PortTaken:
    """With the program that has the port, where it or the system tells."""
    found = client.identify(error.host, error.port, with_owner=True)
    kind = {"puna": "a running Puna server", "ollama": "Ollama"}.get(found.kind, found.owner.name or "another program")
    return PortTaken(error.host, error.port, f"{kind} (process {found.owner.pid})" if found.owner.pid else kind)


async def _serve_until_signal(settings: Settings, announce: Callable[[str], str] | None, with_starter: bool) -> None:
    stopping = anyio.Event()
    _on_signals(stopping.set)

    def ready(address: Address) -> None:
        if announce:
            sys.stdout.write(announce(address.url) + "\n")
            sys.stdout.flush()

    await serve(settings, stopping, ready, with_starter=with_starter)


def _on_signals(stop: Callable[[], None]) -> None:
    """Call `stop` on the event loop at the first signal to end."""
    loop = asyncio.get_running_loop()

    def heard(number: int) -> None:
        log.info("signal %s: stopping", signal.Signals(number).name)
        stop()

    if sys.platform == "win32":
        # The event loop of Windows has no signal handlers; Python's own runs between two of its steps.
        for number in (signal.SIGINT, signal.SIGBREAK):
            signal.signal(number, lambda got, _frame: loop.call_soon_threadsafe(heard, got))
    else:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # The terminal closes: an end like any other, unless nohup was asked to keep the server.
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                loop.add_signal_handler(number, heard, number)
