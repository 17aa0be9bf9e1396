"""A model that searches the web, a search engine on a port of its own, and the libraries of OpenAI and Anthropic."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from server.client import Client, file_digest
from tests.clients.answers import SKY, asks
from tests.golden.server import RunningServer, running_server
from tests.searxng import SearchEngine, found, page, search_engine, write_searching_model

SEARCH: Any = {"type": "web_search"}
TOOL: Any = {"type": "web_search_20250305", "name": "web_search", "max_uses": 2}


@pytest.fixture(scope="module")
def engine() -> Iterator[SearchEngine]:
    with search_engine() as running:
        yield running


@pytest.fixture(scope="module")
def server(engine: SearchEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """The model that searches is `m`."""
    path = pathlib.Path(tmp_path_factory.mktemp("searching")) / "searching.gguf"
    write_searching_model(path)
    with running_server({"PUNA_SEARCH_URL": engine.url, "OLLAMA_CONTEXT_LENGTH": "4096"}) as running:
        with Client(running.base) as client:
            digest = file_digest(path)
            client.upload_blob(path, digest)
            with client.create({"model": "m", "files": {path.name: digest}}) as progress:
                assert list(progress)[-1] == {"status": "success"}
        yield running


@pytest.fixture(autouse=True)
def nothing_asked_yet(engine: SearchEngine) -> None:
    """Every page ends with what the model shall say next."""
    engine.asked.clear()
    engine.finds("The sky is blue.", "SKY")


@pytest.fixture
def of_openai(server: RunningServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.base}/v1", api_key="ollama", max_retries=0) as client:
        yield client


@pytest.fixture
def of_anthropic(server: RunningServer) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=server.base, api_key="puna", max_retries=0) as client:
        yield client


# ---- OpenAI --------------------------------------------------------------------------------------------------------


def test_a_response(of_openai: openai.OpenAI, engine: SearchEngine) -> None:
    answer = of_openai.responses.create(model="m", input="SEARCH", tools=[SEARCH])
    searched, said = answer.output
    assert searched.type == "web_search_call"
    assert searched.action.type == "search"
    assert (searched.action.query, searched.status) == ("capital of France", "completed")
    assert said.type == "message"
    assert answer.output_text == SKY
    assert engine.queries == ["capital of France"]
    assert answer.usage is not None
    asked_once = of_openai.responses.create(model="m", input="SEARCH")
    assert asked_once.usage is not None
    assert answer.usage.input_tokens > 2 * asked_once.usage.input_tokens


def test_a_response_streamed(of_openai: openai.OpenAI, engine: SearchEngine) -> None:
    """compat-api 267, with the library's own account of the stream"""
    with of_openai.responses.stream(model="m", input="SAYSEARCH", tools=[SEARCH]) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    around = [kind for kind in kinds if "web_search_call" in kind]
    assert around == [f"response.web_search_call.{step}" for step in ("in_progress", "searching", "completed")]
    assert [item.type for item in final.output] == ["reasoning", "message", "web_search_call", "message"]
    assert final.output_text == f"I will look.\n{SKY}"
    assert engine.queries == ["news"]


def test_several_searches(of_openai: openai.OpenAI, engine: SearchEngine) -> None:
    """What a page says may make the model search again; a fourth time it may not (compat-api 268)."""
    pages = iter(["SAYSEARCH", "SKY"])
    engine.answer = lambda _: found(page("Page", "https://page.example/", next(pages)))
    answer = of_openai.responses.create(model="m", input="SEARCH", tools=[SEARCH])
    assert engine.queries == ["capital of France", "news"]
    assert answer.output_text.endswith(SKY)
    engine.finds("SEARCH")
    with pytest.raises(openai.APIStatusError, match="web_search exceeded the maximum of 3 calls") as raised:
        of_openai.responses.create(model="m", input="SEARCH", tools=[SEARCH])
    assert raised.value.status_code == 502
    assert len(engine.asked) == 2 + 3


def test_the_conversation_goes_on(of_openai: openai.OpenAI) -> None:
    """compat-api 237: the items of a search come back and are passed over."""
    first = of_openai.responses.create(model="m", input="SEARCH", tools=[SEARCH])
    again = of_openai.responses.create(model="m", input="SKY", previous_response_id=first.id)
    assert again.output_text == SKY
    items: Any = [*asks("SEARCH"), *(item.to_dict() for item in first.output), *asks("SKY")]
    assert of_openai.responses.create(model="m", input=items, tools=[SEARCH]).output_text == SKY


def test_a_query_of_nothing(of_openai: openai.OpenAI) -> None:
    with pytest.raises(openai.APIStatusError, match="web_search requires a non-empty string query"):
        of_openai.responses.create(model="m", input="NOQUERY", tools=[SEARCH])


