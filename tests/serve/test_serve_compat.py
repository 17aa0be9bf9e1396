"""The /v1 routes on a real model, for what no recording holds (compat-api 33, 42-54, 66-69, 86, 87, 117, 128-130, 134,
141, 152, 157, 158, 180, 185, 203, 206, 212, 214, 287, 289, 302, 303, 307, 318-321, 330, 331, 354)."""

from __future__ import annotations

import json
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import httpx2
import psutil
import pytest

from server.client import Client, file_digest
from tests.clients.answers import SKY, WEATHER
from tests.golden.server import running_server

ENV = {"OLLAMA_NUM_PARALLEL": "4", "OLLAMA_CONTEXT_LENGTH": "1024", "PUNA_MODEL_ALIASES": "claude-*=m"}
FILES = (("m", "scripted.gguf"), ("e", "embedding.gguf"), ("ns/mm", "scripted.gguf"), ("plain", "bare.gguf"))
TOOL = {"name": "get_weather", "input_schema": WEATHER["function"]["parameters"]}
LONG = "hello there how are you " * 400
TOO_LONG = [{"role": "system", "content": "S"}, {"role": "user", "content": LONG}, {"role": "user", "content": "SKY"}]


class Compat:
    def __init__(self, client: httpx2.Client) -> None:
        self.client = client

    def post(self, path: str, **body: Any) -> httpx2.Response:
        return self.client.post(path, json={"model": "m", **body})

    def chat(self, text: str = "SKY", **more: Any) -> httpx2.Response:
        return self.post("/v1/chat/completions", **{"messages": [{"role": "user", "content": text}], **more})

    def message(self, text: str = "SKY", **more: Any) -> httpx2.Response:
        return self.post("/v1/messages", **{"messages": [{"role": "user", "content": text}], "max_tokens": 100, **more})

    def tokens(self, text: str) -> list[int]:
        found: list[int] = self.post("/tokenize", content=text).json()["tokens"]
        return found


@pytest.fixture(scope="module")
def compat(models: pathlib.Path) -> Iterator[Compat]:
    with running_server(ENV) as running, httpx2.Client(base_url=running.base, trust_env=False, timeout=60) as client:
        with Client(running.base) as own:
            for name, file in FILES:
                digest = file_digest(models / file)
                own.upload_blob(models / file, digest)
                with own.create({"model": name, "files": {file: digest}}) as progress:
                    assert list(progress)[-1] == {"status": "success"}
        yield Compat(client)


