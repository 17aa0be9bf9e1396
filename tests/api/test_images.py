"""Pictures in every dialect, on a real model that sees."""

from __future__ import annotations

import base64
import pathlib
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.pictures import data_url, encoded, picture, silence
from tests.serve.installed import VISION, server_with_models

ASKED = "What colors are these images?"
STEADY = {"temperature": 0}
NO_PICTURE = base64.b64encode(b"these are words").decode()
SOUND = base64.b64encode(silence()).decode()


class Seeing:
    """Questions to the model that sees."""

    def __init__(self, client: httpx2.Client) -> None:
        self.client = client

    def post(self, path: str, **body: Any) -> httpx2.Response:
        return self.client.post(path, json={"model": "vision", "stream": False, **body})

    def native(self, path: str, **body: Any) -> dict[str, Any]:
        answer = self.post(path, options={**STEADY, **body.pop("options", {})}, **body)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def chat(self, *messages: dict[str, Any], **body: Any) -> dict[str, Any]:
        return self.native("/api/chat", messages=list(messages), **body)

    def wire(self, path: str, **body: Any) -> dict[str, Any]:
        answer = self.post(path, temperature=0, **body)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def openai(self, *parts: Any) -> dict[str, Any]:
        return self.wire("/v1/chat/completions", messages=[{"role": "user", "content": list(parts)}])

    def anthropic(self, *messages: dict[str, Any]) -> dict[str, Any]:
        return self.wire("/v1/messages", messages=list(messages), max_tokens=20)

    def responses(self, *items: dict[str, Any]) -> dict[str, Any]:
        return self.wire("/v1/responses", input=list(items))


@pytest.fixture(scope="module")
def seeing(models: pathlib.Path) -> Iterator[Seeing]:
    with (
        server_with_models(models, VISION) as running,
        httpx2.Client(base_url=running.base, trust_env=False, timeout=60) as client,
    ):
        yield Seeing(client)


def user(content: Any, *colors: str) -> dict[str, Any]:
    return {"role": "user", "content": content} | ({"images": [encoded(color) for color in colors]} if colors else {})


def text(words: str = ASKED) -> dict[str, Any]:
    return {"type": "text", "text": words}


def url(color: str, form: str = "png") -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": data_url(color, form)}}


def block(color: str) -> dict[str, Any]:
    source = {"type": "base64", "media_type": "image/png", "data": encoded(color)}
    return {"type": "image", "source": source}


# ---- Ollama's dialect ----------------------------------------------------------------------------------------------


def test_a_chat_about_a_picture(seeing: Seeing) -> None:
    """native-api 210"""
    answer = seeing.chat(user(ASKED, "red"))
    assert answer["message"]["content"] == "red"
    blind = seeing.chat(user(ASKED))
    assert blind["message"]["content"] == "nothing"
    assert answer["prompt_eval_count"] == blind["prompt_eval_count"] + 4


def test_the_order_of_pictures_is_that_of_their_places(seeing: Seeing) -> None:
    """native-api 132"""
    assert seeing.chat(user(ASKED, "red", "blue"))["message"]["content"] == "red, blue"
    asked = user("What color is the image?[img]", "red", "blue")  # the second one comes in front
    assert seeing.chat(asked)["message"]["content"] == "blue, red"
    shown = seeing.chat(asked, _debug_render_only=True)["_debug_info"]
    assert shown["image_count"] == 2
    assert "[img-1]What color is the image?[img-0]" in shown["rendered_template"]


def test_pictures_of_earlier_turns_are_still_seen(seeing: Seeing) -> None:
    first = user(ASKED, "green")
    said = seeing.chat(first)["message"]
    again = seeing.chat(first, said, user("How many images?"))
    assert again["message"]["content"] == "one"
    both = seeing.chat(first, said, user(ASKED, "white"))
    assert both["message"]["content"] == "green, white"


