"""Searches of the web that the server runs for a model, under `/v1/responses` and `/v1/messages`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest

from server.errors import ContextExceeded, SearchFailed
from server.messages.chat import Chunk, GenerationRequest, Message, ToolCall, ToolFunction
from server.search import SearchResult
from tests.api.conftest import Connect, Server, Start
from tests.api.openai_scripts import HELLO, LENGTH, STOP, WEATHER, events

pytestmark = pytest.mark.anyio

FOUND = (SearchResult("Paris", "https://a.example/", "The capital."), SearchResult("B", "https://b.example/"))
RESPONSE: dict[str, Any] = {"model": "m", "input": "hi", "tools": [{"type": "web_search"}]}
SEARCH_TOOL = {"type": "web_search_20250305", "name": "web_search"}
MESSAGE: dict[str, Any] = {
    "model": "m",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "hi"}],
    "tools": [SEARCH_TOOL],
}
CLIENT_SEARCH = {"query": {"type": "string"}, "site": {"type": "string"}}


def search(query: Any = "capital of France") -> Chunk:
    return Chunk(tool_calls=(ToolCall(function=ToolFunction(name="web_search", arguments={"query": query})),))


SAYS = Chunk(text="Let me see. ")
SEARCH = (search(), STOP)


@dataclass
class Provider:
    """Finds FOUND whatever it is asked, unless there is a `failure`."""

    asked: list[tuple[str, int]] = field(default_factory=list)
    failure: SearchFailed | None = None

    async def search(self, query: str, count: int) -> tuple[SearchResult, ...]:
        self.asked.append((query, count))
        if self.failure is not None:
            raise self.failure
        return FOUND


@dataclass
class World:
    server: Server
    provider: Provider

    async def respond(self, *parts: tuple[Chunk, ...], status: int = 200, **members: Any) -> dict[str, Any]:
        return await self._whole("/v1/responses", {**RESPONSE, **members}, parts, status)

    async def message(self, *parts: tuple[Chunk, ...], status: int = 200, **members: Any) -> dict[str, Any]:
        return await self._whole("/v1/messages", {**MESSAGE, **members}, parts, status)

    async def respond_streamed(self, *parts: tuple[Chunk, ...], **members: Any) -> list[dict[str, Any]]:
        found = await self._streamed("/v1/responses", {**RESPONSE, **members}, parts)
        assert [event["sequence_number"] for event in found] == list(range(len(found)))
        return found

    async def message_streamed(self, *parts: tuple[Chunk, ...], **members: Any) -> list[dict[str, Any]]:
        return await self._streamed("/v1/messages", {**MESSAGE, **members}, parts)

    async def _whole(self, path: str, body: dict[str, Any], parts: Any, status: int) -> dict[str, Any]:
        self._play(parts)
        answer = await self.server.post(path, body)
        assert answer.status_code == status, answer.text
        value: dict[str, Any] = answer.json()
        return value

    async def _streamed(self, path: str, body: dict[str, Any], parts: Any) -> list[dict[str, Any]]:
        self._play(parts)
        return events(await self.server.post(path, {**body, "stream": True}))

    def _play(self, parts: tuple[tuple[Chunk, ...], ...]) -> None:
        """The parts one after the other, the last one for ever."""
        left = list(parts)

        async def play(_: GenerationRequest) -> AsyncGenerator[Chunk, None]:
            for chunk in left.pop(0) if len(left) > 1 else left[0]:
                yield chunk

        self.server.inference.script = play

    @property
    def asked(self) -> list[GenerationRequest]:
        return self.server.inference.asked


@pytest.fixture
def world(start: Start) -> World:
    server, provider = start(), Provider()
    server.app.state.services = dataclasses.replace(server.services, search=provider)
    return World(server, provider)


def names(request: GenerationRequest) -> list[str]:
    return [tool["function"]["name"] for tool in request.tools]


def types(found: list[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in found]


# ---- what is offered -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["web_search", "web_search_preview", "web_search_2025_08_26"])
async def test_offered_where_there_is_a_provider(world: World, kind: str) -> None:
    """compat-api 244"""
    theirs = {"type": "function", "name": "web_search", "parameters": {"type": "object", "properties": CLIENT_SEARCH}}
    tools = [theirs, {"type": kind, "search_context_size": "low"}, {"type": "function", "name": "get_weather"}]
    value = await world.respond(HELLO, tools=tools)
    assert names(world.asked[0]) == ["get_weather", "web_search"]
    assert list(world.asked[0].tools[1]["function"]["parameters"]["properties"]) == ["query"]
    assert [tool["type"] for tool in value["tools"]] == ["function", kind, "function"]
    assert world.provider.asked == []


async def test_not_offered_without_a_provider(server: Server) -> None:
    """compat-api 244, 296"""
    for path, body in (("/v1/responses", RESPONSE), ("/v1/messages", MESSAGE)):
        assert (await server.post(path, body)).status_code == 200
    assert [request.tools for request in server.inference.asked] == [(), ()]


async def test_a_function_of_the_client_stays_its_own(world: World) -> None:
    """Only what asks for the server's search gets it."""
    tools = [{"type": "function", "name": "web_search"}]
    value = await world.respond(SEARCH, tools=tools)
    assert [item["type"] for item in value["output"]] == ["function_call"]
    value = await world.message(SEARCH, tools=[{"name": "web_search", "input_schema": {"type": "object"}}])
    assert [block["type"] for block in value["content"]] == ["tool_use"]
    assert world.provider.asked == []


