"""Anthropic's own library, unmodified (compat-api 347)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import anthropic
import pytest

from tests.clients.answers import CITY, CONCLUSION, COUNT, PARAMETERS, SKY, THOUGHT, asks
from tests.golden.server import RunningServer

TOOL: dict[str, Any] = {"name": "get_weather", "description": "The weather in a city", "input_schema": PARAMETERS}


@pytest.fixture
def client(server: RunningServer) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=server.base, api_key="puna", max_retries=0) as client:
        yield client


@pytest.fixture
async def asynchronous(server: RunningServer) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(base_url=server.base, api_key="puna", max_retries=0) as client:
        yield client


def test_messages(client: anthropic.Anthropic) -> None:
    answer = client.messages.create(model="m", max_tokens=100, messages=asks("SKY"), system="You are brief.")
    assert [(block.type, block.text) for block in answer.content] == [("text", SKY)]
    assert answer.stop_reason == "end_turn"
    assert answer.usage.input_tokens > 0
    assert answer.usage.output_tokens > 0


def test_an_answer_that_is_cut_says_so(client: anthropic.Anthropic) -> None:
    answer = client.messages.create(model="m", max_tokens=3, messages=asks("COUNT"))
    assert answer.content[0].text == "one, two, three"
    assert answer.stop_reason == "max_tokens"


def test_the_stream_helper(client: anthropic.Anthropic) -> None:
    with client.messages.stream(model="m", max_tokens=100, messages=asks("COUNT")) as stream:
        assert "".join(stream.text_stream) == COUNT
        final = stream.get_final_message()
    assert final.content[0].text == COUNT
    assert final.stop_reason == "end_turn"
    assert final.usage.output_tokens > 0


def test_tools(client: anthropic.Anthropic) -> None:
    messages = asks("TOOL")
    answer = client.messages.create(model="m", max_tokens=100, messages=messages, tools=[TOOL])
    assert answer.stop_reason == "tool_use"
    [call] = [block for block in answer.content if block.type == "tool_use"]
    assert (call.name, call.input) == ("get_weather", CITY)
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}
    messages += [
        {"role": "assistant", "content": answer.content},
        {"role": "user", "content": [result, {"type": "text", "text": "SKY"}]},
    ]
    again = client.messages.create(model="m", max_tokens=100, messages=messages, tools=[TOOL])
    assert again.content[0].text == SKY


def test_tools_streamed(client: anthropic.Anthropic) -> None:
    with client.messages.stream(model="m", max_tokens=100, messages=asks("TOOL"), tools=[TOOL]) as stream:
        final = stream.get_final_message()
    [call] = [block for block in final.content if block.type == "tool_use"]
    assert call.input == CITY


def test_thinking(client: anthropic.Anthropic) -> None:
    answer = client.messages.create(
        model="m", max_tokens=2000, messages=asks("THINK"), thinking={"type": "enabled", "budget_tokens": 1024}
    )
    thought, text = answer.content
    assert thought.type == "thinking"
    assert thought.thinking.strip() == THOUGHT
    assert text.text.strip() == CONCLUSION


def test_a_thought_and_a_call_streamed(client: anthropic.Anthropic) -> None:
    """compat-api 347: they come as blocks of their own, and both may be sent back."""
    thinks = {"type": "enabled", "budget_tokens": 1024}
    asked: dict[str, Any] = {"model": "m", "max_tokens": 2000, "tools": [TOOL], "thinking": thinks}
    with client.messages.stream(messages=asks("THINKTOOL"), **asked) as stream:
        events = {event.type for event in stream}
        final = stream.get_final_message()
    assert {"thinking", "input_json", "content_block_stop", "message_stop"} <= events
    thought, call = final.content
    assert (thought.thinking.strip(), call.input) == ("I need the weather", {"city": "Rome"})
    result = {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "SKY"}]}
    history = [{"role": "assistant", "content": final.content}, {"role": "user", "content": [result]}]
    answer = client.messages.create(messages=[*asks("THINKTOOL"), *history], **asked)
    assert [block.text for block in answer.content] == [SKY]


def test_the_tool_runner(client: anthropic.Anthropic) -> None:
    """compat-api 347: the library runs the tool, whose result ends with the next prompt."""

    @anthropic.beta_tool
    def get_weather(city: str) -> str:
        """The weather in a city."""
        return f"sunny in {city}: SKY"

    runner = client.beta.messages.tool_runner(model="m", max_tokens=100, tools=[get_weather], messages=asks("TOOL"))
    assert runner.until_done().content[0].text == SKY


def test_tokens_are_counted(client: anthropic.Anthropic) -> None:
    counted = client.messages.count_tokens(model="m", messages=asks("SKY"))
    answer = client.messages.create(model="m", max_tokens=1, messages=asks("SKY"))
    read = answer.usage.cache_read_input_tokens or 0  # Anthropic counts these apart
    assert counted.input_tokens == answer.usage.input_tokens + read > 0


def test_models(client: anthropic.Anthropic) -> None:
    found = {model.id: model for model in client.models.list()}
    model = found["m:latest"]
    assert (model.type, model.lifecycle, model.display_name) == ("model", "active", "m:latest")
    assert (model.capabilities, model.max_input_tokens) == (None, 1024)


def test_failures_have_their_classes(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError, match="nobody"):
        client.messages.create(model="nobody", max_tokens=1, messages=asks("SKY"))
    with pytest.raises(anthropic.BadRequestError):
        client.messages.create(model="m", max_tokens=0, messages=asks("SKY"))


@pytest.mark.anyio
async def test_the_asynchronous_client(asynchronous: anthropic.AsyncAnthropic) -> None:
    answer = await asynchronous.messages.create(model="m", max_tokens=100, messages=asks("SKY"))
    assert answer.content[0].text == SKY
    async with asynchronous.messages.stream(model="m", max_tokens=100, messages=asks("COUNT")) as stream:
        assert "".join([text async for text in stream.text_stream]) == COUNT
