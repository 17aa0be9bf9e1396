"""Transcripts in the forms that clients of `/v1/audio/…` ask for."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Literal, get_args

import msgspec

from server.api.openai_answer import late_error
from server.api.responses import BARE_JSON, TEXT, Answer, json_answer
from server.api.wire_runs import Piece
from server.api.wire_sse import event_frame
from server.errors import PunaError
from server.messages.chat import Usage

Format = Literal["json", "text", "verbose_json", "srt", "vtt"]
FORMATS: dict[str, Format] = {name: name for name in get_args(Format)}


class Heard(msgspec.Struct, frozen=True):
    """What is known of a recording before it is heard. `language` is what the client says it is."""

    task: str
    language: str
    duration_seconds: float
    temperature: float = 0.0


def transcript_answer(heard: Heard, form: Format, pieces: list[Piece]) -> Answer:
    text = "".join(piece.chunk.text for piece in pieces).strip()
    match form:
        case "json":
            return json_answer({"text": text}, content_type=BARE_JSON)
        case "text":
            return Answer(f"{text}\n".encode(), content_type=TEXT)
        case "verbose_json":
            return json_answer(_verbose(heard, text), content_type=BARE_JSON)
        case "srt":
            times = f"{_clock(0.0, ',')} --> {_clock(heard.duration_seconds, ',')}"
            return Answer(f"1\n{times}\n{text}\n\n".encode(), content_type=TEXT)
        case "vtt":
            times = f"{_clock(0.0, '.')} --> {_clock(heard.duration_seconds, '.')}"
            return Answer(f"WEBVTT\n\n{times}\n{text}\n\n".encode(), content_type="text/vtt; charset=utf-8")


def _verbose(heard: Heard, text: str) -> dict[str, Any]:
    """One segment: models that write words do not tell when they were spoken."""
    segment = {
        "id": 0, "start": 0.0, "end": heard.duration_seconds, "text": text, "temperature": heard.temperature,
    }  # fmt: skip
    return {
        "task": heard.task,
        "language": heard.language,
        "duration": heard.duration_seconds,
        "text": text,
        "segments": [segment] if text else [],
    }


def _clock(seconds: float, point: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}{point}{rest % 1000:03}"


class Transcript:
    """Writes a transcript as a stream. White space is held until a word follows it, so both ends are without."""

    def __init__(self) -> None:
        self._text = ""
        self._space = ""
        self._usage = Usage()

    async def frames(self, pieces: AsyncGenerator[Piece, None]) -> AsyncGenerator[bytes, None]:
        async with aclosing(pieces):
            async for piece in pieces:
                self._usage = piece.chunk.usage or self._usage
                yield self._delta(piece.chunk.text)
        yield event_frame({"type": "transcript.text.done", "text": self._text, "usage": self._counts()})

    def late_error(self, error: PunaError) -> bytes:
        return late_error(error)

    def _delta(self, text: str) -> bytes:
        whole = self._space + text if self._text else text.lstrip()
        said = whole.rstrip()
        self._space = whole[len(said) :]
        if not said:
            return b""
        self._text += said
        return event_frame({"type": "transcript.text.delta", "delta": said})

    def _counts(self) -> dict[str, Any]:
        asked, answered = self._usage.prompt_tokens, self._usage.eval_tokens
        counts = {"input_tokens": asked, "output_tokens": answered, "total_tokens": asked + answered}
        return {"type": "tokens", **counts}
