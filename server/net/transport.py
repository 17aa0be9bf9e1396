"""HTTP for registries: pools of connections by the way that leads to a host, TLS with the system's certificates.

Redirects, cookies and compression are left alone: who sends what where is decided by the caller, and a body has the
size that it is announced with.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urljoin, urlsplit

import anyio.to_thread

from server.errors import RegistryError
from server.net.addresses import AddressPolicy
from server.settings import process_environ, proxy_for

if TYPE_CHECKING:
    import httpcore2

CONNECT_SECONDS = 20.0
SILENCE_SECONDS = 30.0
MAX_TEXT_BYTES = 64 * 1024
REDIRECTS = frozenset({301, 302, 303, 307, 308})
_IDLE_SECONDS = 30.0
_CONNECTIONS = 128

Content = bytes | AsyncIterator[bytes]
Headers = Mapping[str, str]


class NetworkFailure(RegistryError):
    """The connection failed or broke off; the same request may succeed later."""


class Reply:
    """Status, headers in lower case, and a body that comes in pieces. Open until its context is left."""

    def __init__(self, url: str, response: httpcore2.Response) -> None:
        self.url = url
        self.status: int = response.status
        self.headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
        self._response = response

    def __repr__(self) -> str:
        return f"<{self.status} of {shown(self.url)}>"

    async def pieces(self) -> AsyncIterator[bytes]:
        """Raises NetworkFailure, with `Stalled` as its cause where nothing came for too long."""
        import httpcore2

        try:
            async for piece in self._response.aiter_stream():
                yield piece
        except httpcore2.ReadTimeout as error:
            raise Stalled(f"nothing came from {shown(self.url)} for too long") from error
        except (httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.TimeoutException) as error:
            raise NetworkFailure(f"the connection to {shown(self.url)} broke off", log=repr(error)) from error

    async def read(self, most_bytes: int) -> bytes:
        """The whole body. Raises RegistryError where it is longer."""
        body = bytearray()
        async for piece in self.pieces():
            body += piece
            if len(body) > most_bytes:
                raise RegistryError(f"{shown(self.url)} sent more than the {most_bytes} bytes that are read of it")
        return bytes(body)

    async def text(self) -> str:
        """The beginning of an error's body."""
        body = bytearray()
        async for piece in self.pieces():
            body += piece
            if len(body) >= MAX_TEXT_BYTES:
                break
        return bytes(body[:MAX_TEXT_BYTES]).decode("utf-8", "replace").strip()


class Stalled(NetworkFailure):
    """Nothing came for too long."""


