"""Ollama's own Python library, unmodified."""

from __future__ import annotations

import json
import pathlib
from collections.abc import AsyncIterator, Iterator

import ollama
import pytest

from tests.clients.answers import CITY, CONCLUSION, COUNT, SKY, THOUGHT, WEATHER, asks, get_weather
from tests.golden.server import RunningServer


@pytest.fixture
def client(server: RunningServer) -> Iterator[ollama.Client]:
    with ollama.Client(host=server.base) as client:
        yield client


@pytest.fixture
async def asynchronous(server: RunningServer) -> AsyncIterator[ollama.AsyncClient]:
    async with ollama.AsyncClient(host=server.base) as client:
        yield client


# ---- answers -------------------------------------------------------------------------------------------------------


def test_generate(client: ollama.Client) -> None:
    answer = client.generate("m", "SKY")
    assert answer.response == SKY
    assert answer.done
    assert answer.done_reason == "stop"
    assert None not in (answer.prompt_eval_count, answer.eval_count, answer.total_duration, answer.context)
    assert "".join(part.response for part in client.generate("m", "COUNT", stream=True)) == COUNT


def test_generate_raw_with_options(client: ollama.Client) -> None:
    answer = client.generate("bare", "COUNT", raw=True, options={"num_predict": 3, "temperature": 0}, keep_alive="1m")
    assert answer.response == "one, two, three"
    assert answer.done_reason == "length"
    stopped = client.generate("bare", "STOPPY", raw=True, options=ollama.Options(stop=["STOP"]))
    assert stopped.response == "alpha beta "


def test_generate_with_logprobs(client: ollama.Client) -> None:
    answer = client.generate("m", "SKY", logprobs=True, top_logprobs=2)
    assert answer.logprobs is not None
    assert "".join(entry.token for entry in answer.logprobs) == SKY
    assert all(len(entry.top_logprobs or ()) == 2 for entry in answer.logprobs)


def test_chat(client: ollama.Client) -> None:
    answer = client.chat("m", asks("SKY"))
    assert answer.message.role == "assistant"
    assert answer.message.content == SKY
    assert answer["message"]["content"] == SKY
    parts = list(client.chat("m", [ollama.Message(role="user", content="COUNT")], stream=True))
    assert "".join(part.message.content or "" for part in parts) == COUNT
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]


def test_tool_calls_and_their_results(client: ollama.Client) -> None:
    messages = asks("TOOL")
    answer = client.chat("m", messages, tools=[get_weather])
    [call] = answer.message.tool_calls or ()
    assert (call.function.name, call.function.arguments) == ("get_weather", CITY)
    result = get_weather(**call.function.arguments)
    messages += [answer.message.model_dump(), {"role": "tool", "content": result, "tool_name": "get_weather"}]
    assert client.chat("m", [*messages, *asks("SKY")], tools=[WEATHER]).message.content == SKY


def test_tool_calls_in_a_stream(client: ollama.Client) -> None:
    parts = list(client.chat("m", asks("TWOTOOLS"), tools=[WEATHER], stream=True))
    calls = [call.function.name for part in parts for call in part.message.tool_calls or ()]
    assert calls == ["add", "get_time"]
    assert "".join(part.message.content or "" for part in parts).strip() == ""


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
def test_thinking(client: ollama.Client, stream: bool) -> None:
    if stream:
        messages = [part.message for part in client.chat("m", asks("THINK"), think=True, stream=True)]
    else:
        messages = [client.chat("m", asks("THINK"), think=True).message]
    assert "".join(message.thinking or "" for message in messages).strip() == THOUGHT
    assert "".join(message.content or "" for message in messages).strip() == CONCLUSION


def test_a_stream_that_is_left_ends(client: ollama.Client) -> None:
    stream = client.generate("bare", "LOOP", raw=True, stream=True, options={"num_predict": 100_000})
    assert next(stream).response == "again"
    stream.close()
    assert client.generate("bare", "SKY", raw=True).response == SKY


