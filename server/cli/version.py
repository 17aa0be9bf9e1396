"""`puna --version`: never starts a server, and loads no more than it needs."""

from __future__ import annotations

import sys

from server.client import Client, Identity, identify
from server.errors import PunaError
from server.settings import Settings, client_url, load
from server.version import VERSION


def show_version() -> int:
    found = _server(load())
    if found.kind == "none":
        _line("Warning: could not connect to a running Puna instance")
        _line(f"Warning: client version is {VERSION}")
        return 0
    if found.kind == "other":
        _line("Warning: what answers at the server's address is no Puna instance")
    else:
        _line(f"{found.kind} version is {found.puna or found.version}")
    if found.puna != VERSION:
        _line(f"Warning: client version is {VERSION}")
    return 0


def _server(settings: Settings) -> Identity:
    if settings.scheme == "http" and not settings.url_path.strip("/"):
        return identify(settings.host, settings.port)
    try:
        with Client(client_url(settings)) as client:
            answer = client.version()
    except PunaError:
        return Identity("none")
    puna, version = str(answer.get("puna", "")), str(answer.get("version", ""))
    return Identity("puna" if puna else "ollama" if version else "other", version, puna)


def _line(text: str) -> None:
    sys.stdout.write(text + "\n")