def said(answer: httpx2.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    message: dict[str, Any] = answer.json()["choices"][0]["message"]
    return message


def refusal(answer: httpx2.Response) -> tuple[int, str, str | None]:
    error = answer.json()["error"]
    return answer.status_code, error["message"], error.get("code")


def test_names_of_models(compat: Compat) -> None:
    """compat-api 28-30, 33, 42, 212, 214"""
    answer = compat.message(model="claude-x")
    assert (answer.status_code, answer.json()["model"]) == (200, "claude-x")
    for path, body in (
        ("/v1/completions", {"prompt": "x"}),
        ("/v1/embeddings", {"input": "x"}),
        ("/v1/responses", {"input": "x"}),
    ):
        status, words, code = refusal(compat.post(path, model="nope", **body))
        assert (status, code) == (404, "model_not_found")
        assert "nope" in words
    for name in ("M:LATEST", "m:local", "  m  "):
        answer = compat.chat(model=name)
        assert (answer.status_code, answer.json()["model"]) == (200, name)
    for path in ("/v1/models/ns%2Fmm", "/v1/models/ns/mm"):
        assert compat.client.get(path).status_code == 200
    assert compat.client.delete("/v1/models/ns/mm").json() == {"id": "ns/mm", "object": "model", "deleted": True}
    assert compat.client.get("/v1/models/ns/mm").status_code == 404


def test_what_models_cannot_do(compat: Compat) -> None:
    """compat-api 48-51, 53, 117"""
    assert refusal(compat.chat(model="e"))[:2] == (400, '"e" does not support chat')
    answer = compat.post("/v1/completions", model="e", prompt="x")
    assert refusal(answer)[:2] == (400, '"e" does not support generate')
    assert refusal(compat.chat(reasoning_effort="huge"))[1].startswith(
        'invalid reasoning value: "huge" (must be "minimal"'
    )
    image = {"type": "image_url", "image_url": "data:image/png;base64,iVBORw0KGgo="}
    answer = compat.chat(messages=[{"role": "user", "content": [image]}])
    assert refusal(answer)[:2] == (400, 'model "m" does not support images')
    assert refusal(compat.post("/v1/embeddings", input="x"))[:2] == (400, '"m" does not support embeddings')
    status, words, _ = refusal(compat.chat(model="plain", tools=[WEATHER]))
    assert (status, words.endswith("does not support tools")) == (400, True)
    assert refusal(compat.chat(model="plain", reasoning_effort="high"))[:2] == (
        400, '"plain" does not support thinking'
    )  # fmt: skip


def test_an_answer_that_the_client_began(compat: Compat) -> None:
    """compat-api 96"""
    begun = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "It is COUNT"}]
    on = {"messages": begun, "continue_final_message": True, "add_generation_prompt": False}
    shown = compat.chat(**on, _debug_render_only=True).json()["_debug_info"]["rendered_template"]
    assert shown.endswith("It is COUNT")
    assert said(compat.chat(**on))["content"].startswith("one, two")


def test_a_schema_does_not_bind_a_thought(compat: Compat) -> None:
    """compat-api 148"""
    schema = {
        "type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"],
        "additionalProperties": False,
    }  # fmt: skip
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    message = said(compat.chat("THINK", response_format=wanted, max_tokens=400))
    assert message["reasoning"].strip() == "The user asks why."
    assert list(json.loads(message["content"])) == ["age"]