async def test_choosing_the_search(world: World) -> None:
    """A search that is demanded is demanded once: what comes after it may be the answer."""
    weather = {"type": "function", "name": "get_weather"}
    tools = [weather, {"type": "web_search"}]
    await world.respond(SEARCH, HELLO, tools=tools, tool_choice={"type": "web_search"})
    await world.message(SEARCH, HELLO, tool_choice={"type": "tool", "name": "web_search"})
    assert [(names(request), request.must_call) for request in world.asked] == [
        (["web_search"], True), (["web_search"], False), (["web_search"], True), (["web_search"], False),
    ]  # fmt: skip
    await world.respond(HELLO, tools=tools, tool_choice="none")
    await world.respond(HELLO, tools=tools, tool_choice={"type": "function", "name": "get_weather"})
    assert [names(request) for request in world.asked[4:]] == [[], ["get_weather"]]


async def test_the_search_counts_in_the_length_of_the_prompt(world: World) -> None:
    world._play((HELLO,))
    for path, body in (("/v1/responses/input_tokens", RESPONSE), ("/v1/messages/count_tokens", MESSAGE)):
        assert (await world.server.post(path, body)).status_code == 200
    assert [names(request) for request in world.asked] == [["web_search"], ["web_search"]]


# ---- what the model is told ----------------------------------------------------------------------------------------


async def test_results_go_back_to_the_model(world: World) -> None:
    await world.respond((Chunk(thinking="Hm."), SAYS, search(), STOP), HELLO)
    assert world.provider.asked == [("capital of France", 5)]
    user, said, result = world.asked[1].messages
    assert user == Message(role="user", content="hi")
    assert (said.role, said.thinking, said.content) == ("assistant", "Hm.", "Let me see. ")
    [call] = said.tool_calls
    assert call.function.arguments == {"query": "capital of France"}
    told = "Title: Paris\nURL: https://a.example/\nContent: The capital.\n\nTitle: B\nURL: https://b.example/"
    assert result == Message(role="tool", content=told, tool_name="web_search", tool_call_id=call.id)
    assert call.id


async def test_an_answer_that_was_begun_for_the_model(world: World) -> None:
    """Two messages of the assistant in a row are nothing that templates know."""
    begun = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "I would say: "}]
    await world.message((SAYS, search(), STOP), HELLO, messages=begun)
    assert [message.role for message in world.asked[1].messages] == ["user", "assistant", "tool"]
    assert world.asked[1].messages[1].content == "I would say: Let me see. "


async def test_the_length_is_that_of_the_whole_answer(world: World) -> None:
    await world.message(SEARCH, SEARCH, HELLO, max_tokens=10)
    assert [request.options["num_predict"] for request in world.asked] == [10, 7, 4]
    world.asked.clear()
    await world.message(SEARCH, HELLO, max_tokens=2)
    assert [request.options["num_predict"] for request in world.asked] == [2, 1]


