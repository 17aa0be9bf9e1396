"""Failures as the clients of OpenAI and of Anthropic read them."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from starlette.types import Scope

from server.api.responses import BARE_JSON, Answer, json_answer
from server.api.wire_fields import RefusedField
from server.errors import ContextExceeded, ModelNotFound, NotImplementedYet, PunaError, SearchFailed, Unsupported

_OPENAI_TYPES = {
    400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
    405: "invalid_request_error", 413: "invalid_request_error", 415: "invalid_request_error", 429: "rate_limit_error",
    503: "overloaded_error", 529: "overloaded_error",
}  # fmt: skip
_ANTHROPIC_TYPES = {
    400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
    405: "invalid_request_error", 413: "request_too_large", 415: "invalid_request_error", 429: "rate_limit_error",
    503: "overloaded_error", 504: "timeout_error", 529: "overloaded_error",
}  # fmt: skip
_COUNTS = re.compile(r"\((\d+) tokens\)")


def openai_error(error: PunaError) -> dict[str, Any]:
    """The object under `error`; all four members are always there."""
    return {
        "message": str(error),
        "type": _OPENAI_TYPES.get(error.status, "api_error"),
        "param": (error.param or None) if isinstance(error, RefusedField) else None,
        "code": code_of(error),
    }


def code_of(error: PunaError) -> str | None:
    """OpenAI's machine-readable word for a failure, where there is one."""
    if isinstance(error, RefusedField):
        return error.code
    if isinstance(error, ModelNotFound):
        return "model_not_found"
    if isinstance(error, ContextExceeded):
        return "context_length_exceeded"
    if isinstance(error, SearchFailed):
        return error.code
    if isinstance(error, (Unsupported, NotImplementedYet)):
        return "unsupported_value"
    return {429: "rate_limit_exceeded", 503: "server_overloaded"}.get(
        error.status, "internal_error" if error.status >= 500 else None
    )


def anthropic_error(error: PunaError) -> dict[str, Any]:
    """The object under `error`. A prompt that is too long has the words that agents look for, with both numbers."""
    message = str(error)
    counts = _COUNTS.findall(message) if isinstance(error, ContextExceeded) else []
    if len(counts) == 2:
        message = f"prompt is too long: {counts[0]} tokens > {counts[1]} maximum"
    elif isinstance(error, ContextExceeded):
        message = f"prompt is too long: {message}"
    return {"type": _ANTHROPIC_TYPES.get(error.status, "api_error"), "message": message}


@dataclass(frozen=True)
class Dialect:
    """What differs between dialects when something fails. `id_header` carries the request's id in every answer."""

    name: str
    id_header: str
    body: Callable[[PunaError, str], dict[str, Any]]

    def new_id(self) -> str:
        return f"req_{secrets.token_hex(12)}"

    def answer(self, error: PunaError, request_id: str) -> Answer:
        answer = json_answer(self.body(error, request_id), error.status, BARE_JSON)
        retry_after = getattr(error, "retry_after_seconds", None)
        if retry_after is not None:
            answer.headers["retry-after"] = str(retry_after)
        elif error.status >= 500:
            # The clients' libraries repeat every 5xx; one that would fail again only costs time.
            answer.headers["x-should-retry"] = "false"
        return answer


OPENAI = Dialect("openai", "x-request-id", lambda error, _: {"error": openai_error(error)})
ANTHROPIC = Dialect(
    "anthropic",
    "request-id",
    lambda error, request_id: {"type": "error", "error": anthropic_error(error), "request_id": request_id},
)


def dialect_of(scope: Scope) -> Dialect:
    """The dialect of a request whose path belongs to both or to none."""
    is_anthropic = any(name == b"anthropic-version" for name, _ in scope["headers"])
    return ANTHROPIC if is_anthropic or "/messages" in scope["path"] else OPENAI
