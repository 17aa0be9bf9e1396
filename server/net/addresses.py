"""Which addresses Puna may connect to where somebody else says where.

A name or a redirect can point anywhere: at a router, at a cloud's metadata service, at a program of this machine that
trusts whoever comes from it. So only public addresses are taken, and what the user listed.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Set aside for measuring networks. Some VPN programs answer every name with an address of this range and carry what
# goes there; nobody's service lives in it.
_VPN_NAMES = ipaddress.ip_network("198.18.0.0/15")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class AddressPolicy:
    """`listed` are hosts with or without a port, addresses and networks, in lower case. With `trusts_loopback` a
    registry that is named as this machine (`localhost:5000`) may be on it; without `trusts_public` nothing may be
    reached but what is listed."""

    def __init__(self, listed: Iterable[str] = (), *, trusts_loopback: bool = True, trusts_public: bool = True) -> None:
        self.trusts_loopback = trusts_loopback
        self._trusts_public = trusts_public
        self._hosts: set[str] = set()
        self._networks: list[Network] = []
        for entry in listed:
            try:
                self._networks.append(ipaddress.ip_network(entry.strip("[]"), strict=False))
            except ValueError:
                self._hosts.add(entry)

    def lists(self, host: str, port: int) -> bool:
        """Whether the user listed the host by name or address."""
        name = host.strip("[]").lower().rstrip(".")
        if name in self._hosts or f"{name}:{port}" in self._hosts or f"[{name}]:{port}" in self._hosts:
            return True
        address = _parsed(name)
        return address is not None and any(address in network for network in self._networks)

    def allows(self, host: str, port: int, address_text: str, *, is_local: bool) -> bool:
        """Whether `host` may be reached at an address that it has. `is_local`: the operation's registry was named as
        this machine."""
        address = _parsed(address_text)
        if address is None:
            return False
        if self.lists(host, port) or self.lists(address_text, port):
            return True
        if address.is_loopback:
            return is_local and self.trusts_loopback
        return self._trusts_public and _is_public(address)


def _parsed(text: str) -> Address | None:
    """Of an IPv6 address that stands for an IPv4 address the latter."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address.sixtofour is not None:
            return address.sixtofour
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _is_public(address: Address) -> bool:
    if address in _VPN_NAMES:
        return True
    return address.is_global and not address.is_multicast and not address.is_reserved