def test_a_search_engine_that_refuses(of_openai: openai.OpenAI, engine: SearchEngine) -> None:
    engine.fails(429)
    with pytest.raises(openai.RateLimitError, match="too many requests"):
        of_openai.responses.create(model="m", input="SEARCH", tools=[SEARCH])
    engine.fails(401)
    with pytest.raises(openai.AuthenticationError):
        of_openai.responses.create(model="m", input="SEARCH", tools=[SEARCH])
    engine.fails(403)
    events = list(of_openai.responses.create(model="m", input="SEARCH", tools=[SEARCH], stream=True))
    assert events[-1].type == "response.failed"
    assert events[-1].response.error is not None
    assert "search.formats" in events[-1].response.error.message


# ---- Anthropic -----------------------------------------------------------------------------------------------------


def test_a_message(of_anthropic: anthropic.Anthropic, engine: SearchEngine) -> None:
    answer = of_anthropic.messages.create(model="m", max_tokens=200, messages=asks("SEARCH"), tools=[TOOL])
    use, result, text = answer.content
    assert use.type == "server_tool_use"
    assert (use.name, use.input) == ("web_search", {"query": "capital of France"})
    assert result.type == "web_search_tool_result"
    assert result.tool_use_id == use.id
    assert isinstance(result.content, list)
    assert [(page.title, page.url, page.encrypted_content) for page in result.content] == [
        ("Page 1", "https://page1.example/", "The sky is blue."),
        ("Page 2", "https://page2.example/", "SKY"),
    ]
    assert text.type == "text"
    assert text.text == SKY
    assert answer.stop_reason == "end_turn"
    assert answer.usage.server_tool_use is not None
    assert answer.usage.server_tool_use.web_search_requests == 1
    assert engine.queries == ["capital of France"]


def test_a_message_streamed(of_anthropic: anthropic.Anthropic) -> None:
    asked: Any = {"model": "m", "max_tokens": 200, "messages": asks("SAYSEARCH"), "tools": [TOOL]}
    with of_anthropic.messages.stream(**asked) as stream:
        final = stream.get_final_message()
    kinds = ["thinking", "text", "server_tool_use", "web_search_tool_result", "text"]
    assert [block.type for block in final.content] == kinds
    whole = of_anthropic.messages.create(**asked)
    assert [block.type for block in whole.content] == kinds
    assert [getattr(block, "text", "").strip() for block in final.content] == [
        getattr(block, "text", "").strip() for block in whole.content
    ]
    assert final.usage.output_tokens == whole.usage.output_tokens


def test_a_message_goes_on(of_anthropic: anthropic.Anthropic) -> None:
    """Blocks of a search come back as they were sent."""
    first = of_anthropic.messages.create(model="m", max_tokens=200, messages=asks("SEARCH"), tools=[TOOL])
    history: Any = [*asks("SEARCH"), {"role": "assistant", "content": first.content}, *asks("SKY")]
    again = of_anthropic.messages.create(model="m", max_tokens=200, messages=history, tools=[TOOL])
    assert [block.text for block in again.content if block.type == "text"] == [SKY]


def test_a_call_beside_a_search(of_anthropic: anthropic.Anthropic) -> None:
    weather: Any = {"name": "get_weather", "input_schema": {"type": "object"}}
    answer = of_anthropic.messages.create(model="m", max_tokens=200, messages=asks("BOTH"), tools=[TOOL, weather])
    kinds = ["server_tool_use", "web_search_tool_result", "tool_use", "text"]
    assert [block.type for block in answer.content if getattr(block, "text", "x").strip()] == kinds
    assert answer.stop_reason == "tool_use"


def test_a_search_that_fails(of_anthropic: anthropic.Anthropic, engine: SearchEngine) -> None:
    """compat-api 317"""
    engine.fails(500)
    answer = of_anthropic.messages.create(model="m", max_tokens=200, messages=asks("SEARCH"), tools=[TOOL])
    [_, result] = answer.content
    assert result.type == "web_search_tool_result"
    assert not isinstance(result.content, list)
    assert result.content.type == "web_search_tool_result_error"
    assert (result.content.error_code, answer.stop_reason) == ("unavailable", "end_turn")


def test_as_often_as_allowed(of_anthropic: anthropic.Anthropic, engine: SearchEngine) -> None:
    engine.finds("SEARCH")
    answer = of_anthropic.messages.create(model="m", max_tokens=500, messages=asks("SEARCH"), tools=[TOOL])
    last: Any = answer.content[-1]
    assert (last.content.error_code, answer.stop_reason, len(engine.asked)) == ("max_uses_exceeded", "end_turn", 2)


# ---- switched off --------------------------------------------------------------------------------------------------


def test_nothing_is_asked_unless_a_client_wants_it(
    of_openai: openai.OpenAI, of_anthropic: anthropic.Anthropic, engine: SearchEngine
) -> None:
    of_openai.responses.create(model="m", input="SEARCH")
    of_openai.chat.completions.create(model="m", messages=asks("SEARCH"))
    of_anthropic.messages.create(model="m", max_tokens=200, messages=asks("SEARCH"))
    assert engine.asked == []
