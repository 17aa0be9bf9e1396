"""Request bodies of the OpenAI and Anthropic dialects: read under a bound, unpacked, decoded."""

from __future__ import annotations

import re
import sys
import zlib
from collections.abc import AsyncGenerator
from typing import Any

import msgspec
from starlette.requests import ClientDisconnect, Request

from server.api.exchange import STATUS_KEY
from server.api.wire_fields import Fields
from server.errors import Cancelled, InvalidRequest

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAX_BODY_BYTES = 100 << 20
MAX_ZSTD_BYTES = 20 << 20  # what a body packed by zstd may unpack to; that and its window are the reference's
_ZSTD_WINDOW: dict[int, int] = {zstd.DecompressionParameter.window_log_max: 23}  # 8 MiB of memory
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
# Half of a surrogate pair, as browsers send it for a text that was cut within an emoji. The first group: backslashes
# before it that stand for themselves; the second: a whole pair, which is a character.
_HALF_PAIR = re.compile(
    rb"(?<!\\)((?:\\\\)*)(?:(\\u[dD][89aAbB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)


class TooLarge(InvalidRequest):
    """The request body is larger than 100 MiB; send less at once."""

    status = 413


class UnknownEncoding(InvalidRequest):
    """The request body is packed in a way that Puna cannot read; send it as it is, or with zstd or gzip."""

    status = 415


async def read_fields(request: Request) -> Fields:
    """The members of the body. Raises InvalidRequest and its kin, Cancelled when the client leaves."""
    packed = await _read(request)
    return Fields.of(decoded(unpacked(packed, request.headers.get("content-encoding", ""))))


async def _read(request: Request) -> bytes:
    return b"".join([piece async for piece in pieces_of(request, TooLarge(), MAX_BODY_BYTES)])


async def pieces_of(request: Request, too_large: InvalidRequest, max_bytes: int) -> AsyncGenerator[bytes, None]:
    """The body as it comes. Raises `too_large` beyond `max_bytes`, Cancelled when the client leaves."""
    size = 0
    try:
        async for piece in request.stream():
            size += len(piece)
            if size > max_bytes:
                raise too_large
            yield piece
    except ClientDisconnect:
        request.scope[STATUS_KEY] = Cancelled.status
        raise Cancelled() from None


def unpacked(body: bytes, encoding: str) -> bytes:
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding == "zstd":
        return _without_zstd(body)
    if encoding in ("gzip", "x-gzip", "deflate"):
        return _without_gzip(body, encoding)
    raise UnknownEncoding(f"The content encoding {encoding!r} is not supported; send the body as it is, zstd or gzip.")


def _without_zstd(body: bytes) -> bytes:
    """The frames of a body, one after the other."""
    text = b""
    try:
        while body:
            unpacker = zstd.ZstdDecompressor(options=_ZSTD_WINDOW)
            text += unpacker.decompress(body, MAX_ZSTD_BYTES + 1 - len(text))
            if len(text) > MAX_ZSTD_BYTES:
                raise InvalidRequest(f"The request body is larger than {MAX_ZSTD_BYTES >> 20} MiB when unpacked.")
            if not unpacker.eof:
                raise InvalidRequest("The request body is not valid zstd: its end is missing.")
            body = unpacker.unused_data
    except zstd.ZstdError as error:
        raise InvalidRequest(f"The request body is not valid zstd: {error}.") from None
    return text


def _without_gzip(body: bytes, encoding: str) -> bytes:
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
    """The value of a body; what is no character becomes U+FFFD, as under /api. Raises InvalidRequest."""
    if not body.strip():
        raise InvalidRequest("missing request body")
    try:
        try:
            return msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return msgspec.json.decode(_of_characters(body))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"The request body is not valid JSON: {error}.") from None
    except RecursionError:
        raise InvalidRequest("The request body is nested too deeply.") from None


def _of_characters(body: bytes) -> bytes:
    text = body.decode("utf-8", "replace").encode()
    return _HALF_PAIR.sub(lambda found: found[0] if found[2] else found[1] + rb"\ufffd", text)
