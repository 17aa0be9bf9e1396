"""`/v1/completions`, `/v1/embeddings` and `/v1/models` (compat-api 177-214)."""

from __future__ import annotations

import dataclasses
import re
import struct
from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.datastructures import Headers

from server.api.openai_embeddings import Asked, embeddings_object, read_embeddings
from server.api.wire_fields import Fields
from server.errors import PunaError
from server.inference import Card
from server.messages.chat import Chunk, TokenLogprob, TopLogprob
from server.messages.embedding import EmbeddingRequest, EmbeddingResult
from server.messages.models import RunningModel
from server.messages.names import ModelName
from tests.api.conftest import EmptyCatalog, Server
from tests.api.openai_scripts import CUT, HELLO, REASON, STOP, frames, script

pytestmark = pytest.mark.anyio

PATH = "/v1/completions"


def body(**members: Any) -> dict[str, Any]:
    return {"model": "m", "prompt": "hi", **members}


# ---- completions ---------------------------------------------------------------------------------------------------


async def test_the_object(server: Server) -> None:
    """compat-api 177, 191"""
    server.inference.script = script(*HELLO)
    value = (await server.post(PATH, body())).json()
    assert re.fullmatch(r"cmpl-\w{24}", value["id"])
    assert value["object"] == "text_completion"
    assert value["choices"] == [{"text": "Hello", "index": 0, "finish_reason": "stop"}]
    assert value["usage"]["total_tokens"] == 12
    request = server.inference.asked[-1]
    assert (request.is_chat, request.prompt, request.think) == (False, "hi", False)


async def test_prompts_and_choices(server: Server) -> None:
    """compat-api 179, 183"""
    server.inference.script = script(*HELLO)
    value = (await server.post(PATH, body(prompt=["a", "b"], n=2))).json()
    assert [choice["index"] for choice in value["choices"]] == [0, 1, 2, 3]
    assert [request.prompt for request in server.inference.asked] == ["a", "a", "b", "b"]
    assert (value["usage"]["prompt_tokens"], value["usage"]["completion_tokens"]) == (18, 12)


async def test_prompts_of_token_ids(server: Server) -> None:
    """compat-api 180"""
    await server.post(PATH, body(prompt=[1, 2, 3]))
    value = (await server.post(PATH, body(prompt=[[4, 5], [6]]))).json()
    assert len(value["choices"]) == 2
    assert [request.token_prompt for request in server.inference.asked] == [(1, 2, 3), (4, 5), (6,)]
    assert {request.prompt for request in server.inference.asked} == {""}


async def test_the_members_of_a_request(server: Server) -> None:
    """compat-api 178, 184, 189"""
    await server.post(PATH, body(raw=True, suffix="}", seed=3, max_tokens=5, stop="END"))
    request = server.inference.asked[-1]
    assert (request.raw, request.suffix) == (True, "}")
    assert request.options == {"seed": 3, "num_predict": 5, "stop": ["END"]}


@pytest.mark.parametrize(
    "members",
    [
        {"prompt": [["x"]]},
        {"prompt": [1, -2]},
        {"prompt": [1, True]},
        {"prompt": [[1], []]},
        {"prompt": [[1], "a"]},
        {"prompt": [[1]] * 65},
        {"prompt": []},
        {"prompt": 5},
        {"best_of": 3, "n": 1},
        {"logprobs": 21},
        {"stop": ["a", 5]},
        {"model": None},
    ],
)
async def test_refusals(server: Server, members: dict[str, Any]) -> None:
    """compat-api 41, 181, 186, 188, 190"""
    answer = await server.post(PATH, body(**members))
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]


async def test_an_empty_prompt(server: Server) -> None:
    """compat-api 182"""
    server.inference.script = script(Chunk(done=True, reason="load"))
    (choice,) = (await server.post(PATH, body(prompt=""))).json()["choices"]
    assert choice == {"text": "", "index": 0, "finish_reason": "stop"}


