"""LangChain's classes for Ollama, unmodified."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import ollama
import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_ollama import ChatOllama, OllamaEmbeddings, OllamaLLM

from tests.clients.answers import CITY, CONCLUSION, COUNT, SKY, THOUGHT, get_weather
from tests.golden.server import RunningServer

weather = tool(get_weather)


@contextlib.contextmanager
def chatting(server: RunningServer, model: str, **fields: Any) -> Iterator[ChatOllama]:
    """LangChain has no way to close what it opened."""
    chat = ChatOllama(model=model, base_url=server.base, **fields)
    yield chat
    chat._client.close()


@pytest.fixture
def chat(server: RunningServer) -> Iterator[ChatOllama]:
    with chatting(server, "m", validate_model_on_init=True) as chat:
        yield chat


def test_invoke(chat: ChatOllama) -> None:
    answer = chat.invoke([SystemMessage("You are brief."), HumanMessage("SKY")])
    assert answer.content == SKY
    assert answer.response_metadata["done_reason"] == "stop"
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["output_tokens"] > 0


def test_stream(chat: ChatOllama) -> None:
    parts = list(chat.stream("COUNT"))
    assert "".join(str(part.content) for part in parts) == COUNT
    assert len(parts) > 5


def test_a_tool_is_called_and_its_result_taken(chat: ChatOllama) -> None:
    bound = chat.bind_tools([weather])
    answer = bound.invoke("TOOL")
    assert isinstance(answer, AIMessage)
    [call] = answer.tool_calls
    assert (call["name"], call["args"]) == ("get_weather", CITY)
    result = weather.invoke(call)
    assert isinstance(result, ToolMessage)
    assert result.content == "sunny in Paris"
    assert bound.invoke([HumanMessage("TOOL"), answer, result, HumanMessage("SKY")]).content == SKY


def test_thoughts_are_apart(server: RunningServer) -> None:
    with chatting(server, "m", reasoning=True) as chat:
        answer = chat.invoke("THINK")
    assert str(answer.content).strip() == CONCLUSION
    assert answer.additional_kwargs["reasoning_content"].strip() == THOUGHT


@pytest.mark.anyio
async def test_the_asynchronous_calls(chat: ChatOllama) -> None:
    assert (await chat.ainvoke("SKY")).content == SKY
    assert "".join([str(part.content) async for part in chat.astream("COUNT")]) == COUNT
    await chat._async_client.close()


def test_a_model_that_is_missing_is_told(server: RunningServer) -> None:
    with chatting(server, "nobody") as chat, pytest.raises(ollama.ResponseError, match="'nobody' not found"):
        chat.invoke("SKY")


def test_embeddings(server: RunningServer) -> None:
    embeddings = OllamaEmbeddings(model="e", base_url=server.base)
    query = embeddings.embed_query("hello world")
    first, second = embeddings.embed_documents(["hello world", "good morning"])
    assert first == pytest.approx(query, abs=1e-6)
    assert len(second) == len(query)
    assert embeddings._client is not None
    embeddings._client.close()


def test_completions(server: RunningServer) -> None:
    model = OllamaLLM(model="m", base_url=server.base, num_predict=3)
    assert model.invoke("COUNT") == "one, two, three"
    model._client.close()
