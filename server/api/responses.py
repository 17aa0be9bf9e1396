"""Answers on the wire: JSON, errors in the native envelope, timestamps and durations as the reference writes them."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import msgspec
from starlette.responses import Response

from server.errors import PunaError

JSON = "application/json; charset=utf-8"
BARE_JSON = "application/json"  # what the reference sends for the end of an operation that could have been a stream
NDJSON = "application/x-ndjson"
TEXT = "text/plain; charset=utf-8"

encode = msgspec.json.Encoder().encode


class Answer(Response):
    """A response whose content type is sent as it is given; Starlette would add a charset to text."""

    def __init__(self, content: bytes = b"", status: int = 200, content_type: str = "", **headers: str) -> None:
        fields = {"content-type": content_type} if content_type else {}
        super().__init__(content, status, {**fields, **headers})


def json_answer(value: Any, status: int = 200, content_type: str = JSON) -> Answer:
    return Answer(encode(value), status, content_type)


def empty_answer(status: int = 200) -> Answer:
    return Answer(b"", status)


def error_answer(error: PunaError, content_type: str = JSON) -> Answer:
    answer = json_answer({"error": str(error)}, error.status, content_type)
    retry_after = getattr(error, "retry_after_seconds", None)
    if retry_after is not None:
        answer.headers["retry-after"] = str(retry_after)
    return answer


def omit_empty(fields: dict[str, Any]) -> dict[str, Any]:
    """Without what Go's `omitempty` leaves out: zero, empty, false and null."""
    return {name: value for name, value in fields.items() if value}


# ---- time ----------------------------------------------------------------------------------------------------------


def utc_timestamp(unix_ns: int | None = None) -> str:
    """RFC 3339 in UTC with up to nine fractional digits, trailing zeros removed; now where no time is given."""
    seconds, nanoseconds = divmod(time.time_ns() if unix_ns is None else unix_ns, 1_000_000_000)
    return f"{_second(seconds)}{_fraction(nanoseconds)}Z"


@lru_cache(maxsize=4)
def _second(seconds: int) -> str:
    """Remembered, because every token of a stream carries the time."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def local_timestamp(moment: datetime) -> str:
    """RFC 3339 with this machine's offset, `Z` where that is UTC. The years after 9999 do not exist."""
    local = moment.astimezone()
    offset = local.strftime("%z")
    zone = "Z" if local.utcoffset() == UTC.utcoffset(None) else f"{offset[:3]}:{offset[3:5]}"
    return f"{local:%Y-%m-%dT%H:%M:%S}{_fraction(local.microsecond * 1000)}{zone}"


def _fraction(nanoseconds: int) -> str:
    return f".{nanoseconds:09d}".rstrip("0") if nanoseconds else ""
