"""Which proxy stands between this machine and a host: HTTP_PROXY, HTTPS_PROXY and NO_PROXY in either case.

ALL_PROXY is not looked at, as in Ollama; what is on this machine never goes through a proxy.
"""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Mapping

from server.settings.address import is_loopback
from server.settings.environment import process_environ


def proxy_for(scheme: str, host: str, port: int, environ: Mapping[str, str] | None = None) -> str:
    """The proxy's URL, "" where the host is reached directly."""
    environ = process_environ() if environ is None else environ
    proxy = _variable(environ, f"{scheme}_proxy")
    if not proxy or is_loopback(host) or _is_excepted(host.lower(), port, _variable(environ, "no_proxy")):
        return ""
    return proxy if "://" in proxy else f"http://{proxy}"


def _variable(environ: Mapping[str, str], name: str) -> str:
    return (environ.get(name.upper()) or environ.get(name) or "").strip()


def _is_excepted(host: str, port: int, no_proxy: str) -> bool:
    entries = [entry.strip().lower() for entry in no_proxy.split(",")]
    return any(_matches(host, port, entry) for entry in entries if entry)


def _matches(host: str, port: int, entry: str) -> bool:
    """`*`, a network, an address, a domain with what is below it, or with a leading dot only what is below it; all but
    the first two may name a port."""
    if entry == "*":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
    name, colon, wanted_port = entry.rpartition(":")
    if colon and wanted_port.isdecimal():
        if int(wanted_port) != port:
            return False
        entry = name
    entry = entry.removeprefix("*")
    if entry.startswith("."):
        return host.endswith(entry)
    return host == entry.strip("[]") or host.endswith(f".{entry}")
