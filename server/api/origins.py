"""Which web pages and which `Host` names may use the server. Pure: plain values in, a verdict out.

The rules are the reference's (Ollama 0.33): a browser sends `Origin` with every request of a foreign page, and `Host`
tells when a name of a stranger was made to point at this machine (DNS rebinding).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable
from typing import Literal

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_LOCAL_HOSTS = ("localhost", "127.0.0.1", "0.0.0.0")
_APP_SCHEMES = ("app", "file", "tauri", "vscode-webview", "vscode-file")
DEFAULT_ORIGINS = tuple(
    f"{scheme}://{host}{port}" for host in _LOCAL_HOSTS for port in ("", ":*") for scheme in ("http", "https")
) + tuple(f"{scheme}://*" for scheme in _APP_SCHEMES)

_NETWORK_ENTRY = re.compile(r"(?:([a-z][a-z0-9+.-]*)://)?\[?([0-9a-f.:]+)\]?/([0-9]{1,3})(?::([0-9*]+))?")
_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://(?:\[([0-9a-f:.]+)\]|([^:/]+))(?::([0-9]+))?")


class OriginRules:
    """The allow list: exact origins, patterns with one `*`, and networks such as `http://192.168.1.0/24`."""

    def __init__(self, configured: Iterable[str] = ()) -> None:
        entries = [entry.strip().lower() for entry in configured if entry.strip()]
        self.allows_all = "*" in entries
        self._exact: set[str] = set()
        self._patterns: list[tuple[str, str]] = []
        self._networks: list[tuple[str, Network, str]] = []
        for entry in (*entries, *DEFAULT_ORIGINS):
            self._add(entry)

    def _add(self, entry: str) -> None:
        network = _NETWORK_ENTRY.fullmatch(entry)
        if network:
            scheme, address, bits, port = network.groups()
            parsed = ipaddress.ip_network(f"{address}/{bits}", strict=False)
            self._networks.append((scheme or "", parsed, "" if port in (None, "*") else port))
        elif "*" in entry:
            head, _, tail = entry.partition("*")
            self._patterns.append((head, tail))
        else:
            self._exact.add(entry)

    def allows(self, origin: str) -> bool:
        origin = origin.lower()
        if self.allows_all or origin in self._exact:
            return True
        for head, tail in self._patterns:
            if len(origin) >= len(head) + len(tail) and origin.startswith(head) and origin.endswith(tail):
                return True
        return bool(self._networks) and self._in_network(origin)

    def _in_network(self, origin: str) -> bool:
        """A page served by a machine of a listed network; any port unless the entry names one."""
        match = _ORIGIN.fullmatch(origin)
        address = match and parse_address(match[2] or match[3])
        if not match or not address:
            return False
        return any(
            scheme in ("", match[1]) and address in network and port in ("", match[4] or "")
            for scheme, network, port in self._networks
        )


def is_same_origin(origin: str, host: str) -> bool:
    return origin in (f"http://{host}", f"https://{host}")


# ---- Host ----------------------------------------------------------------------------------------------------------

_PRIVATE = tuple(
    ipaddress.ip_network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "127.0.0.0/8")
)
_LOCAL_SUFFIXES = (".localhost", ".local", ".internal")
HostVerdict = Literal["name", "address", "refused"]


def parse_address(text: str) -> Address | None:
    """An IP literal, with IPv4 inside IPv6 taken out; None for anything else."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def without_port(host: str) -> str:
    """The name in `name:port` or `[address]:port`; what has no port stays as it is, brackets and all."""
    if host.startswith("["):
        inner, bracket, rest = host[1:].partition("]")
        return inner if bracket and rest.startswith(":") else host
    return host[: host.index(":")] if host.count(":") == 1 else host


class HostRules:
    """`own_addresses` is asked only for addresses that are neither loopback nor private."""

    def __init__(self, machine_name: str, own_addresses: Callable[[], Iterable[str]]) -> None:
        self._machine_name = machine_name.lower()
        self._own_addresses = own_addresses

    def verdict(self, host_header: str) -> HostVerdict:
        """How the host was accepted; an accepted name answers OPTIONS by itself, an accepted address does not."""
        host = without_port(host_header)
        address = parse_address(host)
        if address is not None:
            return "address" if self._is_near(address) else "refused"
        name = host.lower()
        is_known = name in ("", "localhost", self._machine_name) or name.endswith(_LOCAL_SUFFIXES)
        return "name" if is_known else "refused"

    def _is_near(self, address: Address) -> bool:
        if address.is_loopback or address.is_unspecified or any(address in network for network in _PRIVATE):
            return True
        return any(parse_address(own.partition("%")[0]) == address for own in self._own_addresses())
