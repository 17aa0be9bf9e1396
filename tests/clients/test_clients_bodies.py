"""Bodies that libraries send which are not installed here, as recorded from them: LangChain's classes for OpenAI and
Anthropic (1.7), LlamaIndex' OpenAILike (0.8), and Continue's habits (compat-api 348-350, 352, 355, 358)."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.clients.answers import CITY, CONCLUSION, SKY, THOUGHT, asks
from tests.golden.server import RunningServer

CITIES = {"properties": {"city": {"type": "string"}}, "required": ["city"], "type": "object"}
PERSON = {
    "properties": {
        "name": {"title": "Name", "type": "string"},
        "age": {"title": "Age", "type": "integer"},
        "tags": {"items": {"type": "string"}, "title": "Tags", "type": "array"},
    },
    "required": ["name", "age", "tags"],
    "title": "Person",
    "type": "object",
    "additionalProperties": False,
}
TOOL = {"type": "function", "function": {"name": "get_weather", "description": "The weather", "parameters": CITIES}}
SAID = {"name": "Ada", "age": 36, "tags": ["x", "y"]}


@pytest.fixture
def http(server: RunningServer) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=server.base, trust_env=False, timeout=60) as client:
        yield client


def ask(http: httpx2.Client, path: str, body: dict[str, Any], **headers: str) -> dict[str, Any]:
    answer = http.post(path, json={"model": "m", **body}, headers=headers)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def chunks(http: httpx2.Client, body: dict[str, Any], **headers: str) -> list[dict[str, Any]]:
    """A streamed chat, which must end with its mark."""
    answer = http.post("/v1/chat/completions", json={"model": "m", "stream": True, **body}, headers=headers)
    *lines, last = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
    assert last == "[DONE]"
    return [json.loads(line) for line in lines]


def test_langchain_limits(http: httpx2.Client) -> None:
    """compat-api 348"""
    body = {"messages": asks("COUNT"), "max_completion_tokens": 5, "stream": False}
    [choice] = ask(http, "/v1/chat/completions", body)["choices"]
    assert choice["message"]["content"] == "one, two, three, four, five"
    assert choice["finish_reason"] == "length"


def test_langchain_demands_a_call(http: httpx2.Client) -> None:
    """compat-api 348"""
    demand = {"messages": asks("TOOL"), "stream": False, "tool_choice": "required", "tools": [TOOL]}
    [call] = ask(http, "/v1/chat/completions", demand)["choices"][0]["message"]["tool_calls"]
    assert (call["function"]["name"], json.loads(call["function"]["arguments"])) == ("get_weather", CITY)
    # Said to talk, the model cannot but call; the limit cuts what it is made to write.
    forced = ask(http, "/v1/chat/completions", {**demand, "messages": asks("SKY"), "max_completion_tokens": 60})
    assert SKY not in str(forced["choices"][0]["message"])


def test_langchain_structured_output(http: httpx2.Client) -> None:
    """compat-api 348"""
    form = {"type": "json_schema", "json_schema": {"schema": PERSON, "name": "Person", "strict": True}}
    answer = ask(http, "/v1/chat/completions", {"messages": asks("JSON"), "response_format": form, "stream": False})
    assert json.loads(answer["choices"][0]["message"]["content"]) == SAID


def test_langchain_anthropic_loop(http: httpx2.Client) -> None:
    """compat-api 349"""
    tool = {"name": "get_weather", "input_schema": CITIES, "description": "The weather"}
    body: dict[str, Any] = {"max_tokens": 4096, "messages": asks("TOOL"), "system": "brief", "tools": [tool]}
    [call] = ask(http, "/v1/messages", body)["content"]
    assert (call["type"], call["name"], call["input"]) == ("tool_use", "get_weather", CITY)
    used = {"type": "tool_use", "name": call["name"], "input": call["input"], "id": call["id"]}
    result = {"type": "tool_result", "content": "sunny", "tool_use_id": call["id"], "is_error": False}
    messages = [
        *asks("TOOL"),
        {"role": "assistant", "content": [used]},
        {"role": "user", "content": [result, {"type": "text", "text": "SKY"}]},
    ]
    [text] = ask(http, "/v1/messages", {**body, "messages": messages})["content"]
    assert text == {"type": "text", "text": SKY}


def test_langchain_embeddings(http: httpx2.Client) -> None:
    """compat-api 350"""
    body = {"input": ["hello", "x"], "model": "e", "encoding_format": "base64"}
    first, second = ask(http, "/v1/embeddings", body)["data"]
    assert len(base64.b64decode(first["embedding"])) == len(base64.b64decode(second["embedding"])) > 0
    assert first["embedding"] != second["embedding"]


def test_llamaindex_reads_a_thought_once(http: httpx2.Client) -> None:
    """compat-api 352"""
    body = {"messages": asks("THINK"), "temperature": 0.1}
    message = ask(http, "/v1/chat/completions", {**body, "stream": False})["choices"][0]["message"]
    deltas = [choice["delta"] for chunk in chunks(http, body) for choice in chunk["choices"]]
    for parts in ([message], deltas):
        # It takes the one member or else the other of every part.
        thoughts = [part.get("reasoning_content") or part.get("reasoning") or "" for part in parts]
        assert "".join(thoughts).strip() == THOUGHT
        assert "".join(part.get("content") or "" for part in parts) == CONCLUSION


def test_continue_streams(http: httpx2.Client) -> None:
    """compat-api 355"""
    body = {"messages": asks("SKY"), "stream_options": {"include_usage": True}, "max_tokens": 2048}
    keys = {"x-api-key": "k", "api-key": "k", "authorization": "Bearer k"}
    *before, last = chunks(http, body, **keys)
    assert "".join(choice["delta"].get("content") or "" for chunk in before for choice in chunk["choices"]) == SKY
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == 8
    assert not any(chunk.get("usage") for chunk in before)


def test_an_answer_that_repeats_itself_comes_whole(http: httpx2.Client) -> None:
    """compat-api 358"""
    parts = chunks(http, {"messages": asks("LOOP"), "max_tokens": 60})
    choices = [choice for chunk in parts for choice in chunk["choices"]]
    assert "".join(choice["delta"].get("content") or "" for choice in choices) == "again and" * 30
    assert choices[-1]["finish_reason"] == "length"


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses", "/v1/embeddings"])
def test_a_page_of_a_stranger_gets_nothing(http: httpx2.Client, path: str) -> None:
    """compat-api 20"""
    answer = http.post(path, json={"model": "m", "messages": asks("SKY")}, headers={"origin": "http://evil.example"})
    assert (answer.status_code, answer.content) == (403, b"")