def test_a_marker_that_a_user_writes_is_no_picture(seeing: Seeing) -> None:
    assert seeing.chat(user("[img-0] How many images?"))["message"]["content"] == "none"
    assert seeing.chat(user("[img-0] How many images?", "red"))["message"]["content"] == "one"


@pytest.mark.parametrize("form", ["webp", "jpeg", "gif", "bmp"])
def test_forms_of_pictures(seeing: Seeing, form: str) -> None:
    """native-api 212, and compat-api 113, 114 to the end"""
    assert seeing.chat({**user(ASKED), "images": [encoded("blue", form)]})["message"]["content"] == "blue"
    assert seeing.openai(text(), url("blue", form))["choices"][0]["message"]["content"] == "blue"


def test_completions(seeing: Seeing) -> None:
    answer = seeing.native("/api/generate", prompt=ASKED, images=[encoded("blue")])
    assert answer["response"] == "blue"
    raw = f"<|im_start|>user\n[img-0]{ASKED}<|im_end|>\n<|im_start|>assistant\n"
    again = seeing.native("/api/generate", prompt=raw, images=[encoded("green")], raw=True)
    assert again["response"] == "green"
    own = "<|im_start|>user\n{{ .Prompt }}<|im_end|>\n<|im_start|>assistant\n"
    again = seeing.native("/api/generate", prompt=ASKED, images=[encoded("green")], template=own)
    assert again["response"] == "green"


def test_a_picture_holds_up_no_unloading(seeing: Seeing) -> None:
    """native-api 73: whatever else comes with an empty prompt that ends the model's stay."""
    answer = seeing.native("/api/generate", prompt="", images=[encoded("red")], keep_alive=0)
    assert (answer["done_reason"], answer["response"]) == ("unload", "")
    assert seeing.native("/api/generate", prompt="", images=[encoded("red")])["response"] == "red"


def test_a_context_holds_the_marker_of_a_picture(seeing: Seeing) -> None:
    said = seeing.native("/api/generate", prompt=ASKED, images=[encoded("blue")])
    body = {"prompt": "How many images?", "context": said["context"], "_debug_render_only": True}
    shown = seeing.native("/api/generate", **body)["_debug_info"]["rendered_template"]
    assert "[img-0]" in shown
    assert shown.index("[img-0]") < shown.index("blue")
    more = seeing.native("/api/generate", prompt=ASKED, context=said["context"], images=[encoded("green")])
    assert more["response"] == "green"  # the picture is where it was sent, not where an earlier one has been


def test_the_oldest_pictures_go_when_there_is_no_room(seeing: Seeing) -> None:
    """native-api 8.3: each counts as 768 tokens, and a model that sees has 2048 at least"""
    turns = [user("Here", color) for color in ("red", "green")]
    answer = seeing.chat(*turns, user(ASKED, "blue"), options={"num_ctx": 2048})
    assert answer["message"]["content"] == "green, blue"
    whole = seeing.chat(*turns, user(ASKED, "blue"), options={"num_ctx": 2048}, truncate=False)
    assert whole["message"]["content"] == "red, green, blue"


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate"])
@pytest.mark.parametrize(("data", "kind", "ability"), [(encoded("red"), "image", "vision"), (SOUND, "audio", "audio")])
def test_models_that_read_text_alone(seeing: Seeing, path: str, data: str, kind: str, ability: str) -> None:
    """native-api 211: before anything is loaded"""
    body = (
        {"prompt": "x", "images": [data]} if path == "/api/generate" else {"messages": [user("x") | {"images": [data]}]}
    )
    answer = seeing.post(path, model="bare", **body)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(f"{kind} input is not supported")
    assert f"capabilities list {ability}" in answer.json()["error"]
    assert "bare:latest" not in [model["name"] for model in seeing.client.get("/api/ps").json()["models"]]