async def test_a_part_that_was_cut_is_the_last(world: World) -> None:
    value = await world.respond((search(), LENGTH))
    assert (value["status"], world.provider.asked) == ("incomplete", [])
    value = await world.message((search(), LENGTH))
    assert (value["stop_reason"], value["content"], world.provider.asked) == ("max_tokens", [], [])


async def test_only_one_call_at_a_time(world: World) -> None:
    both = Chunk(tool_calls=(*search("a").tool_calls, *search("b").tool_calls))
    await world.respond((both, STOP), HELLO)
    await world.respond((both, STOP), HELLO, parallel_tool_calls=False)
    assert [query for query, _ in world.provider.asked] == ["a", "b", "a"]


# ---- responses -----------------------------------------------------------------------------------------------------


async def test_the_object_of_a_response(world: World) -> None:
    """compat-api 9.6: items in the order in which they were made; usage over all parts"""
    value = await world.respond((Chunk(thinking="Hm."), SAYS, search(), STOP), (search("more"), STOP), HELLO)
    kinds = ["reasoning", "message", "web_search_call", "web_search_call", "message"]
    assert [item["type"] for item in value["output"]] == kinds
    number = value["id"].removeprefix("resp_")
    assert value["output"][2:4] == [
        {
            "id": f"ws_{number}_{at}",
            "type": "web_search_call",
            "status": "completed",
            "action": {"type": "search", "query": query},
        }
        for at, query in enumerate(("capital of France", "more"), 1)
    ]
    assert value["output"][4]["content"][0]["text"] == "Hello"
    assert (value["usage"]["input_tokens"], value["usage"]["output_tokens"]) == (27, 9)
    assert value["usage"]["input_tokens_details"] == {"cached_tokens": 15}


async def test_sources_are_told_to_who_asks_for_them(world: World) -> None:
    value = await world.respond(SEARCH, HELLO, include=["web_search_call.action.sources"])
    assert value["output"][0]["action"]["sources"] == [
        {"type": "url", "url": "https://a.example/"},
        {"type": "url", "url": "https://b.example/"},
    ]


async def test_events_around_a_search(world: World) -> None:
    """compat-api 267"""
    found = await world.respond_streamed((SAYS, search(), STOP), HELLO)
    at = types(found).index("web_search_call.in_progress")
    assert types(found)[at - 2 : at + 5] == [
        "output_item.done", "output_item.added", "web_search_call.in_progress", "web_search_call.searching",
        "web_search_call.completed", "output_item.done", "output_item.added",
    ]  # fmt: skip
    added, *steps, done = found[at - 1 : at + 4]
    assert added["item"]["status"] == "in_progress"
    assert added["item"]["action"] == {"type": "search", "query": "capital of France"}
    assert {(step["output_index"], step["item_id"]) for step in steps} == {(1, added["item"]["id"])}
    assert done["item"] == {**added["item"], "status": "completed"}
    assert [item["type"] for item in found[-1]["response"]["output"]] == ["message", "web_search_call", "message"]


async def test_a_call_of_the_client_beside_a_search(world: World) -> None:
    """compat-api 9.6: it is an ordinary item, in its place; the model goes on without its result"""
    both = (Chunk(tool_calls=(*search().tool_calls, WEATHER)), STOP)
    tools = [*RESPONSE["tools"], {"type": "function", "name": "get_weather"}]
    value = await world.respond(both, HELLO, tools=tools)
    assert [item["type"] for item in value["output"]] == ["web_search_call", "function_call", "message"]
    assert [call.function.name for call in world.asked[1].messages[1].tool_calls] == ["web_search"]
    found = await world.respond_streamed(both, HELLO, tools=tools)
    assert [item["type"] for item in found[-1]["response"]["output"]] == [
        "web_search_call", "function_call", "message",
    ]  # fmt: skip
    value = await world.respond((*both[:1], LENGTH), tools=tools)
    assert [item["type"] for item in value["output"]] == ["function_call"]


