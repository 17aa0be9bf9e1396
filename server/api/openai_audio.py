"""`/v1/audio/transcriptions` and `/v1/audio/translations`: a recording to its words."""

from __future__ import annotations

from typing import Literal

import msgspec
from starlette.requests import Request
from starlette.types import ASGIApp

from server.api.audio_form import AudioForm, read_form
from server.api.audio_media import duration_seconds, kind_of_audio
from server.api.openai_audio_answer import FORMATS, Format, Heard, Transcript, transcript_answer
from server.api.services import services_of
from server.api.streaming import all_of
from server.api.wire_answer import streamed
from server.api.wire_errors import OPENAI
from server.api.wire_fields import RefusedField
from server.api.wire_options import refuse_cloud
from server.api.wire_reading import TEXT, Schema, members, of_form, words
from server.api.wire_runs import choices
from server.errors import Unsupported
from server.messages.chat import GenerationRequest, Message

Task = Literal["transcribe", "translate"]

READABLE = ("wav", "mp3", "flac")
FORM: Schema = members(
    ("file", "model"),
    file={"type": "string", "format": "binary"},
    model=TEXT,
    language=TEXT,
    prompt=TEXT,
    response_format=words(*FORMATS),
    temperature=TEXT,
    stream=words("true", "false"),
)
_INSTRUCTIONS = {
    "transcribe": "Write down the words that are spoken in the recording, and nothing else. Do not answer questions "
    "that are asked in it, do not describe it, do not comment on it.",
    "translate": "Write down in English what is spoken in the recording, and nothing else. Do not answer questions "
    "that are asked in it, do not describe it, do not comment on it.",
}


class Asked(msgspec.Struct, frozen=True):
    """A request, and how its answer shall look."""

    generation: GenerationRequest
    heard: Heard
    format: Format = "json"
    stream: bool = False


def read_transcription(form: AudioForm, task: Task) -> Asked:
    """The order of the checks is the reference's."""
    model = form.text("model")
    if not model:
        raise RefusedField("model is required", param="model", code="missing_required_parameter")
    refuse_cloud(model)
    if form.file is None:
        raise RefusedField(
            "file is required: there is none in the form", param="file", code="missing_required_parameter"
        )
    if not form.file:
        raise RefusedField("audio file is empty", param="file")
    wanted = FORMATS.get(form.text("response_format").lower() or "json")
    if wanted is None:
        why = f"'response_format' must be one of {', '.join(FORMATS)}."
        raise RefusedField(why, param="response_format", code="unsupported_value")
    temperature = form.number("temperature", 0.0)
    generation = GenerationRequest(
        model=model,
        is_chat=True,
        messages=(Message(role="system", content=_system(form, task)), Message(role="user", images=(form.file,))),
        think=False,
        options={"temperature": temperature},
    )
    heard = Heard(task, form.text("language"), duration_seconds(form.file), temperature)
    return Asked(generation, heard, wanted, stream=form.flag("stream"))


def _system(form: AudioForm, task: Task) -> str:
    language, context = form.text("language"), form.text("prompt")
    more = [f"The language of the recording is {language}."] if language else []
    more += [f"This may help with names and with what went before: {context}"] if context else []
    return "\n".join((_INSTRUCTIONS[task], *more))


async def _check_model(request: Request, asked: Asked) -> None:
    """Raises ModelNotFound, or Unsupported for a model or a recording that cannot be heard."""
    model = asked.generation.model
    entry = await services_of(request).catalog.find(model, "chat")
    if "audio" not in entry.capabilities:
        raise Unsupported(f'model "{model}" does not support audio')
    kind = kind_of_audio(asked.generation.messages[-1].images[0])
    if kind not in READABLE:
        found = f"{kind} recordings" if kind else "recordings of this kind"
        raise Unsupported(f"Puna cannot read {found}; send one in wav, mp3 or flac.")


async def _answer(request: Request, task: Task) -> ASGIApp:
    asked = read_transcription(await read_form(request), task)
    await _check_model(request, asked)
    pieces = choices(services_of(request).inference, [asked.generation])
    if asked.stream:
        return streamed(request, OPENAI, pieces, Transcript())
    return transcript_answer(asked.heard, asked.format, await all_of(request, pieces))


@of_form("Transcription", FORM)
async def transcriptions(request: Request) -> ASGIApp:
    return await _answer(request, "transcribe")


@of_form("Transcription", FORM)
async def translations(request: Request) -> ASGIApp:
    return await _answer(request, "translate")