def test_what_is_known_of_a_model_that_sees(seeing: Seeing) -> None:
    """native-api 255"""
    shown = seeing.client.post("/api/show", json={"model": "vision"}).json()
    assert shown["projector_info"]["general.architecture"] == "clip"
    assert shown["projector_info"]["clip.has_vision_encoder"] is True
    assert "vision" in shown["capabilities"]
    assert "audio" not in shown["capabilities"]
    tags = {model["name"]: model for model in seeing.client.get("/api/tags").json()["models"]}
    assert "vision" in tags["vision:latest"]["capabilities"]
    assert "vision" not in tags["m:latest"]["capabilities"]
    assert "projector_info" not in seeing.client.post("/api/show", json={"model": "m"}).json()
    props = seeing.client.get("/props", params={"model": "vision"}).json()
    assert props["modalities"] == {"vision": True, "audio": False, "video": False}


def test_pictures_that_a_model_brings(seeing: Seeing) -> None:
    """native-api 8.2: in the messages that are stored in it"""
    stored = [user("Here", "red"), {"role": "assistant", "content": "red"}]
    made = seeing.client.post(
        "/api/create", json={"model": "told", "from": "vision", "messages": stored, "stream": False}
    )
    assert made.json() == {"status": "success"}
    assert seeing.chat(user(ASKED, "blue"), model="told")["message"]["content"] == "red, blue"


# ---- the dialects under /v1 ----------------------------------------------------------------------------------------


def test_openai(seeing: Seeing) -> None:
    """compat-api 102, 112"""
    answer = seeing.openai(
        text("What"), url("red"), text("colors?"), {"type": "image_url", "image_url": data_url("blue")}
    )
    assert answer["choices"][0]["message"]["content"] == "red, blue"
    blind = seeing.openai(text("What"), text("colors?"))
    assert answer["usage"]["prompt_tokens"] == blind["usage"]["prompt_tokens"] + 8