@pytest.mark.anyio
async def test_the_asynchronous_client(asynchronous: ollama.AsyncClient) -> None:
    assert (await asynchronous.generate("m", "SKY")).response == SKY
    assert (await asynchronous.chat("m", asks("SKY"))).message.content == SKY
    stream = await asynchronous.chat("m", asks("COUNT"), stream=True)
    assert "".join([part.message.content or "" async for part in stream]) == COUNT
    [call] = (await asynchronous.chat("m", asks("TOOL"), tools=[get_weather])).message.tool_calls or ()
    assert call.function.arguments == CITY
    assert "m:latest" in {model.model for model in (await asynchronous.list()).models}
    with pytest.raises(ollama.ResponseError) as caught:
        await asynchronous.chat("nobody", asks("SKY"))
    assert caught.value.status_code == 404


# ---- embeddings and structure --------------------------------------------------------------------------------------


def test_embeddings(client: ollama.Client) -> None:
    one = client.embed("e", "hello world")
    [vector] = one.embeddings
    assert sum(number * number for number in vector) == pytest.approx(1, abs=1e-4)
    assert one.prompt_eval_count
    both = client.embed("e", ["hello world", "good morning"], dimensions=8)
    assert [len(vector) for vector in both.embeddings] == [8, 8]
    older = client.embeddings("e", "hello world").embedding
    assert len(older) == len(vector)


def test_an_answer_is_held_to_a_schema(client: ollama.Client) -> None:
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "age": {"type": "integer"},
            "tags": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["name", "age", "tags"],
    }
    answer = client.chat("m", asks("JSON"), format=schema)
    assert json.loads(answer.message.content or "") == {"name": "Ada", "age": 36, "tags": ["x", "y"]}
    assert json.loads(client.generate("m", "JSON", format="json").response)["name"] == "Ada"


# ---- the inventory -------------------------------------------------------------------------------------------------


def test_list_show_and_ps(client: ollama.Client) -> None:
    model = next(model for model in client.list().models if model.model == "m:latest")
    assert None not in (model.size, model.digest, model.modified_at)
    assert model.details
    assert (model.details.format, model.details.family) == ("gguf", "llama")
    shown = client.show("m")
    assert set(shown.capabilities or ()) == {"completion", "tools", "thinking"}
    assert (shown.modelinfo or {})["llama.context_length"] == 8192
    assert shown.template
    assert shown.modelfile
    client.generate("m", keep_alive="10m")
    running = {model.model: model for model in client.ps().models}
    assert running["m:latest"].size
    assert running["m:latest"].context_length == 1024
    client.generate("m", keep_alive=0)


def test_create_from_a_file_copy_and_delete(client: ollama.Client, models: pathlib.Path) -> None:
    digest = client.create_blob(models / "scripted.gguf")
    states = [
        part.status
        for part in client.create("made", files={"scripted.gguf": digest}, parameters={"num_predict": 2}, stream=True)
    ]
    assert states[-1] == "success"
    assert client.create("taught", from_="made", system="You count.").status == "success"
    assert client.copy("taught", "copied").status == "success"
    assert client.chat("copied", asks("COUNT")).message.content == "one, two"
    assert client.show("copied").modelfile
    client.generate("copied", keep_alive=0)  # a runner goes by the name that loaded it, and `m` has the same weights
    for name in ("made", "taught", "copied"):
        assert client.delete(name).status == "success"
    with pytest.raises(ollama.ResponseError) as caught:
        client.delete("copied")
    assert caught.value.status_code == 404


def test_a_missing_model_is_told(client: ollama.Client) -> None:
    for call in (client.show, client.generate, lambda name: list(client.generate(name, "SKY", stream=True))):
        with pytest.raises(ollama.ResponseError, match=r"model 'nobody.* not found") as caught:
            call("nobody")
        assert caught.value.status_code == 404


def test_a_bad_request_is_told(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match="does not support tools") as caught:
        client.chat("bare", asks("SKY"), tools=[get_weather])
    assert caught.value.status_code == 400
