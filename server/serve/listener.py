"""The listening socket: opened before anything else, so that early clients wait in its backlog."""

from __future__ import annotations

import errno
import socket
import sys

from server.errors import PunaError

BACKLOG = 1024


class PortTaken(PunaError):
    """Another program listens on this address; `by` says which, as far as it is known."""

    def __init__(self, host: str, port: int, by: str = "another program") -> None:
        super().__init__(
            f"{address_text(host, port)} is already in use by {by}. Stop that program, use its server, "
            f"or choose another port with OLLAMA_HOST=127.0.0.1:PORT."
        )
        self.host = host
        self.port = port


def address_text(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host or '0.0.0.0'}:{port}"


def listen(host: str, port: int) -> socket.socket:
    """A listening TCP socket; an empty host is every interface. Raises PortTaken, or PunaError with the system's
    reason."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        # asyncio sends small writes at once only where a socket says that it is TCP; otherwise the second of two waits
        # 40 ms for the client to confirm the first.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            # On Windows this option would let two servers share a port; elsewhere it only skips the wait after a stop.
            if sys.platform != "win32":
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
            listener.listen(BACKLOG)
            listener.setblocking(False)
        except BaseException:
            listener.close()
            raise
    except OSError as error:
        if error.errno in (errno.EADDRINUSE, errno.EACCES) and (error.errno == errno.EADDRINUSE or port >= 1024):
            raise PortTaken(host, port) from error
        raise PunaError(
            f"Puna cannot listen on {address_text(host, port)}: {error.strerror or error}. "
            f"Choose an address of this machine and a free port with OLLAMA_HOST."
        ) from error
    return listener
