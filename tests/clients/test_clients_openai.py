"""OpenAI's own library, unmodified, with the address and the key that every guide gives (compat-api 346)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator

import openai
import pytest
from pydantic import BaseModel

from tests.clients.answers import CITY, COUNT, SKY, WEATHER, asks
from tests.golden.server import RunningServer


class Person(BaseModel):
    name: str
    age: int
    tags: list[str]


class City(BaseModel):
    city: str


ADA = Person(name="Ada", age=36, tags=["x", "y"])


@pytest.fixture
def client(server: RunningServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.base}/v1", api_key="ollama", max_retries=0) as client:
        yield client


@pytest.fixture
async def asynchronous(server: RunningServer) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{server.base}/v1", api_key="ollama", max_retries=0) as client:
        yield client


def test_chat(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="m", messages=asks("SKY"), temperature=0.7, max_tokens=1024)
    [choice] = answer.choices
    assert (choice.message.role, choice.message.content) == ("assistant", SKY)
    assert choice.finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0


def test_chat_streamed(client: openai.OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model="m", messages=asks("COUNT"), stream=True, stream_options={"include_usage": True}
        )
    )
    assert "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices) == COUNT
    assert [choice.finish_reason for chunk in chunks for choice in chunk.choices][-1] == "stop"
    assert chunks[-1].usage is not None


def test_an_answer_that_is_cut_says_so(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="m", messages=asks("COUNT"), max_tokens=3)
    assert answer.choices[0].message.content == "one, two, three"
    assert answer.choices[0].finish_reason == "length"


def test_tools(client: openai.OpenAI) -> None:
    messages = asks("TOOL")
    answer = client.chat.completions.create(model="m", messages=messages, tools=[WEATHER])
    [choice] = answer.choices
    assert choice.finish_reason == "tool_calls"
    [call] = choice.message.tool_calls or ()
    assert call.type == "function"
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments) == CITY
    messages += [choice.message, {"role": "tool", "tool_call_id": call.id, "content": "sunny"}, *asks("SKY")]
    again = client.chat.completions.create(model="m", messages=messages, tools=[WEATHER])
    assert again.choices[0].message.content == SKY


def test_tools_streamed(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(model="m", messages=asks("TOOL"), tools=[WEATHER]) as stream:
        for _ in stream:
            pass
        [call] = stream.get_final_completion().choices[0].message.tool_calls or ()
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments) == CITY


def test_answers_become_objects(client: openai.OpenAI) -> None:
    """compat-api 346"""
    answer = client.chat.completions.parse(model="m", messages=asks("JSON"), response_format=Person)
    assert answer.choices[0].message.parsed == ADA
    with client.chat.completions.stream(model="m", messages=asks("JSON"), response_format=Person) as stream:
        stream.until_done()
        assert stream.get_final_completion().choices[0].message.parsed == ADA
    assert client.responses.parse(model="m", input="JSON", text_format=Person).output_parsed == ADA
    tool = openai.pydantic_function_tool(City, name="get_weather")
    called = client.chat.completions.parse(model="m", messages=asks("TOOL"), tools=[tool])
    [call] = called.choices[0].message.tool_calls or ()
    assert call.function.parsed_arguments == City(**CITY)


def test_tools_of_responses(client: openai.OpenAI) -> None:
    """compat-api 346"""
    tool = {"type": "function", "name": "get_weather", "parameters": City.model_json_schema(), "strict": True}
    with client.responses.stream(model="m", input="TOOL", tools=[tool]) as stream:
        stream.until_done()
        output = stream.get_final_response().output
    [call] = [item for item in output if item.type == "function_call"]
    assert json.loads(call.arguments) == CITY
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    again = client.responses.create(model="m", input=[*asks("TOOL"), *output, result, *asks("SKY")], tools=[tool])
    assert again.output_text == SKY


def test_completions(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="m", prompt="SKY", max_tokens=100)
    assert answer.choices[0].text == SKY
    parts = client.completions.create(model="m", prompt="COUNT", max_tokens=100, stream=True)
    assert "".join(part.choices[0].text for part in parts if part.choices) == COUNT


def test_embeddings(client: openai.OpenAI) -> None:
    """The library asks for base64 unless it is told otherwise."""
    answer = client.embeddings.create(model="e", input=["hello world", "good morning"])
    assert [item.index for item in answer.data] == [0, 1]
    assert sum(number * number for number in answer.data[0].embedding) == pytest.approx(1, abs=1e-4)
    plain = client.embeddings.create(model="e", input="hello world", encoding_format="float")
    assert plain.data[0].embedding == pytest.approx(answer.data[0].embedding, abs=1e-6)


def test_models(client: openai.OpenAI) -> None:
    assert "m:latest" in [model.id for model in client.models.list()]
    assert client.models.retrieve("m").object == "model"


def test_responses(client: openai.OpenAI) -> None:
    answer = client.responses.create(model="m", input="SKY")
    assert answer.status == "completed"
    assert answer.output_text == SKY
    with client.responses.stream(model="m", input="COUNT") as stream:
        said = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        assert stream.get_final_response().output_text == said == COUNT


def test_failures_have_their_classes(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="nobody") as caught:
        client.chat.completions.create(model="nobody", messages=asks("SKY"))
    assert caught.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nobody")
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="m", messages="SKY")  # type: ignore[call-overload]


@pytest.mark.anyio
async def test_the_asynchronous_client(asynchronous: openai.AsyncOpenAI) -> None:
    answer = await asynchronous.chat.completions.create(model="m", messages=asks("SKY"))
    assert answer.choices[0].message.content == SKY
    stream = await asynchronous.chat.completions.create(model="m", messages=asks("COUNT"), stream=True)
    parts = [choice.delta.content or "" async for chunk in stream for choice in chunk.choices]
    assert "".join(parts) == COUNT
