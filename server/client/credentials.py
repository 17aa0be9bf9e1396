"""What lets our own programs into a server that wants keys.

On this machine it is the token that a server of the same user has left in a file, for this run of it. That token goes
to the very address that the file names, and nowhere else: a name such as localhost may lead to several addresses, and
on one of them another user's program may listen. Everywhere else it is the key in OLLAMA_API_KEY.
"""

from __future__ import annotations

import ipaddress
import os
import sys
from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec

from server.messages.local_server import LocalServer, file_name
from server.settings import is_loopback, own_key, paths
from server.settings.address import Address
from server.settings.private import read_private

_EVERY_ADDRESS = {4: "0.0.0.0", 6: "::"}
_LOOPBACKS = ("127.0.0.1", "::1")


class Door(msgspec.Struct, frozen=True):
    """Where a request goes, without a trailing slash, and the headers that let it in."""

    url: str
    headers: Mapping[str, str]


def door(base_url: str) -> Door:
    """Looked up for each request: a server may have been started since the last one."""
    parts = urlsplit(base_url)
    if parts.scheme == "http" and not parts.path.strip("/"):
        found = local_door(parts.hostname or "", parts.port or 80)
        if found:
            return found
    key = own_key()
    # What no header can carry is no key of anybody's; the server says that it is wrong.
    return Door(base_url, _bearing(key) if key.isascii() and key.isprintable() and key else {})


def local_door(host: str, port: int) -> Door | None:
    """None where no server of this user listens there."""
    names = _LOOPBACKS if is_loopback(host) and not _is_address(host) else (host,)
    for name in names:
        if not _is_address(name):
            continue
        version = ipaddress.ip_address(name).version
        for bound in (name, _EVERY_ADDRESS[version]):
            server = _read(bound, port)
            if server and _is_ours(name) and _lives(server.pid):
                return Door(Address(name, port).url, _bearing(server.token))
    return None


def _bearing(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _read(host: str, port: int) -> LocalServer | None:
    try:
        server = msgspec.json.decode(read_private(paths.servers_dir() / file_name(host, port)), type=LocalServer)
    except (OSError, msgspec.MsgspecError):
        return None
    return server if (server.host, server.port) == (host, port) else None


def _is_ours(host: str) -> bool:
    """An address that this machine had when the server started may be another machine's now."""
    if is_loopback(host):
        return True
    import psutil

    return any(
        entry.address.partition("%")[0] == host for entries in psutil.net_if_addrs().values() for entry in entries
    )


def _lives(pid: int) -> bool:
    """What a killed server has left would only stand in the way of the key."""
    if sys.platform == "win32":
        import psutil

        return psutil.pid_exists(pid)
    try:
        os.kill(pid, 0)
    except OSError as error:
        return isinstance(error, PermissionError)
    return True
