"""Checks of the native API that no recording holds, against a real server."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.golden.server import RunningServer
from tests.serve.installed import server_with_models

PIXEL = "aGk="
STORED = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}]
TEMPLATE = "{{ range .Messages }}<{{ .Role }}>{{ .Content }}{{ end }}"
THINKER = "{{ range .Messages }}{{ if .Thinking }}<think>{{ .Thinking }}</think>{{ end }}{{ .Content }}{{ end }}"
SKY = "The sky is blue because of Rayleigh scattering."


class Native:
    """Requests that are answered whole."""

    def __init__(self, server: RunningServer) -> None:
        self.server = server
        self._client = httpx2.Client(base_url=server.base, trust_env=False, timeout=60)

    def post(self, path: str, **body: Any) -> httpx2.Response:
        return self._client.post(path, json={"stream": False, **body})

    def rendered(self, path: str, **body: Any) -> dict[str, Any]:
        answer = self.post(path, _debug_render_only=True, **body)
        assert answer.status_code == 200, answer.text
        info: dict[str, Any] = answer.json()["_debug_info"]
        return info

    def close(self) -> None:
        self._client.close()


@pytest.fixture(scope="module")
def native(models: pathlib.Path) -> Iterator[Native]:
    with server_with_models(models, ("e", "embedding.gguf")) as server:
        native = Native(server)
        for name, fields in {
            "plain": {"template": "{{ .Prompt }}"},
            "told": {"template": TEMPLATE, "system": "Rules.", "messages": STORED},
            "thinker": {"template": THINKER},
        }.items():
            assert native.post("/api/create", model=name, **{"from": "bare", **fields}).status_code == 200
        yield native
        native.close()


@pytest.mark.parametrize(
    "name",
    ["a b", "-x", "m:", ":t", "a/b/c/d", "../x", "m@sha256:aa", "a//b", "/m", "m::t", "n.s/m", "x" * 81, "é", "m:t:u",
     "a/b/", "host/", "@", "m:" + "t" * 81, "m\n/x"],
)  # fmt: skip
def test_names_that_are_none(native: Native, name: str) -> None:
    """native-api 61"""
    for path in ("/api/generate", "/api/chat", "/api/embed", "/api/embeddings", "/api/show"):
        answer = native.post(path, model=name)
        assert (answer.status_code, answer.json()) == (400, {"error": "invalid model name"})


def test_an_unknown_name_is_told_in_the_spelling_of_what_is_installed(native: Native) -> None:
    """native-api 62 to 64"""
    for path, sentence in {
        "/api/generate": "model 'M:Nosuch' not found",
        "/api/chat": "model 'M:Nosuch' not found",
        "/api/embed": 'model "M:Nosuch" not found, try pulling it first',
        "/api/embeddings": 'model "M:Nosuch" not found, try pulling it first',
        "/api/show": "model 'm:Nosuch' not found",
    }.items():
        answer = native.post(path, model="M:Nosuch")
        assert (answer.status_code, answer.json()) == (404, {"error": sentence})


def test_an_embedding_model_is_unloaded_by_generate(native: Native) -> None:
    """native-api 77: no complaint about what it cannot do"""
    assert native.post("/api/embed", model="e", input="SKY").status_code == 200
    answer = native.post("/api/generate", model="e", keep_alive=0)
    assert (answer.status_code, answer.json()["done_reason"]) == (200, "unload")


@pytest.mark.parametrize(
    "options",
    [
        {"bogus": 1, "numa": False, "penalize_newline": True, "mirostat": 2},
        {"top_k": 20.9, "temperature": None, "num_predict": 90.9},
        {"seed": 2**63 - 1},
        {"seed": -5, "top_k": -9, "num_keep": -7, "num_thread": -3, "num_batch": 0},
        {"repeat_last_n": -1, "typical_p": 0, "min_p": -1, "top_p": 5, "temperature": -1},
        {"stop": [""]},
        {"presence_penalty": 1e30, "frequency_penalty": -1e30, "repeat_penalty": 0},
    ],
)
def test_options_at_the_edge_are_accepted(native: Native, options: dict[str, Any]) -> None:
    """native-api 98, 104, 105"""
    answer = native.post("/api/generate", model="plain", prompt="SKY", options=options)
    assert (answer.status_code, answer.json()["response"]) == (200, SKY)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"temperature": "hot"}, 'option "temperature" must be of type float32'),
        ({"num_ctx": "4096"}, 'option "num_ctx" must be of type integer'),
        ({"stop": "x"}, 'option "stop" must be of type array'),
        ({"stop": [1]}, 'option "stop" must be of an array of strings'),
        ({"use_mmap": "yes"}, 'option "use_mmap" must be of type boolean'),
    ],
)
def test_options_of_a_wrong_type(native: Native, options: dict[str, Any], sentence: str) -> None:
    """native-api 99 to 103, runtime 71: the words of the reference, and the status of a client's mistake"""
    for path, body in {"/api/generate": {"prompt": "SKY"}, "/api/chat": {"messages": [{"content": "SKY"}]}}.items():
        for stream in (False, True):
            answer = native.post(path, model="plain", options=options, stream=stream, **body)
            assert (answer.status_code, answer.json()) == (400, {"error": sentence})


