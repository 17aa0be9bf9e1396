"""Answers and exceptions of HTTP become errors of ours."""

from __future__ import annotations

import json
from typing import Any

from server.errors import (
    Cancelled,
    DiskFull,
    Forbidden,
    InvalidKey,
    InvalidRequest,
    KeyWanted,
    NotFound,
    NotImplementedYet,
    PunaError,
    ServerBusy,
    ServerNotRunning,
    ServerUnreachable,
)

_BY_STATUS: dict[int, type[PunaError]] = {
    401: KeyWanted,
    403: Forbidden,
    404: NotFound,
    499: Cancelled,
    501: NotImplementedYet,
    503: ServerBusy,
    507: DiskFull,
}


def from_answer(status: int, reason: str, body: bytes) -> PunaError:
    """The server's own sentence, or the status line where it sent none."""
    try:
        sentence = sentence_of(json.loads(body))
    except ValueError:
        sentence = ""
    if status == 401 and sentence == str(InvalidKey()):
        sentence = (
            "the server wants an API key: put one into the variable OLLAMA_API_KEY. "
            "Whoever runs the server makes one with 'puna keys add NAME'"
        )
    kind = _BY_STATUS.get(status, InvalidRequest if 400 <= status < 500 else PunaError)
    return kind(sentence or f"{status} {reason}".strip(), status=status)


def sentence_of(answer: Any) -> str:
    """The text of `{"error": "…"}` or `{"error": {"message": "…"}}`; "" for anything else."""
    error = answer.get("error") if isinstance(answer, dict) else None
    if isinstance(error, dict):
        error = error.get("message")
    return error if isinstance(error, str) else ""


def from_exception(error: Exception, url: str) -> PunaError:
    """A connection that was refused is told apart: then a server can be started."""
    import httpx2

    if _was_refused(error):
        return ServerNotRunning(log=f"{url}: {error}")
    if isinstance(error, httpx2.TimeoutException):
        return ServerUnreachable(f"the server at {url} does not answer; is it overloaded, or behind a firewall?")
    if isinstance(error, (httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.WriteError)):
        return ServerUnreachable(
            f"the connection to the server at {url} failed before its answer was complete: the server has stopped, "
            f"or the network was interrupted. Try again; the server's log may say why.",
            log=f"{url}: {error!r}",
        )
    return ServerUnreachable(f"the connection to the server at {url} failed: {error or type(error).__name__}")


def _was_refused(error: BaseException) -> bool:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ConnectionRefusedError):
            return True
        cause = cause.__cause__ or cause.__context__
    return False
