"""Sounds in every dialect, on models of random weights that hear: what they say is nonsense, but it is theirs."""

from __future__ import annotations

import base64
import pathlib
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.models.make import projectors
from tests.pictures import encoded, silence
from tests.serve.installed import server_with_models

SOUND = base64.b64encode(silence()).decode()
KINDS = ("ultravox", "omni")  # the second one sees as well


@pytest.fixture(scope="module")
def hearing(models: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    folder = tmp_path_factory.mktemp("hearing")
    for file in ("scripted.gguf", "bare.gguf"):
        (folder / file).symlink_to(models / file)
    made = [(kind, *(file.name for file in projectors.write(folder, kind))) for kind in KINDS]
    with (
        server_with_models(folder, *made) as running,
        httpx2.Client(base_url=running.base, trust_env=False, timeout=60) as client,
    ):
        yield client


def chat(client: httpx2.Client, model: str, *images: str, **body: Any) -> httpx2.Response:
    message = {"role": "user", "content": "Hi", "images": list(images)}
    body = {"stream": False, "options": {"temperature": 0, "num_predict": 4, "num_ctx": 2048}, **body}
    return client.post("/api/chat", json={"model": model, "messages": [message], **body})


def sound_part() -> dict[str, Any]:
    return {"type": "input_audio", "input_audio": {"data": SOUND, "format": "mp3"}}


@pytest.mark.parametrize("kind", KINDS)
def test_sounds_travel_as_images_do(hearing: httpx2.Client, kind: str) -> None:
    """native-api 3.6: their first bytes tell them apart"""
    heard, silent = (chat(hearing, kind, *sounds) for sounds in ((SOUND,), ()))
    assert heard.status_code == silent.status_code == 200, heard.text
    assert heard.json()["prompt_eval_count"] > silent.json()["prompt_eval_count"] + 1


def test_abilities(hearing: httpx2.Client) -> None:
    """compat-api 14.4: a model that only hears does not claim to see"""
    shown = {kind: hearing.post("/api/show", json={"model": kind}).json()["capabilities"] for kind in KINDS}
    assert {kind: sorted({"vision", "audio"} & set(can)) for kind, can in shown.items()} == {
        "ultravox": ["audio"],
        "omni": ["audio", "vision"],
    }
    assert "completion" in shown["ultravox"]


def test_a_picture_for_a_model_that_only_hears(hearing: httpx2.Client) -> None:
    refused = chat(hearing, "ultravox", encoded("red"))
    assert refused.status_code == 400
    assert refused.json()["error"].startswith("image input is not supported")
    assert chat(hearing, "omni", encoded("red"), SOUND).status_code == 200


def test_openai(hearing: httpx2.Client) -> None:
    """compat-api 118"""
    body = {"model": "ultravox", "max_tokens": 4, "temperature": 0}
    content = [{"type": "text", "text": "Hi"}, sound_part()]
    answer = hearing.post("/v1/chat/completions", json={**body, "messages": [{"role": "user", "content": content}]})
    assert answer.status_code == 200, answer.text
    assert answer.json()["usage"]["prompt_tokens"] == chat(hearing, "ultravox", SOUND).json()["prompt_eval_count"]
    image = {"type": "image_url", "image_url": f"data:image/png;base64,{encoded('red')}"}
    answer = hearing.post("/v1/chat/completions", json={**body, "messages": [{"role": "user", "content": [image]}]})
    assert (answer.status_code, answer.json()["error"]["message"]) == (
        400,
        'model "ultravox" does not support images',
    )


def transcribed(client: httpx2.Client, sound: bytes, **fields: str) -> httpx2.Response:
    form = {"model": "ultravox", **fields}
    return client.post("/v1/audio/transcriptions", data=form, files={"file": ("a.wav", sound, "audio/wav")})


@pytest.mark.parametrize("form", ["json", "text", "verbose_json", "srt", "vtt"])
def test_transcriptions(hearing: httpx2.Client, form: str) -> None:
    """compat-api 322, 323"""
    answer = transcribed(hearing, silence(), response_format=form, language="en", prompt="Ada")
    assert answer.status_code == 200, answer.text
    if form.endswith("json"):
        text = answer.json()["text"]
        assert text == text.strip()
    if form == "verbose_json":
        assert answer.json()["duration"] == pytest.approx(0.1)


def test_a_streamed_transcription(hearing: httpx2.Client) -> None:
    answer = transcribed(hearing, silence(), stream="true")
    assert answer.status_code == 200
    assert '"type":"transcript.text.done"' in answer.text
    assert '"input_tokens":' in answer.text


@pytest.mark.parametrize(
    "sound", [silence(0), silence(1), silence(399), silence()[:20], b"fLaC" + bytes(100), b"ID3" + bytes(100)]
)
def test_a_recording_that_cannot_be_read(hearing: httpx2.Client, sound: bytes) -> None:
    """Nobody else's answer ends with it."""
    refused = transcribed(hearing, sound)
    assert refused.status_code == 400, refused.text
    assert refused.json()["error"]["type"] == "invalid_request_error"
    assert "sound" in refused.json()["error"]["message"]
    refused = chat(hearing, "ultravox", base64.b64encode(sound).decode())
    assert refused.status_code == 400, refused.text
    assert chat(hearing, "ultravox", base64.b64encode(silence(400)).decode()).status_code == 200