async def test_a_fourth_search(world: World) -> None:
    """compat-api 268"""
    value = await world.respond(SEARCH, status=502)
    why = "web_search exceeded the maximum of 3 calls"
    assert value["error"] == {"message": why, "type": "api_error", "param": None, "code": "api_error"}
    assert len(world.provider.asked) == 3
    found = await world.respond_streamed(SEARCH)
    assert found[-1]["type"] == "response.failed"
    assert found[-1]["response"]["error"] == {"code": "api_error", "message": why}
    assert [item["status"] for item in found[-1]["response"]["output"]] == ["completed"] * 3


@pytest.mark.parametrize("query", ["", " \n", None, 5])
async def test_nothing_to_search_for(world: World, query: Any) -> None:
    why = "web_search requires a non-empty string query"
    part = (search(query), STOP)
    assert (await world.respond(part, status=502))["error"]["message"] == why
    found = await world.respond_streamed(part)
    assert types(found) == ["created", "in_progress", "failed"]
    assert found[-1]["response"]["error"]["message"] == why
    value = await world.message(part)
    assert value["content"][1]["content"]["error_code"] == "invalid_request"
    assert world.provider.asked == []


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (401, "authentication_error", "authentication_error"),
        (429, "rate_limit_exceeded", "rate_limit_error"),
        (502, "api_error", "api_error"),
    ],
)
async def test_a_search_that_fails(world: World, status: int, code: str, kind: str) -> None:
    """compat-api 9.6: told with a status, or in a stream as the end of the response"""
    world.provider.failure = SearchFailed("No.", status=status, code=code)
    value = await world.respond(SEARCH, status=status)
    assert value["error"] == {"message": "No.", "type": kind, "param": None, "code": code}
    found = await world.respond_streamed(SEARCH)
    assert types(found)[-2:] == ["output_item.done", "failed"]
    assert found[-2]["item"]["status"] == "failed"
    assert found[-1]["response"]["error"] == {"code": code, "message": "No."}


async def test_results_that_do_not_fit(world: World) -> None:
    """Whatever the model's next part fails with is told as it is."""

    async def play(request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        if len(request.messages) > 1:
            raise ContextExceeded()
        for chunk in SEARCH:
            yield chunk

    world.server.inference.script = play
    answer = await world.server.post("/v1/responses", RESPONSE)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "context_length_exceeded")
    assert world.server.inference.closed == 2


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_a_client_that_leaves_during_a_search(world: World, connect: Connect, is_streamed: bool) -> None:
    """The search is given up, and the model is not asked again."""
    searching, ended = anyio.Event(), anyio.Event()

    class Endless:
        async def search(self, query: str, count: int) -> tuple[SearchResult, ...]:
            searching.set()
            try:
                await anyio.sleep_forever()
            finally:
                ended.set()
            return ()

    services = world.server.app.state.services
    world.server.app.state.services = dataclasses.replace(services, search=Endless())
    world._play((SEARCH, HELLO))
    body = json.dumps({**RESPONSE, "stream": is_streamed}).encode()
    connection = connect(world.server, "/v1/responses", body)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(connection.run)
            await searching.wait()
            assert not ended.is_set()
            connection.leave()
    assert ended.is_set()
    assert (len(world.asked), world.server.inference.closed) == (1, 1)


# ---- messages ------------------------------------------------------------------------------------------------------


def blocks(value: dict[str, Any]) -> list[dict[str, Any]]:
    tail = value["id"].removeprefix("msg_")
    return [
        {"type": "server_tool_use", "id": f"srvtoolu_{tail}", "name": "web_search", "input": {"query": "q"}},
        {
            "type": "web_search_tool_result",
            "tool_use_id": f"srvtoolu_{tail}",
            "content": [
                {
                    "type": "web_search_result",
                    "url": result.url,
                    "title": result.title,
                    "encrypted_content": result.content,
                    "page_age": None,
                }
                for result in FOUND
            ],
        },
    ]


