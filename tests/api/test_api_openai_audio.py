"""Transcriptions (compat-api 11, 322-328): the form, the recording, and every form of the answer."""

from __future__ import annotations

import json
import struct
from collections.abc import AsyncGenerator
from typing import Any

import anyio
import httpx2
import pytest

from server.api.audio_media import duration_seconds, kind_of_audio
from server.errors import InvalidAnswer, ModelNotFound
from server.messages.chat import Chunk, GenerationRequest
from tests.api.conftest import Connect, Server
from tests.api.openai_scripts import USAGE, events, script

pytestmark = pytest.mark.anyio

PATH = "/v1/audio/transcriptions"
SAID = (Chunk(text=" Good "), Chunk(text=" "), Chunk(text="morning.\n"), Chunk(done=True, reason="stop", usage=USAGE))


def wav(seconds: float = 1.5, rate: int = 8000) -> bytes:
    """Silence in 8 bits; a chunk that says nothing stands before the sound."""
    sound = b"\x80" * int(seconds * rate)
    form = b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, rate, rate, 1, 8)
    chunks = form + b"LIST" + struct.pack("<I", 3) + b"abc\0" + b"data" + struct.pack("<I", len(sound)) + sound
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


class _Known:
    """A catalog of one model that can hear and one that cannot."""

    class _Entry:
        def __init__(self, *capabilities: str) -> None:
            self.capabilities = capabilities

    async def find(self, raw: str, endpoint: Any) -> Any:
        if raw == "audio":
            return self._Entry("completion", "audio")
        if raw == "chat":
            return self._Entry("completion")
        raise ModelNotFound(f"model '{raw}' not found")


@pytest.fixture
def hearing(server: Server) -> Server:
    server.app.state.services = type(server.services)(**{**vars(server.services), "catalog": _Known()})
    server.inference.script = script(*SAID)
    return server


async def send(server: Server, path: str = PATH, file: bytes | None = None, **fields: str) -> httpx2.Response:
    files = {"file": ("a.wav", wav() if file is None else file)}
    return await server.client.post(path, data={"model": "audio", **fields}, files=files)


# ---- answers -------------------------------------------------------------------------------------------------------


async def test_the_words_are_answered(hearing: Server) -> None:
    """compat-api 11, 322"""
    for path in (PATH, "/audio/transcriptions", f"{PATH}/"):
        answer = await send(hearing, path)
        assert answer.headers["content-type"] == "application/json"
        assert answer.json() == {"text": "Good  morning."}
    answer = await send(hearing, response_format="text")
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.text == "Good  morning.\n"


async def test_longer_forms_of_the_answer(hearing: Server) -> None:
    """compat-api 323"""
    told = (await send(hearing, response_format="verbose_json", language="de")).json()
    assert (told["task"], told["language"], told["duration"], told["text"]) == (
        "transcribe",
        "de",
        1.5,
        "Good  morning.",
    )
    assert [(part["start"], part["end"], part["text"]) for part in told["segments"]] == [(0, 1.5, "Good  morning.")]
    srt = await send(hearing, response_format="srt")
    assert srt.text == "1\n00:00:00,000 --> 00:00:01,500\nGood  morning.\n\n"
    vtt = await send(hearing, response_format="vtt")
    assert vtt.text == "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nGood  morning.\n\n"
    translated = await send(hearing, "/v1/audio/translations", response_format="verbose_json")
    assert translated.json()["task"] == "translate"


async def test_a_transcript_in_pieces(hearing: Server) -> None:
    """compat-api 328"""
    *deltas, last = events(await send(hearing, stream="true"))
    assert {event["type"] for event in deltas} == {"transcript.text.delta"}
    assert "".join(event["delta"] for event in deltas) == last["text"] == "Good  morning."
    assert last["type"] == "transcript.text.done"
    assert last["usage"] == {"type": "tokens", "input_tokens": 9, "output_tokens": 3, "total_tokens": 12}


async def test_a_stream_that_fails_says_so(hearing: Server) -> None:
    hearing.inference.script = script(Chunk(text="Good"), error=InvalidAnswer("engine died"))
    answer = await send(hearing, stream="true")
    assert '"error":{"message":"engine died"' in answer.text
    hearing.inference.script = script(error=InvalidAnswer("engine died"))
    answer = await send(hearing, stream="true")
    assert (answer.status_code, answer.json()["error"]["message"]) == (500, "engine died")


async def test_what_the_model_is_asked(hearing: Server) -> None:
    """compat-api 327"""
    await send(hearing, language="de", prompt="names: Zoë", temperature="")
    await send(hearing, "/v1/audio/translations", temperature="0.4")
    plain, translated = hearing.inference.asked
    system, user = plain.messages
    assert system.role == "system"
    assert "de" in system.content
    assert "names: Zoë" in system.content
    assert (user.role, user.images) == ("user", (wav(),))
    assert (plain.options, plain.think) == ({"temperature": 0.0}, False)
    assert "English" in translated.messages[0].content
    assert translated.options == {"temperature": 0.4}