def streamed(answer: httpx2.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    frames = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
    assert frames[-1] == "[DONE]"
    return [choice for frame in frames[:-1] for choice in json.loads(frame)["choices"]]


def test_a_stream_says_what_the_whole_answer_says(compat: Compat) -> None:
    """compat-api 173, 176"""
    asked = {"logprobs": True, "top_logprobs": 2}
    for text, wanted in (("SKY", SKY), ("EMOJI", "Hi 🦙 done")):
        [whole] = compat.chat(text, **asked).json()["choices"]
        pieces = streamed(compat.chat(text, **asked, stream=True))
        texts = [piece["delta"].get("content") or "" for piece in pieces]
        assert "".join(texts) == whole["message"]["content"] == wanted
        assert not any("\ufffd" in piece for piece in texts)
        found = [entry for piece in pieces for entry in (piece.get("logprobs") or {}).get("content") or []]
        entries = whole["logprobs"]["content"]
        assert [(one["token"], one["bytes"]) for one in found] == [(one["token"], one["bytes"]) for one in entries]
        for one, other in zip(found, entries, strict=True):
            assert one["logprob"] == pytest.approx(other["logprob"], abs=1e-3)


def test_dimensions(compat: Compat) -> None:
    """compat-api 202"""
    for wanted, length in ((2, 2), (99, 64)):
        vector = compat.post("/v1/embeddings", model="e", input="a", dimensions=wanted).json()["data"][0]["embedding"]
        assert len(vector) == length
        assert sum(number * number for number in vector) == pytest.approx(1, abs=1e-5)


def test_marks_for_a_cache_and_tools_of_the_server_change_nothing(compat: Compat) -> None:
    """compat-api 285, 317: there is nobody to search with, so the answer comes without a search"""
    mark = {"cache_control": {"type": "ephemeral"}}
    answer = compat.message(
        system=[{"type": "text", "text": "S", **mark}],
        messages=[{"role": "user", "content": [{"type": "text", "text": "SKY", **mark}]}],
        tools=[{**TOOL, **mark}, {"type": "web_search_20250305", "name": "web_search"}],
    )
    assert answer.status_code == 200, answer.text
    assert (answer.json()["content"], answer.json()["stop_reason"]) == ([{"type": "text", "text": SKY}], "end_turn")


def test_a_client_that_asks_for_the_list_again_and_again(models: pathlib.Path) -> None:
    """compat-api 210, 356: nothing is loaded for it, and it costs little. The processor's time is what counts here: a
    busy machine says nothing of the server."""
    with running_server(ENV) as running, httpx2.Client(base_url=running.base, trust_env=False) as client:
        with Client(running.base) as own:
            digest = file_digest(models / "scripted.gguf")
            own.upload_blob(models / "scripted.gguf", digest)
            assert list(own.create({"model": "m", "files": {"m.gguf": digest}}))[-1] == {"status": "success"}
            for number in range(50):
                own.copy("m", f"m{number}")
        before = psutil.Process(running.process.pid).cpu_times()
        for _ in range(60):
            assert len(client.get("/v1/models").json()["data"]) == 51
        after = psutil.Process(running.process.pid).cpu_times()
        assert (after.user + after.system - before.user - before.system) / 60 < 0.05
        assert client.get("/api/ps").json() == {"models": []}


def test_prompts_that_are_too_long(compat: Compat) -> None:
    """compat-api 66-69, 206"""
    answer = compat.chat(messages=TOO_LONG)
    assert said(answer)["content"] == SKY
    assert int(answer.headers["x-puna-dropped-messages"]) == 1
    status, words, code = refusal(compat.chat(messages=TOO_LONG, truncate=False))
    assert (status, code) == (400, "context_length_exceeded")
    assert len(re.findall(r"\d+", words)) == 2
    assert refusal(compat.post("/v1/responses", input=LONG))[2] == "context_length_exceeded"
    assert compat.post("/v1/responses", input=TOO_LONG, truncation="auto").status_code == 200
    words = refusal(compat.message(messages=TOO_LONG))[1]
    assert re.fullmatch(r"prompt is too long: \d+ tokens > \d+ maximum", words)
    assert compat.post("/v1/embeddings", model="e", input=LONG * 4).status_code == 200
    assert compat.post("/v1/embeddings", model="e", input=LONG * 4, truncate=False).status_code == 400


def test_tools_that_are_demanded_or_hidden(compat: Compat) -> None:
    """compat-api 128-130, 134, 152, 289, 302"""
    hidden = said(compat.chat("TOOL", tools=[WEATHER], tool_choice="none"))
    assert "<tool_call>" in hidden["content"]
    for choice in ("required", {"type": "function", "function": {"name": "get_weather"}}):
        [call] = said(compat.chat("TOOL", tools=[WEATHER], tool_choice=choice))["tool_calls"]
        assert call["function"]["name"] == "get_weather"
    assert compat.chat("TOOL", tools=[WEATHER], max_tokens=4).json()["choices"][0]["finish_reason"] == "length"
    assert '"logprobs":{"content"' in compat.chat("TOOL", tools=[WEATHER], logprobs=True, stream=True).text
    demanded = compat.message("TOOL", tools=[TOOL], tool_choice={"type": "any"}).json()
    assert demanded["stop_reason"] == "tool_use"
    cut = compat.message("TOOL", tools=[TOOL], max_tokens=4).json()
    assert cut["stop_reason"] == "max_tokens"
    assert all(block["type"] != "tool_use" for block in cut["content"])


def test_thoughts_are_counted_and_bounded(compat: Compat) -> None:
    """compat-api 141, 157, 158, 293"""
    value = compat.chat("THINK").json()
    usage = value["usage"]
    assert 0 < usage["completion_tokens_details"]["reasoning_tokens"] < usage["completion_tokens"]
    assert value["timings"]["predicted_n"] == usage["completion_tokens"]
    whole = said(compat.chat("THINK"))
    for bounded in (
        said(compat.chat("THINK", thinking_budget_tokens=1))["reasoning"],
        compat.message("THINK", thinking={"type": "enabled", "budget_tokens": 1}).json()["content"][0]["thinking"],
    ):
        assert whole["reasoning"].startswith(bounded)
        assert len(bounded) < len(whole["reasoning"])


def test_token_ids(compat: Compat) -> None:
    """compat-api 86, 87, 180, 185, 203, 330, 331"""
    ids = compat.tokens("SKY")
    assert compat.post("/detokenize", tokens=ids).json() == {"content": "SKY"}
    pieces = compat.post("/tokenize", content=["SKY", ids[0]], with_pieces=True).json()["tokens"]
    assert "".join(part["piece"] for part in pieces) == "SKYSKY"
    choice = compat.post("/v1/completions", prompt=ids, max_tokens=50, echo=True).json()["choices"][0]
    assert choice["text"] == f"SKY{SKY}"
    assert compat.post("/v1/completions", prompt=[10**6]).status_code == 400
    [token] = compat.tokens("The sky")
    for bias in ({str(token): -100}, [[token, False]], [["The sky", -100]]):
        assert not said(compat.chat("SKY", logit_bias=bias, max_tokens=3))["content"].startswith("The sky")
    assert compat.post("/v1/embeddings", model="e", input=[[1], [2]]).json()["data"][1]["index"] == 1
    assert compat.post("/v1/embeddings", model="e", input=[10**6]).status_code == 400


def test_messages_are_counted_exactly(compat: Compat) -> None:
    """compat-api 307, 318-321"""
    asked: dict[str, Any] = {"messages": [{"role": "user", "content": "COUNT"}]}
    count = compat.post("/v1/messages/count_tokens", **asked).json()["input_tokens"]
    for more in ({"system": "abc"}, {"tools": [TOOL]}):
        assert compat.post("/v1/messages/count_tokens", **asked, **more).json()["input_tokens"] > count
    lines = compat.message("COUNT", stream=True).text.splitlines()
    start = json.loads(next(line for line in lines if line.startswith("data: "))[6:])["message"]["usage"]
    assert start["input_tokens"] + start["cache_read_input_tokens"] == count
    told = compat.post("/v1/responses/input_tokens", input="SKY").json()
    used = compat.post("/v1/responses", input="SKY").json()["usage"]["input_tokens"]
    assert told == {"object": "response.input_tokens", "input_tokens": used}


def test_an_agent_whose_prompt_stays_warm(compat: Compat) -> None:
    """compat-api 287, 303, 354"""
    begun = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "COUNT"}]
    assert compat.message(messages=begun).json()["content"][0]["text"].startswith("one, two")
    stopped = compat.message("STOPPY", stop_sequences=["STOP"]).json()
    assert (stopped["stop_reason"], stopped["stop_sequence"]) == ("stop_sequence", "STOP")

    def ask(stamp: str, messages: list[dict[str, Any]]) -> dict[str, Any]:
        mark = {"cache_control": {"type": "ephemeral"}}
        system = [
            {"type": "text", "text": f"x-anthropic-billing-header: v=1; cch={stamp};"},
            {"type": "text", "text": "You are an agent. " * 5, **mark},
        ]
        found: dict[str, Any] = compat.post(
            "/v1/messages?beta=true", system=system, tools=[{**TOOL, **mark}], messages=messages, max_tokens=32000
        ).json()
        return found

    messages: list[dict[str, Any]] = [{"role": "user", "content": "SKY"}]
    first = ask("aaaaa", messages)
    messages += [{"role": "assistant", "content": first["content"]}, {"role": "system", "content": "99 left"}]
    second = ask("bbbbb", [*messages, {"role": "user", "content": "COUNT"}])
    whole = first["usage"]["input_tokens"] + first["usage"]["cache_read_input_tokens"]
    assert second["usage"]["cache_read_input_tokens"] > whole / 2
