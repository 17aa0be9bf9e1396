"""What servers say, read into values of ours. Unknown fields are left alone, missing ones take their defaults."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from app.situation import Installed
from server.errors import PunaError
from server.messages.models import RunningModel

FAR_SECONDS = 10 * 365 * 24 * 3600.0  # Ollama writes "for ever" as a time some centuries ahead


def models_of_status(status: Any) -> tuple[RunningModel, ...]:
    """From `/puna/v1/status` and its events. Raises PunaError."""
    try:
        return msgspec.convert(status["models"], tuple[RunningModel, ...])
    except (TypeError, KeyError, msgspec.ValidationError) as error:
        raise PunaError(f"The server's status cannot be understood ({error}); is it of another version?") from error


def models_of_ps(rows: list[dict[str, Any]], now: float) -> tuple[RunningModel, ...]:
    """From `/api/ps`, which every Ollama has; it tells neither speed nor activity."""
    return tuple(_of_ps(row, now) for row in rows if isinstance(row, dict) and row.get("name"))


def _of_ps(row: dict[str, Any], now: float) -> RunningModel:
    expires_at = _unix_time(row.get("expires_at"))
    is_kept = expires_at is not None and expires_at - now > FAR_SECONDS
    return RunningModel(
        name=str(row["name"]),
        digest=str(row.get("digest", "")),
        path="",
        state="ready",
        size_bytes=_number(row.get("size")),
        gpu_bytes=_number(row.get("size_vram")),
        context_tokens=_number(row.get("context_length")),
        expires_at=None if is_kept else expires_at,
        keep_alive_seconds=-1.0 if is_kept else 300.0,
    )


def installed_of_tags(rows: list[dict[str, Any]]) -> tuple[Installed, ...]:
    """From `/api/tags`; models that run in a cloud cannot be loaded here."""
    return tuple(
        Installed(str(row["name"]), _number(row.get("size")))
        for row in rows
        if isinstance(row, dict) and row.get("name") and not row.get("remote_host")
    )


def _number(value: Any) -> int:
    return int(value) if isinstance(value, (int, float)) else 0


def _unix_time(value: Any) -> float | None:
    try:
        return datetime.fromisoformat(value).timestamp()
    except (TypeError, ValueError, OverflowError, OSError):
        return None