# ---- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "file", "status", "words"),
    [
        ({"model": ""}, None, 400, "model is required"),
        ({}, b"", 400, "audio file is empty"),
        ({"response_format": "xml"}, None, 400, "'response_format' must be one of json, text"),
        ({"temperature": "warm"}, None, 400, "'temperature' must be a number"),
        ({"model": "nope"}, None, 404, "model 'nope' not found"),
        ({"model": "nope:cloud"}, None, 404, "model 'nope:cloud' not found"),
        ({"model": "chat"}, None, 400, 'model "chat" does not support audio'),
        ({}, b"OggS" + b"\0" * 50, 400, "cannot read ogg recordings; send one in wav, mp3 or flac"),
        ({}, b"hello world", 400, "cannot read recordings of this kind"),
        ({}, wav(1, 26 << 20), 413, "larger than 25 MiB"),
        ({"prompt": "x" * (1 << 20) + "x"}, None, 400, "failed to parse multipart form"),
    ],
)  # fmt: skip
async def test_refusals(hearing: Server, fields: dict[str, str], file: bytes | None, status: int, words: str) -> None:
    """compat-api 323, 324, 326"""
    answer = await send(hearing, file=file, **fields)
    error = answer.json()["error"]
    assert answer.status_code == status
    assert words in error["message"]
    assert set(error) == {"message", "type", "param", "code"}
    assert not hearing.inference.asked


@pytest.mark.parametrize(
    ("content", "content_type", "words"),
    [
        (b'{"model":"audio"}', "application/json", "failed to parse multipart form"),
        (b"", "", "failed to parse multipart form"),
        (b"--B--\r\n", "multipart/form-data", "failed to parse multipart form"),
        (b"nonsense", "multipart/form-data; boundary=B", "failed to parse multipart form"),
        (b"--B\r\n\r\nx", "multipart/form-data; boundary=B", "failed to parse multipart form"),
        (b'--B\r\nContent-Disposition: form-data; name="model"\r\n\r\naudio\r\n--B--\r\n',
         "multipart/form-data; boundary=B", "file is required"),
        (b'--B\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nRIFF\r\n--B--\r\n',
         "multipart/form-data; boundary=B", "model is required"),
    ],
)  # fmt: skip
async def test_forms_that_are_none(hearing: Server, content: bytes, content_type: str, words: str) -> None:
    """compat-api 324, 325"""
    answer = await hearing.client.post(PATH, content=content, headers={"content-type": content_type})
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")
    assert words in answer.json()["error"]["message"]


async def test_a_client_that_leaves_while_it_sends(hearing: Server, connect: Connect) -> None:
    connection = connect(hearing, PATH, b"")
    connection.headers = [(b"content-type", b"multipart/form-data; boundary=B")]
    connection.cut(b"--B\r\n")
    with anyio.fail_after(5):
        await connection.run()
    assert not hearing.inference.asked


async def test_a_client_that_leaves_while_it_waits(hearing: Server, connect: Connect) -> None:
    async def endless(_: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        await anyio.sleep_forever()
        yield Chunk()

    hearing.inference.script = endless
    request = hearing.client.build_request("POST", PATH, data={"model": "audio"}, files={"file": ("a.wav", wav())})
    connection = connect(hearing, PATH, await request.aread())
    connection.headers = [(b"content-type", request.headers["content-type"].encode())]
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(connection.run)
            while not hearing.inference.asked:
                await anyio.lowlevel.checkpoint()
            connection.leave()
    assert hearing.inference.closed == 1


# ---- recordings ----------------------------------------------------------------------------------------------------


def _flac(seconds: int, rate: int = 16000) -> bytes:
    info = (rate << 44 | 1 << 36 | seconds * rate).to_bytes(8, "big")
    return b"fLaC\x80\0\0\x22" + b"\0" * 10 + info + b"\0" * 16


_MP3_FRAME = b"\xff\xfb\x90\x00" + b"\0" * (144 * 128000 // 44100 - 4)  # MPEG 1 layer III, 128 kbit/s, 44.1 kHz
_MPEG2_FRAME = b"\xff\xf3\x80\x00" + b"\0" * (72 * 64000 // 22050 - 4)


@pytest.mark.parametrize(
    ("data", "kind", "seconds"),
    [
        (wav(0.5), "wav", 0.5),
        (wav(2)[:-8000], "wav", 1.0),
        (wav()[:30], "wav", 0.0),
        (_flac(3), "flac", 3.0),
        (_flac(3)[:20], "flac", 0.0),
        (_MP3_FRAME * 100, "mp3", 100 * 1152 / 44100),
        (b"ID3\4\0\0\0\0\0\x05abcde" + _MP3_FRAME * 10, "mp3", 10 * 1152 / 44100),
        (_MPEG2_FRAME * 10, "mp3", 10 * 576 / 22050),
        (b"\xff\xff\xff\xff" * 9, "mp3", 0.0),
        (b"ID3", "mp3", 0.0),
        (b"\0\0\0\x20ftypM4A ", "m4a", 0.0),
        (b"\x1a\x45\xdf\xa3", "webm", 0.0),
        (b"", "", 0.0),
    ],
)  # fmt: skip
async def test_kinds_and_lengths(data: bytes, kind: str, seconds: float) -> None:
    """compat-api 118, 323"""
    assert kind_of_audio(data) == kind
    assert duration_seconds(data) == pytest.approx(seconds)


async def test_the_form_is_described(server: Server) -> None:
    document = (await server.client.get("/openapi.json")).json()
    body = document["paths"][PATH]["post"]["requestBody"]["content"]
    assert json.dumps(body) == '{"multipart/form-data": {"schema": {"$ref": "#/components/schemas/Transcription"}}}'
