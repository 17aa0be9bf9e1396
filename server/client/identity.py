"""Who listens on a port of this machine. Light: the command line asks before it loads an HTTP client."""

from __future__ import annotations

import json
from typing import Any, Literal

import msgspec

from server.settings import reachable_host
from server.version import USER_AGENT

Kind = Literal["puna", "ollama", "other", "none"]
ANSWER_SECONDS = 2.0
BODY_BYTES = 4096
_PUNA = USER_AGENT.partition("/")[0] + "/"


class Owner(msgspec.Struct, frozen=True):
    """The process behind a listening socket, as far as the system tells; `pid` None where it does not."""

    pid: int | None = None
    name: str = ""


class Identity(msgspec.Struct, frozen=True):
    """`kind` "none": nothing listens; "other": something does, but neither Puna nor Ollama. `version` is that of the
    API, `puna` our own."""

    kind: Kind
    version: str = ""
    puna: str = ""
    owner: Owner = Owner()


def identify(host: str, port: int, *, with_owner: bool = False, seconds: float = ANSWER_SECONDS) -> Identity:
    """Ask who is there. Never raises for what it finds."""
    try:
        answer, server = _get(host, port, "/api/version", seconds)
    except ConnectionRefusedError:
        return Identity("none")
    except OSError:
        return Identity("other", owner=owner_of(port) if with_owner else Owner())
    owner = owner_of(port) if with_owner else Owner()
    version = _text(answer, "version")
    if puna := _text(answer, "puna"):
        return Identity("puna", version, puna, owner)
    if not answer and server.startswith(_PUNA):
        # It wants a key that we have not got; its name stands in every answer.
        return Identity("puna", puna=server.removeprefix(_PUNA).partition(" ")[0], owner=owner)
    if version and _says_ollama(host, port, seconds):
        return Identity("ollama", version, owner=owner)
    return Identity("other", owner=owner)


def owner_of(port: int) -> Owner:
    """The process that listens on a TCP port; systems hide those of other users."""
    import psutil

    try:
        for connection in psutil.net_connections(kind="tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port:
                return Owner(connection.pid, psutil.Process(connection.pid).name()) if connection.pid else Owner()
    except (psutil.Error, OSError):
        pass
    return Owner()


def _get(host: str, port: int, path: str, seconds: float) -> tuple[bytes, str]:
    """The beginning of a 200 answer's body, b"" for another answer; and the server's name. Raises OSError where there
    is no HTTP."""
    import http.client

    connection = http.client.HTTPConnection(reachable_host(host), port, timeout=seconds)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        response = connection.getresponse()
        body = response.read(BODY_BYTES) if response.status == 200 else b""
        return body, response.getheader("Server", "")
    except http.client.HTTPException as error:
        raise OSError(str(error)) from error
    finally:
        connection.close()


def _text(body: bytes, key: str) -> str:
    try:
        answer: Any = json.loads(body)
    except ValueError:
        return ""
    value = answer.get(key) if isinstance(answer, dict) else None
    return value if isinstance(value, str) else ""


def _says_ollama(host: str, port: int, seconds: float) -> bool:
    try:
        return b"Ollama is running" in _get(host, port, "/", seconds)[0]
    except OSError:
        return False