def test_a_template_that_does_not_parse(native: Native) -> None:
    """native-api 126"""
    answer = native.post("/api/generate", model="plain", prompt="SKY", template="{{ .Bad")
    assert (answer.status_code, answer.json()) == (400, {"error": "template: :1: unclosed action"})


def test_a_model_that_cannot_think_is_not_asked_to(native: Native) -> None:
    """native-api 137, 138, runtime 95"""
    for path, body in {"/api/generate": {"prompt": "SKY"}, "/api/chat": {"messages": [{"content": "SKY"}]}}.items():
        answer = native.post(path, model="PLAIN", think=True, **body)
        assert (answer.status_code, answer.json()) == (400, {"error": '"PLAIN" does not support thinking'})
        assert native.post(path, model="plain", think=False, **body).status_code == 200


def test_context_takes_the_place_of_stored_messages(native: Native) -> None:
    """native-api 129"""
    said = native.post("/api/generate", model="plain", prompt="SKY").json()["context"]
    text = native.rendered("/api/generate", model="told", prompt="next", context=said)["rendered_template"]
    assert text == f"SKY{SKY}<system>Rules.<user>next"
    text = native.rendered("/api/generate", model="told", prompt="next", context=[])["rendered_template"]
    assert text == "<system>Rules.<user>one<assistant>two<user>next"


def test_images_have_their_marks_in_the_prompt(native: Native) -> None:
    """native-api 131, 132"""
    images = [PIXEL, PIXEL]
    shown = native.rendered("/api/generate", model="told", prompt="look [img] here", images=images)
    assert shown["image_count"] == 2
    assert shown["rendered_template"].endswith("<user>[img-1]look [img-0] here")
    assert "image_count" not in native.rendered("/api/generate", model="told", prompt="look")


@pytest.mark.parametrize("model", ["m", "told"])
def test_an_image_for_a_model_that_reads_text(native: Native, model: str) -> None:
    """native-api 211"""
    answer = native.post("/api/chat", model=model, messages=[{"role": "user", "content": "x", "images": [PIXEL]}])
    assert answer.status_code == 400
    assert "image input is not supported" in answer.json()["error"]


def test_an_answer_without_an_end_is_ended(native: Native) -> None:
    """native-api 165 to 167, 213, runtime 74: past the context, with repetitions, and with a last object"""
    asked = {"model": "plain", "prompt": "LOOP"}
    answer = native.post("/api/generate", **asked, options={"num_ctx": 32}).json()
    assert (answer["done"], answer["done_reason"], answer["eval_count"]) == (True, "length", 320)
    answer = native.post("/api/generate", **asked, options={"num_ctx": 32}, shift=False).json()
    assert (answer["done_reason"], answer["eval_count"] < 32) == ("length", True)