async def test_an_echo_with_log_probabilities(server: Server) -> None:
    """compat-api 185, 187"""
    entry = TokenLogprob("yo", -0.5, (121, 111), (TopLogprob("yo", -0.5), TopLogprob("no", -1.0)))
    server.inference.script = script(Chunk(text="yo", logprobs=(entry,)), STOP)
    expected = {
        "tokens": ["yo"],
        "token_logprobs": [-0.5],
        "top_logprobs": [{"yo": -0.5, "no": -1.0}],
        "text_offset": [2],
    }
    (choice,) = (await server.post(PATH, body(echo=True, logprobs=2))).json()["choices"]
    assert (choice["text"], choice["logprobs"]) == ("hiyo", expected)
    found = frames(await server.post(PATH, body(echo=True, logprobs=2, stream=True)))
    assert found[0]["choices"][0]["text"] == "hiyo"
    assert found[0]["choices"][0]["logprobs"] == expected


async def test_thoughts_only_where_they_are_asked_for(server: Server) -> None:
    """compat-api 191"""
    server.inference.script = script(*REASON)
    (choice,) = (await server.post(PATH, body(reasoning_effort="low"))).json()["choices"]
    assert (choice["text"], choice["reasoning_content"]) == ("4", "AB")
    assert server.inference.asked[-1].think == "low"


async def test_the_stream(server: Server) -> None:
    """compat-api 192-194"""
    server.inference.script = script(*HELLO)
    *chunks, usage, end = frames(await server.post(PATH, body(stream=True, stream_options={"include_usage": True})))
    assert [chunk["choices"][0]["text"] for chunk in chunks] == ["Hel", "lo", ""]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None, None, "stop"]
    assert len({(chunk["id"], chunk["created"]) for chunk in chunks}) == 1
    assert all("usage" not in chunk for chunk in chunks)
    assert (usage["choices"], usage["usage"]["total_tokens"], end) == ([], 12, "[DONE]")


async def test_a_stream_that_is_cut_and_one_that_fails(server: Server) -> None:
    """compat-api 61"""
    server.inference.script = script(*CUT)
    found = frames(await server.post(PATH, body(stream=True)))
    assert found[-2]["choices"][0]["finish_reason"] == "length"
    server.inference.script = script(CUT[0], error=PunaError("engine died"))
    found = frames(await server.post(PATH, body(stream=True)))
    assert found[-2]["error"]["message"] == "engine died"
    assert found[-1] == "[DONE]"


# ---- embeddings ----------------------------------------------------------------------------------------------------


def test_vectors_as_numbers_and_as_base64() -> None:
    """compat-api 195, 196, 200"""
    vectors = tuple(struct.pack("<3f", *vector) for vector in ((0.1, -0.2, 0.3), (1.0, 0.0, 0.0)))
    result = EmbeddingResult(vectors=vectors, prompt_tokens=4)
    request = EmbeddingRequest(model="m", inputs=("a", "b"))
    value = embeddings_object(Asked(request), result)
    assert value["data"][1] == {"object": "embedding", "embedding": [1.0, 0.0, 0.0], "index": 1}
    assert value["usage"] == {"prompt_tokens": 4, "total_tokens": 4}
    encoded = embeddings_object(Asked(request, as_base64=True), result)
    assert encoded["data"][0]["embedding"] == "zczMPc3MTL6amZk+"


@pytest.mark.parametrize(
    ("value", "inputs"),
    [("", ("",)), (["a", ""], ("a", "")), ([1, 2], ((1, 2),)), ([[1], [2, 3]], ((1,), (2, 3)))],
)
def test_inputs(value: Any, inputs: Any) -> None:
    """compat-api 197, 203"""
    asked = read_embeddings(Fields({"model": "m", "input": value, "encoding_format": "BASE64"}), Headers())
    assert (asked.embedding.inputs, asked.as_base64) == (inputs, True)


@pytest.mark.parametrize("members", [{}, {"input": None}, {"input": []}, {"input": {"a": 1}}, {"input": [1.5]},
                                     {"input": ["a", 1]}, {"input": "a", "encoding_format": "hex"}])  # fmt: skip
async def test_input_that_cannot_be_embedded(server: Server, members: dict[str, Any]) -> None:
    """compat-api 198, 199, 201"""
    answer = await server.post("/v1/embeddings", {"model": "m", **members})
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")


