"""Request bodies of the OpenAI and Anthropic dialects: read under a bound, unpacked, decoded."""

from __future__ import annotations

import zlib
from typing import Any

import msgspec
from starlette.requests import ClientDisconnect, Request

from server.api.exchange import STATUS_KEY
from server.api.wire_fields import Fields
from server.errors import Cancelled, InvalidRequest

MAX_BODY_BYTES = 100 << 20
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS


class TooLarge(InvalidRequest):
    """The request body is larger than 100 MiB; send less at once."""

    status = 413


class UnknownEncoding(InvalidRequest):
    """The request body is packed in a way that Puna cannot read; send it as it is, or with gzip."""

    status = 415


async def read_fields(request: Request) -> Fields:
    """The members of the body. Raises InvalidRequest and its kin, Cancelled when the client leaves."""
    packed = await _read(request)
    return Fields.of(decoded(unpacked(packed, request.headers.get("content-encoding", ""))))


async def _read(request: Request) -> bytes:
    pieces: list[bytes] = []
    size = 0
    try:
        async for piece in request.stream():
            size += len(piece)
            if size > MAX_BODY_BYTES:
                raise TooLarge()
            pieces.append(piece)
    except ClientDisconnect:
        request.scope[STATUS_KEY] = Cancelled.status
        raise Cancelled() from None
    return b"".join(pieces)


def unpacked(body: bytes, encoding: str) -> bytes:
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise UnknownEncoding(f"The content encoding {encoding!r} is not supported; send the body as it is, or gzip.")
    unpacker = zlib.decompressobj(_GZIP_OR_ZLIB)
    try:
        text = unpacker.decompress(body, MAX_BODY_BYTES)
    except zlib.error as error:
        raise InvalidRequest(f"The request body is not valid {encoding}: {error}.") from None
    if unpacker.unconsumed_tail:
        raise TooLarge()
    if not unpacker.eof:
        raise InvalidRequest(f"The request body is not valid {encoding}: its end is missing.")
    return text


def decoded(body: bytes) -> Any:
    if not body.strip():
        raise InvalidRequest("missing request body")
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"The request body is not valid JSON: {error}.") from None
    except RecursionError:
        raise InvalidRequest("The request body is nested too deeply.") from None
