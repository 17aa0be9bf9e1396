"""Connections to elsewhere: an address is looked at before it is dialled, and what was looked at is what is dialled.

Between looking a name up and connecting to it there is no second look-up, so a name cannot change its meaning.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable
from typing import Any

import anyio
import httpcore2

from server.errors import AddressRefused
from server.net.addresses import AddressPolicy

READ_BYTES = 256 * 1024
TRY_SECONDS = 4.0  # for one of several addresses: a network may drop what goes to some of them

SocketOption = tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]


class WideStream(httpcore2.AsyncNetworkStream):
    """Reads more at a time than is asked for: a file of gigabytes costs less in large pieces."""

    def __init__(self, stream: httpcore2.AsyncNetworkStream) -> None:
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return await self._stream.read(max(max_bytes, READ_BYTES), timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.AsyncNetworkStream:
        return WideStream(await self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class CheckedNetwork(httpcore2.AsyncNetworkBackend):
    """Connects to allowed addresses only. `policy` None is for proxies: where they are the user has said."""

    def __init__(self, policy: AddressPolicy | None, *, is_local: bool) -> None:
        self._policy = policy
        self._is_local = is_local
        self._plain = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        *first, last = await self._addresses(host, port, timeout)
        for address in first:
            try:
                return WideStream(
                    await self._plain.connect_tcp(address, port, min(timeout or TRY_SECONDS, TRY_SECONDS))
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                continue
        return WideStream(await self._plain.connect_tcp(last, port, timeout))

    async def _addresses(self, host: str, port: int, timeout: float | None) -> list[str]:
        """At least one. Raises AddressRefused."""
        try:
            with anyio.fail_after(timeout):
                found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout(f"looking up {host} took too long") from error
        except (OSError, UnicodeError) as error:
            raise httpcore2.ConnectError(f"no such host {host}: {error}") from error
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        policy = self._policy
        if policy is None:
            return addresses
        allowed = [address for address in addresses if policy.allows(host, port, address, is_local=self._is_local)]
        if not allowed:
            raise refused(host, port, ", ".join(addresses))
        return allowed

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)


def refused(host: str, port: int, addresses: str) -> AddressRefused:
    """The sentence names no address: it would tell a client that is elsewhere how this network is made."""
    return AddressRefused(
        f"{host} is an address of this machine or of a private network, which Puna does not connect to unless it is "
        f"told to. If you trust it, add {host}:{port} to PUNA_REGISTRIES and start the server again",
        log=f"refused to connect to {host}:{port}, which is {addresses}",
    )
