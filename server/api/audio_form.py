"""A form with a recording in it, as `/v1/audio/…` takes it. Nothing of it touches the disk."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import msgspec
from python_multipart.exceptions import FormParserError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from server.api.wire_body import TooLarge, pieces_of, unpacked
from server.api.wire_fields import RefusedField
from server.errors import InvalidRequest

MAX_FORM_BYTES = (25 << 20) + (1 << 16)  # a recording of 25 MiB, and what stands around it
_MOST_FIELDS = 64


class RecordingTooLarge(TooLarge):
    """The recording is larger than 25 MiB; send a shorter one, or one in mp3 or flac."""


class AudioForm(msgspec.Struct, frozen=True):
    """`fields` are the texts of the form, the last of equal names. `file`: None where there is none."""

    fields: dict[str, str]
    file: bytes | None

    def text(self, name: str) -> str:
        return self.fields.get(name, "").strip()

    def flag(self, name: str) -> bool:
        return self.text(name).lower() in ("true", "1")

    def number(self, name: str, otherwise: float) -> float:
        try:
            return float(self.text(name) or otherwise)
        except ValueError:
            raise RefusedField(f"'{name}' must be a number.", param=name, code="invalid_type") from None


class _InMemory(MultiPartParser):
    spool_max_size = MAX_FORM_BYTES
    max_part_size = 1 << 20


async def read_form(request: Request) -> AudioForm:
    """Raises InvalidRequest for what is no form, RecordingTooLarge, Cancelled when the client leaves."""
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise InvalidRequest("failed to parse multipart form: the request's Content-Type is not multipart/form-data")
    encoding = request.headers.get("content-encoding", "")
    packed = b"".join([piece async for piece in pieces_of(request, RecordingTooLarge(), MAX_FORM_BYTES)])
    parser = _InMemory(request.headers, _once(unpacked(packed, encoding)), max_files=1, max_fields=_MOST_FIELDS)
    try:
        form = await parser.parse()
    except (MultiPartException, FormParserError, KeyError, ValueError) as error:
        raise InvalidRequest(f"failed to parse multipart form: {error}") from None
    try:
        uploaded = form.get("file")
        file = await uploaded.read() if isinstance(uploaded, UploadFile) else None
        fields = {name: value for name, value in form.multi_items() if isinstance(value, str)}
    finally:
        await form.close()
    return AudioForm(fields, file)


async def _once(body: bytes) -> AsyncGenerator[bytes, None]:
    yield body
