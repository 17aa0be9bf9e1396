"""One small file from elsewhere, within limits of size, time and redirects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import anyio

from server.errors import AddressRefused, PunaError, RegistryError
from server.net.transport import REDIRECTS, NetworkFailure, Reply, Transport, redirected, shown
from server.version import USER_AGENT

MB = 1024 * 1024
MOST_REDIRECTS = 3


class FetchFailed(PunaError):
    """could not be fetched"""


@dataclass(frozen=True)
class Fetched:
    """The answer that a chain of redirects ended with, whatever its status."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes


async def fetch(
    transport: Transport,
    url: str,
    *,
    most_bytes: int,
    seconds: float,
    headers: Mapping[str, str] | None = None,
) -> Fetched:
    """GET, with redirects as `redirected` allows them. `seconds` are for all of it.

    Raises FetchFailed. Its sentence lacks the subject, which the caller knows, and tells a client nothing of the
    network that the server stands in; its log does, without the query of the address.
    """
    try:
        with anyio.fail_after(seconds):
            return await _followed(transport, url, most_bytes, headers or {})
    except TimeoutError:
        raise FetchFailed(f"did not answer within {seconds:g} seconds", log=f"{shown(url)} was too slow") from None
    except AddressRefused as error:
        why = "is, or leads to, an address of this machine or of a private network"
        raise FetchFailed(why, log=error.log) from error
    except NetworkFailure as error:
        raise FetchFailed("could not be reached", log=str(error)) from error
    except RegistryError as error:
        raise FetchFailed("redirects to where Puna does not follow", log=str(error)) from error


async def _followed(transport: Transport, url: str, most_bytes: int, headers: Mapping[str, str]) -> Fetched:
    fields = {"User-Agent": USER_AGENT, **headers}
    at = url
    for _ in range(MOST_REDIRECTS + 1):
        async with transport.send("GET", at, fields, is_local=False) as reply:
            if reply.status not in REDIRECTS:
                return Fetched(at, reply.status, reply.headers, await _body(reply, most_bytes))
            at = redirected(reply)
    raise FetchFailed(f"redirects more than {MOST_REDIRECTS} times")


async def _body(reply: Reply, most_bytes: int) -> bytes:
    body = bytearray()
    async for piece in reply.pieces():
        body += piece
        if len(body) > most_bytes:
            raise FetchFailed(f"sends more than {most_bytes // MB} MB")
    return bytes(body)


def is_web_address(url: str) -> bool:
    """Whether it is an `http` or `https` address of a host, without a login in it."""
    try:
        parts = urlsplit(url)
        has_port = parts.port is None or parts.port > 0
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.username is None and has_port
