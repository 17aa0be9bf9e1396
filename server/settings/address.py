"""The server's address: `[scheme://]host[:port][/path]`.

The server listens on host and port; clients use scheme and path too, which serve a reverse proxy in front of it.
"""

from __future__ import annotations

import ipaddress
import re

import msgspec

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 11434
_SCHEME_PORTS = {"http": 80, "https": 443}
_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252})")
_BRACKETED = re.compile(r"\[([^\]]*)\](?::(.*))?")


class Address(msgspec.Struct, frozen=True):
    """`host` "" listens on all interfaces; an IPv6 address has no brackets. `path` is "" or begins with a slash."""

    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    scheme: str = "http"
    path: str = ""

    @property
    def listening(self) -> str:
        """`host:port` as logs and the tray show it."""
        return f"{_bracketed(self.host)}:{self.port}"

    @property
    def url(self) -> str:
        """Where clients reach it; an address that means "every interface" becomes loopback. No trailing slash."""
        return f"{self.scheme}://{_bracketed(reachable_host(self.host))}:{self.port}{self.path.rstrip('/')}"


def parse_address(text: str) -> Address:
    """Raises ValueError for what is no address."""
    if text == "ollama.com":
        return Address("ollama.com", 443, "https")
    scheme, separator, rest = text.partition("://")
    if separator:
        if scheme not in _SCHEME_PORTS:
            raise ValueError(f"unknown scheme {scheme}")
        default_port = _SCHEME_PORTS[scheme]
    else:
        scheme, rest, default_port = "http", text, DEFAULT_PORT
    authority, slash, path = rest.partition("/")
    host, port = _split(authority)
    return Address(host, default_port if port is None else _port(port), scheme, slash + path)


def _split(authority: str) -> tuple[str, str | None]:
    if not authority:
        return DEFAULT_HOST, None
    if bracketed := _BRACKETED.fullmatch(authority):
        return _ipv6(bracketed[1]), bracketed[2]
    if authority.count(":") > 1:
        return _ipv6(authority), None
    host, colon, port = authority.partition(":")
    if host and not _HOST_NAME.fullmatch(host):
        raise ValueError(f"{host} is not a host name")
    return host, port if colon else None


def _ipv6(text: str) -> str:
    return str(ipaddress.IPv6Address(text)) if text else ""


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) > 65535:
        raise ValueError(f"{text} is not a port")
    return int(text)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def reachable_host(host: str) -> str:
    """The host for a client on this machine."""
    return {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


def is_loopback(host: str) -> bool:
    """Whether a name or address reaches this machine only. "" (every interface) does not."""
    name = host.strip("[]").lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