def test_responses(seeing: Seeing) -> None:
    """compat-api 229, 233"""
    image = {"type": "input_image", "image_url": data_url("green"), "detail": "auto"}
    asked = {"role": "user", "content": [{"type": "input_text", "text": ASKED}, image]}
    answer = seeing.responses(asked)
    assert answer["output"][-1]["content"][0]["text"] == "green"
    assert answer["usage"]["input_tokens"] == seeing.chat(user(ASKED, "green"))["prompt_eval_count"]
    called = {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"}
    result = {"type": "function_call_output", "call_id": "c", "output": [image]}
    more = seeing.responses({"role": "user", "content": "Look"}, called, result, {"role": "user", "content": ASKED})
    assert more["output"][-1]["content"][0]["text"] == "green"


def test_anthropic(seeing: Seeing) -> None:
    """compat-api 279, 282"""
    answer = seeing.anthropic(user([block("blue"), text()]))
    assert answer["content"][0]["text"] == "blue"
    assert answer["usage"]["input_tokens"] > 0
    used = {"type": "tool_use", "id": "t", "name": "look", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": [block("red")]}
    more = seeing.anthropic(user("Look"), {"role": "assistant", "content": [used]}, user([result, text()]))
    assert more["content"][0]["text"] == "red"


def test_counting_a_picture(seeing: Seeing) -> None:
    """compat-api 319: what the projector makes of it, as the answer counts it"""

    def count(*parts: dict[str, Any]) -> int:
        counted = seeing.wire("/v1/messages/count_tokens", messages=[user(list(parts))])
        found: int = counted["input_tokens"]
        return found

    assert count(block("red"), block("blue"), text()) == count(block("red"), text()) + 4 == count(text()) + 8
    answer = seeing.chat(user(ASKED, "red"))
    assert count(block("red"), text()) == answer["prompt_eval_count"]


def test_a_streamed_answer(seeing: Seeing) -> None:
    body = {"model": "vision", "stream": True, "temperature": 0, "messages": [user([text(), url("red"), url("green")])]}
    with seeing.client.stream("POST", "/v1/chat/completions", json=body) as answer:
        lines = [line for line in answer.iter_lines() if line.startswith("data: {")]
    assert "red" in "".join(lines)
    assert "green" in "".join(lines)


def _bodies(data: str) -> dict[str, dict[str, Any]]:
    """The same in every dialect."""
    source = {"type": "base64", "media_type": "image/png", "data": data}
    at = f"data:image/png;base64,{data}"
    return {
        "/api/chat": {"messages": [user("x") | {"images": [data]}]},
        "/api/generate": {"prompt": "x", "images": [data]},
        "/v1/chat/completions": {"messages": [user([{"type": "image_url", "image_url": at}])]},
        "/v1/responses": {"input": [user([{"type": "input_image", "image_url": at}])]},
        "/v1/messages": {"messages": [user([{"type": "image", "source": source}])], "max_tokens": 10},
        "/v1/messages/count_tokens": {"messages": [user([{"type": "image", "source": source}])]},
        "/v1/chat/completions/input_tokens": {"messages": [user([{"type": "image_url", "image_url": at}])]},
        "/v1/responses/input_tokens": {"input": [user([{"type": "input_image", "image_url": at}])]},
    }


def _words(answer: httpx2.Response) -> str:
    """The sentence of an error, in the shape of its dialect."""
    error = answer.json()["error"]
    if answer.request.url.path.startswith("/api/"):
        assert isinstance(error, str)
        return error
    assert error["type"] == "invalid_request_error"
    words: str = error["message"]
    return words


@pytest.mark.parametrize("path", _bodies(""))
@pytest.mark.parametrize("stream", [False, True])
def test_bytes_that_are_no_picture(seeing: Seeing, path: str, stream: bool) -> None:
    answer = seeing.post(path, **_bodies(NO_PICTURE)[path], stream=stream)
    assert answer.status_code == 400, answer.text
    assert "could not be read" in _words(answer)
    assert seeing.chat(user(ASKED, "red"))["message"]["content"] == "red"  # nothing else was harmed


@pytest.mark.parametrize("path", [path for path in _bodies("") if path.startswith("/v1/")])
def test_what_is_refused_under_v1(seeing: Seeing, path: str) -> None:
    """compat-api 117 (D33, D44)"""
    answer = seeing.post(path, **_bodies(encoded("red"))[path] | {"model": "m"})
    assert (answer.status_code, _words(answer)) == (400, 'model "m" does not support images')
    answer = seeing.post(path, **_bodies(SOUND)[path])
    assert (answer.status_code, _words(answer)) == (400, 'model "vision" does not support audio')


def test_a_recording_for_a_model_that_does_not_hear(seeing: Seeing) -> None:
    """compat-api 326"""
    part = {"type": "input_audio", "input_audio": {"data": SOUND, "format": "wav"}}
    answer = seeing.post("/v1/chat/completions", messages=[user([part, text("x")])])
    assert (answer.status_code, _words(answer)) == (400, 'model "vision" does not support audio')
    form = {"file": ("a.wav", silence(), "audio/wav")}
    answer = seeing.client.post("/v1/audio/transcriptions", data={"model": "vision"}, files=form)
    assert (answer.status_code, _words(answer)) == (400, 'model "vision" does not support audio')


def test_a_prompt_is_shown_whatever_its_pictures_are(seeing: Seeing) -> None:
    """native-api 131"""
    broken = user("x") | {"images": [NO_PICTURE]}
    shown = seeing.chat(broken, user("y") | {"images": [SOUND]}, _debug_render_only=True)["_debug_info"]
    assert shown["image_count"] == 2
    assert "[img-0]x" in shown["rendered_template"]
    assert "[img-1]y" in shown["rendered_template"]


def test_a_prompt_with_pictures_that_is_too_long(seeing: Seeing) -> None:
    """native-api 8.5: nothing of it is left out unseen"""
    answer = seeing.post("/api/chat", messages=[user("a b c " * 2000, "red")], options={"num_ctx": 2048})
    assert answer.status_code == 400
    assert "context" in answer.json()["error"]


def test_large_pictures(seeing: Seeing) -> None:
    large = base64.b64encode(picture("green", "jpeg", (3000, 2000))).decode()
    assert seeing.chat(user(ASKED) | {"images": [large]})["message"]["content"] == "green"