def test_a_long_history_loses_its_oldest_messages_and_says_how_many(native: Native) -> None:
    """native-api 176, 177"""
    middle = [{"role": ("user", "assistant")[at % 2], "content": f"turn {at} " * 10} for at in range(40)]
    system = [{"role": "system", "content": "FIRST"}, {"role": "system", "content": "SECOND"}]
    messages = [system[0], *middle, system[1], {"role": "user", "content": "last"}]
    asked = {"model": "told", "messages": messages, "options": {"num_ctx": 400}}
    answer = native.post("/api/chat", **asked, _debug_render_only=True)
    text = answer.json()["_debug_info"]["rendered_template"]
    assert int(answer.headers["x-puna-dropped-messages"]) > 20
    assert "turn 0 " not in text
    assert text.index("FIRST") < text.index("turn 39 ") < text.index("last")
    assert "SECOND" in text
    assert "turn 0 " in native.rendered("/api/chat", **asked, truncate=False)["rendered_template"]


def test_a_single_message_that_is_too_long_for_the_model_s_own_template(native: Native) -> None:
    """native-api 179"""
    messages = [{"role": "user", "content": "x" * 400}]
    for stream in (False, True):
        answer = native.post("/api/chat", model="m", messages=messages, options={"num_ctx": 64}, stream=stream)
        assert answer.status_code == 400
        assert "exceeds the available context size (64 tokens)" in answer.json()["error"]


def test_what_models_can(native: Native) -> None:
    """native-api 256"""
    assert native.post("/api/show", model="e").json()["capabilities"] == ["embedding"]
    listed = httpx2.get(native.server.base + "/api/tags", trust_env=False).json()["models"]
    assert {"embedding"} == {word for entry in listed if entry["name"] == "e:latest" for word in entry["capabilities"]}


def test_an_unknown_parameter_is_kept(native: Native) -> None:
    """native-api 281"""
    made = native.post("/api/create", model="odd", **{"from": "bare"}, parameters={"bogus": 1})
    assert (made.status_code, made.json()) == (200, {"status": "success"})
    assert "bogus" in native.post("/api/show", model="odd").json()["parameters"]


def test_what_is_not_here_is_not_pushed(native: Native) -> None:
    """native-api 289, 290: told at once and with a status, where the reference begins to stream"""
    for stream in (False, True):
        answer = native.post("/api/push", model="me/nowhere", stream=stream)
        assert (answer.status_code, answer.json()) == (404, {"error": "model 'me/nowhere' not found"})


@pytest.mark.parametrize("think", [True, None, "low", "medium", "high", "max"])
def test_thinking_by_default_and_by_level(native: Native, think: Any) -> None:
    """native-api 200, 202, 203"""
    answer = native.post("/api/chat", model="thinker", messages=[{"role": "user", "content": "THINK"}], think=think)
    message = answer.json()["message"]
    assert (message["thinking"].strip(), message["content"].strip()) == ("The user asks why.", "It scatters!")


@pytest.mark.parametrize("text", ["{nope", "", "[]", "null", '{"layers":5}'])
def test_a_damaged_manifest(native: Native, text: str) -> None:
    """native-api 240"""
    folder = native.server.home / "models" / "manifests" / "registry.ollama.ai" / "library" / "damaged"
    folder.mkdir(exist_ok=True)
    (folder / "latest").write_text(text)
    for path, body in {"/api/generate": {"prompt": "x"}, "/api/chat": {"messages": [{}]}, "/api/show": {}}.items():
        answer = native.post(path, model="damaged", **body)
        assert (answer.status_code, list(answer.json())) == (500, ["error"])
    listed = httpx2.get(native.server.base + "/api/tags", trust_env=False).json()["models"]
    assert "damaged:latest" not in [entry["name"] for entry in listed]


def test_statistics_are_whole(native: Native) -> None:
    """native-api 117, 121, 122"""
    first, second = (native.post("/api/generate", model="plain", prompt="SKY").json() for _ in range(2))
    assert first["prompt_eval_count"] == second["prompt_eval_count"]
    for answer in (first, second):
        parts = ("load_duration", "prompt_eval_duration", "eval_duration", "eval_count", "prompt_eval_count")
        assert all(isinstance(answer[part], int) and answer[part] > 0 for part in parts)
        assert answer["total_duration"] >= answer["load_duration"] + answer["eval_duration"]