class Transport:
    """Sends single requests. Pools live until `close`; `silence_seconds` without a byte end a request."""

    def __init__(
        self,
        policy: AddressPolicy,
        *,
        silence_seconds: float = SILENCE_SECONDS,
        proxy_of: Callable[[str, str, int], str] = proxy_for,
    ) -> None:
        self._policy = policy
        self._silence_seconds = silence_seconds
        self._proxy_of = proxy_of
        self._pools: dict[tuple[str, bool, bool], httpcore2.AsyncConnectionPool] = {}
        self._tls: ssl.SSLContext | None = None

    @asynccontextmanager
    async def send(
        self, method: str, url: str, headers: Headers, content: Content | None = None, *, is_local: bool
    ) -> AsyncIterator[Reply]:
        """Raises NetworkFailure, AddressRefused. `is_local`: see AddressPolicy.allows."""
        import httpcore2

        pool = await self._pool(url, is_local)
        silence = self._silence_seconds
        timeout = {"connect": CONNECT_SECONDS, "read": silence, "write": silence, "pool": None}
        fields = [("Host", urlsplit(url).netloc.rpartition("@")[2]), ("Accept-Encoding", "identity"), *headers.items()]
        if isinstance(content, bytes) and "Content-Length" not in headers:
            fields.append(("Content-Length", str(len(content))))
        request = httpcore2.Request(method, url, headers=fields, content=content, extensions={"timeout": timeout})
        try:
            response = await pool.handle_async_request(request)
        except httpcore2.ReadTimeout as error:
            raise NetworkFailure(f'{method} "{shown(url)}": no answer for {silence:g} seconds') from error
        except (
            httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.TimeoutException, httpcore2.ProxyError,
        ) as error:  # fmt: skip
            raise NetworkFailure(f'{method} "{shown(url)}": {_reason(error)}', log=f"{url}: {error!r}") from error
        try:
            yield Reply(url, response)
        finally:
            with anyio.CancelScope(shield=True):
                await response.aclose()

    async def close(self) -> None:
        for pool in self._pools.values():
            await pool.aclose()
        self._pools.clear()

    async def _pool(self, url: str, is_local: bool) -> httpcore2.AsyncConnectionPool:
        parts = urlsplit(url)
        host, port = parts.hostname or "", _port(url)
        proxy = self._proxy_of(parts.scheme, host, port)
        self._check_name(host, port, bool(proxy), is_local)
        has_tls = parts.scheme == "https" or proxy.startswith("https:")
        if has_tls and self._tls is None:
            self._tls = await anyio.to_thread.run_sync(_tls_context)
        key = (proxy, is_local, has_tls)
        if key not in self._pools:
            self._pools[key] = self._make_pool(proxy, is_local)
        return self._pools[key]

    def _check_name(self, host: str, port: int, has_proxy: bool, is_local: bool) -> None:
        """Behind a proxy nothing is looked up here, so only what is written as an address can be judged."""
        from server.net.network import refused

        is_address = host.replace(".", "").isdecimal() or ":" in host
        if has_proxy and is_address and not self._policy.allows(host, port, host, is_local=is_local):
            raise refused(host, port, host)

    def _make_pool(self, proxy: str, is_local: bool) -> httpcore2.AsyncConnectionPool:
        import httpcore2

        from server.net.network import CheckedNetwork

        common: dict[str, Any] = {
            "ssl_context": self._tls,
            "max_connections": _CONNECTIONS,
            "max_keepalive_connections": 20,
            "keepalive_expiry": _IDLE_SECONDS,
            "network_backend": CheckedNetwork(None if proxy else self._policy, is_local=is_local),
        }
        if not proxy:
            return httpcore2.AsyncConnectionPool(**common)
        parts = urlsplit(proxy)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise RegistryError(
                f"the proxy {shown(proxy)} cannot be used: its address must begin with http:// or https://"
            )
        login = (unquote(parts.username), unquote(parts.password or "")) if parts.username else None
        if parts.scheme == "https":
            common["proxy_ssl_context"] = self._tls
        address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        return httpcore2.AsyncHTTPProxy(address, proxy_auth=login, **common)


def redirected(reply: Reply) -> str:
    """Where a redirect leads. Raises RegistryError for one that leads nowhere, or out of https."""
    location = reply.headers.get("location", "")
    target = urljoin(reply.url, location)
    parts = urlsplit(target)
    if not location or parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise RegistryError(f"{shown(reply.url)} redirects to nowhere (status {reply.status})")
    if parts.scheme == "http" and reply.url.startswith("https:"):
        raise RegistryError(f"{shown(reply.url)} redirects from https to http, which Puna does not follow")
    return target


def _tls_context() -> ssl.SSLContext:
    """The system's store of certificates, and what SSL_CERT_FILE and SSL_CERT_DIR name besides. Blocking."""
    import truststore

    context = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    environ = process_environ()
    file, folder = environ.get("SSL_CERT_FILE"), environ.get("SSL_CERT_DIR")
    if file or folder:
        try:
            context.load_verify_locations(cafile=file or None, capath=folder or None)
        except (OSError, ssl.SSLError) as error:
            raise RegistryError(
                f"the certificates that SSL_CERT_FILE or SSL_CERT_DIR names cannot be read: {error}"
            ) from error
    return context


def _port(url: str) -> int:
    parts = urlsplit(url)
    try:
        return parts.port or {"http": 80, "https": 443}[parts.scheme]
    except (ValueError, KeyError) as error:
        raise RegistryError(f"{shown(url)} is no address of a registry") from error


def shown(url: str) -> str:
    """Without a query, which may be a signature, and without a login."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _reason(error: Exception) -> str:
    cause: BaseException | None = error
    text = ""
    while cause is not None:
        if isinstance(cause, ConnectionRefusedError):
            return "connection refused; is the registry running, and is its address right?"
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted ({cause.verify_message or cause}); add its CA to the system's store"
        if isinstance(cause, ssl.SSLError):
            return "no TLS is spoken there; a registry without it needs --insecure"
        text = text or str(cause)
        cause = cause.__cause__ or cause.__context__
    return text or type(error).__name__
