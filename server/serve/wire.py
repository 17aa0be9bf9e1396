"""HTTP/1.1 as clients of a Go server know it. Hypercorn leaves the reason phrase empty, which error messages of clients
repeat ("404 : …"), and follows an upgrade to HTTP/2, which Java's client offers with every request, or to WebSocket,
which nothing here speaks. Hypercorn has no setting for either, so its class is replaced by one that derives from it.
"""

from __future__ import annotations

from http import HTTPStatus

import h11
import hypercorn.protocol
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.typing import H11SendableEvent

_PHRASES = {status.value: status.phrase.encode() for status in HTTPStatus}
_SCHEMES = (b"http://", b"https://")


class PlainProtocol(H11Protocol):
    """One connection."""

    async def _send_h11_event(self, event: H11SendableEvent) -> None:
        if isinstance(event, h11.Response):
            reason = _PHRASES.get(event.status_code, b"")
            event = h11.Response(status_code=event.status_code, headers=list(event.headers), reason=reason)
        await super()._send_h11_event(event)

    async def _check_protocol(self, event: h11.Request) -> None:
        """Offers of other protocols are not taken."""

    async def _create_stream(self, request: h11.Request) -> None:
        headers = [(name, value) for name, value in request.headers if name != b"upgrade"]
        await super()._create_stream(
            h11.Request(
                method=request.method,
                target=_path(request.target),
                headers=headers,
                http_version=request.http_version,
            )
        )


def _path(target: bytes) -> bytes:
    """Without scheme and host, which a client that takes us for a proxy sends."""
    if not target.lower().startswith(_SCHEMES):
        return target
    _, slash, path = target.partition(b"://")[2].partition(b"/")
    return slash + path or b"/"


def speak_plainly() -> None:
    """For every connection from now on."""
    hypercorn.protocol.H11Protocol = PlainProtocol  # type: ignore[attr-defined]