async def test_the_object_of_a_message(world: World) -> None:
    """compat-api 10.7"""
    value = await world.message((SAYS, search("q"), STOP), HELLO)
    first, *searched, last = value["content"]
    assert (first["text"], last["text"]) == ("Let me see. ", "Hello")
    assert searched == blocks(value)
    assert value["stop_reason"] == "end_turn"
    assert value["usage"] == {
        "input_tokens": 8,
        "output_tokens": 6,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 10,
        "server_tool_use": {"web_search_requests": 1, "web_fetch_requests": 0},
    }
    assert "server_tool_use" not in (await world.message(HELLO))["usage"]


async def test_ids_of_several_searches(world: World) -> None:
    value = await world.message(SEARCH, SEARCH, HELLO)
    tail = value["id"].removeprefix("msg_")
    uses = [block["id"] for block in value["content"] if block["type"] == "server_tool_use"]
    results = [block["tool_use_id"] for block in value["content"] if block["type"] == "web_search_tool_result"]
    assert uses == results == [f"srvtoolu_{tail}", f"srvtoolu_{tail}_2"]


async def test_the_stream_of_a_message(world: World) -> None:
    """compat-api 10.7: blocks of searches come in one piece"""
    found = await world.message_streamed((SAYS, search("q"), STOP), HELLO)
    content = [event["content_block"] for event in found if event["type"] == "content_block_start"]
    assert [block["type"] for block in content] == ["text", "server_tool_use", "web_search_tool_result", "text"]
    assert content[1:3] == blocks(found[0]["message"])
    assert types(found) == [
        "message_start", "ping", "content_block_start", "content_block_delta", "content_block_stop",
        "content_block_start", "content_block_stop", "content_block_start", "content_block_stop",
        "content_block_start", "content_block_delta", "content_block_delta", "content_block_stop",
        "message_delta", "message_stop",
    ]  # fmt: skip
    assert [event["index"] for event in found if "index" in event] == [0, 0, 0, 1, 1, 2, 2, 3, 3, 3, 3]
    assert found[-2]["delta"]["stop_reason"] == "end_turn"
    assert found[-2]["usage"]["output_tokens"] == 6
    assert found[-2]["usage"]["server_tool_use"]["web_search_requests"] == 1


async def test_a_search_that_fails_ends_the_message(world: World) -> None:
    """compat-api 317"""
    world.provider.failure = SearchFailed("No.")
    value = await world.message((SAYS, *SEARCH))
    error = {"type": "web_search_tool_result_error", "error_code": "unavailable"}
    assert [block["type"] for block in value["content"]] == ["text", "server_tool_use", "web_search_tool_result"]
    assert value["content"][2]["content"] == error
    assert value["stop_reason"] == "end_turn"
    found = await world.message_streamed((SAYS, *SEARCH))
    assert [event["content_block"]["type"] for event in found if "content_block" in event][-1] == (
        "web_search_tool_result"
    )
    assert (found[-2]["delta"]["stop_reason"], found[-1]["type"]) == ("end_turn", "message_stop")


@pytest.mark.parametrize(("max_uses", "searches"), [(None, 3), (1, 1), (2, 2), (9, 3)])
async def test_how_often_it_may_be_used(world: World, max_uses: int | None, searches: int) -> None:
    value = await world.message(SEARCH, tools=[{**SEARCH_TOOL, "max_uses": max_uses}])
    assert len(world.provider.asked) == searches
    assert value["content"][-1]["content"]["error_code"] == "max_uses_exceeded"
    assert value["stop_reason"] == "end_turn"
    assert value["usage"]["server_tool_use"]["web_search_requests"] == searches


async def test_a_use_of_nothing(world: World) -> None:
    value = await world.message(HELLO, tools=[{**SEARCH_TOOL, "max_uses": 0}], status=400)
    assert "'tools[0].max_uses' must be at least 1." in value["error"]["message"]


async def test_a_call_of_the_client_beside_a_search_of_a_message(world: World) -> None:
    both = (Chunk(tool_calls=(WEATHER, *search().tool_calls)), STOP)
    tools = [SEARCH_TOOL, {"name": "get_weather", "input_schema": {"type": "object"}}]
    value = await world.message(both, HELLO, tools=tools)
    kinds = ["tool_use", "server_tool_use", "web_search_tool_result", "text"]
    assert [block["type"] for block in value["content"]] == kinds
    assert value["stop_reason"] == "tool_use"