async def test_embeddings_of_an_unknown_model(server: Server) -> None:
    """compat-api 42"""
    answer = await server.post("/v1/embeddings", {"model": "nope", "input": ["a"]})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


# ---- models --------------------------------------------------------------------------------------------------------


class TwoModels(EmptyCatalog):
    async def cards(self) -> list[Card]:
        moment = datetime(2026, 1, 1, tzinfo=UTC)
        return [
            Card(name=ModelName.parse("ann/b:v2"), digest="b", modified_at=moment, capabilities=("completion", "tools"),
                 size=5_000, parameters=2_000, train_context_tokens=32_768),
            Card(name=ModelName.parse("a"), digest="a", modified_at=moment, train_context_tokens=2_048, num_ctx=9_000),
            Card(name=ModelName.parse("c"), digest="c", modified_at=moment),
        ]  # fmt: skip


async def test_the_list_for_both_kinds_of_clients(server: Server) -> None:
    """compat-api 207-209, 213"""
    assert (await server.client.get("/v1/models")).json()["data"] == []
    catalog: Any = TwoModels()
    server.app.state.services = dataclasses.replace(server.services, catalog=catalog)
    for path in ("/v1/models", "/v1/models/", "/v1//models"):
        value = (await server.client.get(path)).json()
        assert (value["object"], value["has_more"]) == ("list", False)
        assert (value["first_id"], value["last_id"]) == ("ann/b:v2", "c:latest")
        assert [(one["id"], one["object"], one["owned_by"]) for one in value["data"]] == [
            ("ann/b:v2", "model", "ann"),
            ("a:latest", "model", "library"),
            ("c:latest", "model", "library"),
        ]
        assert value["data"][0]["created"] == 1767225600
        assert value["data"][0]["type"] == "model"


@pytest.mark.parametrize(("usual", "first"), [(None, None), (4_096, 4_096), (262_144, 32_768)])
async def test_how_much_fits_into_a_conversation(server: Server, usual: int | None, first: int | None) -> None:
    """What the model would be run with; once it runs, what it does run with; never what it was only trained for"""
    catalog: Any = TwoModels()
    server.app.state.services = dataclasses.replace(server.services, catalog=catalog)
    server.scheduler.usual_context_tokens = usual
    names = ("context_length", "max_input_tokens")

    async def told() -> list[list[int | None]]:
        listed = (await server.client.get("/v1/models")).json()["data"]
        return [[one.get(name) for name in names] for one in listed]

    assert await told() == [[first] * 2, [2_048] * 2, [usual] * 2]
    server.scheduler.models = (
        RunningModel(name="x", digest="b", path="", state="ready", context_tokens=8_192),
        RunningModel(name="y", digest="a", path="", state="loading", context_tokens=16),
    )
    assert await told() == [[8_192] * 2, [2_048] * 2, [usual] * 2]


async def test_what_a_model_can_do(server: Server) -> None:
    """For Anthropic's clients capabilities are an object of other things"""
    catalog: Any = TwoModels()
    server.app.state.services = dataclasses.replace(server.services, catalog=catalog)
    first = (await server.client.get("/v1/models")).json()["data"][0]
    assert first["capabilities"] == ["completion", "tools"]
    assert first["meta"] == {"n_ctx_train": 32_768, "n_params": 2_000, "size": 5_000}
    assert "lifecycle" not in first
    answer = await server.client.get("/v1/models", headers={"anthropic-version": "2023-06-01"})
    assert not any("capabilities" in one for one in answer.json()["data"])
    assert {one["lifecycle"] for one in answer.json()["data"]} == {"active"}


async def test_a_model_that_is_not_there(server: Server) -> None:
    """compat-api 211, 212, 214"""
    for path in ("/v1/models/nope", "/v1/models/ann/nope", "/v1/models/ann%2Fnope"):
        answer = await server.client.get(path)
        assert (answer.status_code, answer.json()["error"]["type"]) == (404, "not_found_error")
    answer = await server.client.get("/v1/models/nope", headers={"anthropic-version": "2023-06-01"})
    assert answer.json()["type"] == "error"
    answer = await server.client.delete("/v1/models/nope")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
