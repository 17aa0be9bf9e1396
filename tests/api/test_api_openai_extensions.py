"""What requests under /v1 may say beyond their dialects (compat-api 81-87, 94-96, 141, 175, 293, 14.3)."""

from __future__ import annotations

import math
from typing import Any

import pytest

from server.messages.chat import Chunk, Reading
from server.messages.options import read_options
from tests.api.conftest import Server
from tests.api.openai_scripts import HELLO, STOP, TOOLS, frames, script
from tests.api.test_api_openai_settings import BODIES

pytestmark = pytest.mark.anyio

CHAT, TEXT, RESPONSES, MESSAGES = BODIES
SCHEMA = {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}}
GRAMMAR = 'root ::= "x"'
ANSWER = {"role": "assistant", "content": "Once"}


@pytest.mark.parametrize(
    ("path", "members", "wanted"),
    [
        (CHAT, {"grammar": GRAMMAR}, {"grammar": GRAMMAR}),
        (TEXT, {"grammar": GRAMMAR}, {"grammar": GRAMMAR}),
        (CHAT, {"grammar": GRAMMAR, "tools": TOOLS, "tool_choice": "none"}, {"grammar": GRAMMAR, "tools": ()}),
        (CHAT, {"thinking_budget_tokens": 16}, {"thinking_budget_tokens": 16}),
        (CHAT, {"reasoning_budget_tokens": 0}, {"thinking_budget_tokens": 0}),
        (CHAT, {"reasoning_budget_tokens": -1}, {"thinking_budget_tokens": None}),
        (CHAT, {"reasoning": {"max_tokens": 5}, "thinking_budget_tokens": 16}, {"thinking_budget_tokens": 5}),
        (CHAT, {"reasoning_budget_message": "Enough."}, {"thinking_budget_message": "Enough."}),
        (RESPONSES, {"thinking_budget_tokens": 3}, {"thinking_budget_tokens": 3}),
        (MESSAGES, {"thinking": {"type": "disabled", "budget_tokens": 9}}, {"thinking_budget_tokens": None}),
        (CHAT, {"cache_prompt": False}, {"use_cache": False}),
        (CHAT, {}, {"use_cache": True, "with_tokens": False, "with_progress": False}),
        (CHAT, {"return_tokens": True}, {"with_tokens": True}),
        (CHAT, {"return_progress": True}, {"with_progress": False}),
        (CHAT, {"return_progress": True, "stream": True}, {"with_progress": True}),
        (TEXT, {"return_progress": True, "stream": True}, {"with_progress": True}),
    ],
)
async def test_members(server: Server, path: str, members: dict[str, Any], wanted: dict[str, Any]) -> None:
    """compat-api 94, 141"""
    server.inference.script = script(*HELLO)
    assert (await server.post(path, {**BODIES[path], **members})).status_code == 200
    request = server.inference.asked[-1]
    assert {name: getattr(request, name) for name in wanted} == wanted


@pytest.mark.parametrize(
    ("members", "wanted"),
    [
        ({"top_k": 5, "min_p": 0.1, "repeat_penalty": 1.2}, {"top_k": 5, "min_p": 0.1, "repeat_penalty": 1.2}),
        ({"options": {"top_k": 5}, "top_k": 6}, {"top_k": 6}),
        ({"options": {"temperature": 0.1}, "temperature": 0.2}, {"temperature": 0.2}),
        ({"logit_bias": {"15": -100}}, {"logit_bias": ((15, -100.0),)}),
        ({"logit_bias": [[15, False], ["no", 2]]}, {"logit_bias": ((15, -math.inf), ("no", 2.0))}),
        ({"mirostat": 2, "dry_sequence_breakers": ["x"]}, {"mirostat": 2, "dry_sequence_breakers": ("x",)}),
        ({"t_max_predict_ms": 70}, {"max_predict_ms": 70}),
        ({"n_predict": 4, "max_tokens": 7}, {"num_predict": 4}),
    ],
)
@pytest.mark.parametrize("path", [CHAT, TEXT])
async def test_options(server: Server, path: str, members: dict[str, Any], wanted: dict[str, Any]) -> None:
    """compat-api 81, 82, 86, 87"""
    await server.post(path, {**BODIES[path], **members})
    sampling = read_options(server.inference.asked[-1].options).sampling
    assert {name: getattr(sampling, name) for name in wanted} == wanted


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"grammar": GRAMMAR, "response_format": SCHEMA}, "'grammar' cannot be used together with a JSON schema"),
        ({"grammar": GRAMMAR, "tools": TOOLS}, "'grammar' cannot be used together with tools"),
        ({"grammar": 5}, "'grammar' must be a string"),
        ({"logit_bias": 5}, 'option "logit_bias" must be an object'),
        ({"thinking_budget_tokens": "many"}, "'thinking_budget_tokens' must be a whole number"),
        ({"options": {"num_ctx": "big"}}, 'option "num_ctx" must be of type integer'),
        ({"n": 9}, "'n' must be between 1 and 8"),
        ({"n_cmpl": 9}, "'n' must be between 1 and 8"),
        ({"chat_template_kwargs": {"enable_thinking": "no"}}, "must be true or false"),
        (
            {"continue_final_message": True, "add_generation_prompt": True},
            "Cannot set both add_generation_prompt and continue_final_message to true.",
        ),
        (
            {
                "continue_final_message": True,
                "messages": [{**ANSWER, "tool_calls": [{"id": "a", "function": {"name": "f"}}]}],
            },
            "An answer that calls tools cannot be continued",
        ),
    ],
)
async def test_refusals(server: Server, members: dict[str, Any], words: str) -> None:
    """compat-api 65, 85, 93-95"""
    answer = await server.post(CHAT, {**BODIES[CHAT], **members})
    assert answer.status_code == 400
    assert words in answer.json()["error"]["message"]
    assert not server.inference.asked


@pytest.mark.parametrize("path", [CHAT, TEXT])
async def test_how_far_a_prompt_has_been_read(server: Server, path: str) -> None:
    """compat-api 175"""
    reading = Reading(prompt_tokens=9, cached_tokens=2, read_tokens=5, elapsed_ns=3_000_000)
    server.inference.script = script(Chunk(reading=reading), *HELLO)
    first, *_ = frames(await server.post(path, {**BODIES[path], "stream": True, "return_progress": True}))
    assert first["prompt_progress"] == {"total": 9, "cache": 2, "processed": 5, "time_ms": 3.0}
    choice = first["choices"][0]
    assert choice.get("text", "") == ""
    assert choice.get("delta", {}).get("content", "") == ""
    assert choice["finish_reason"] is None


@pytest.mark.parametrize("path", [CHAT, TEXT])
async def test_ids_of_the_tokens(server: Server, path: str) -> None:
    server.inference.script = script(Chunk(text="Hel", tokens=(7, 8)), Chunk(tokens=(9,)), STOP)
    body = {**BODIES[path], "return_tokens": True}
    assert (await server.post(path, body)).json()["choices"][0]["tokens"] == [7, 8, 9]
    found = frames(await server.post(path, {**body, "stream": True}))[:-1]
    assert [chunk["choices"][0].get("tokens") for chunk in found] == [[7, 8], [9], None]


async def test_the_start_of_a_message_knows_the_prompt(server: Server) -> None:
    """compat-api 293, 307"""
    server.inference.script = script(Chunk(text="Hel", prompt_tokens=9, cached_tokens=5), STOP)
    answer = await server.post(MESSAGES, {**BODIES[MESSAGES], "stream": True})
    assert '"usage":{"input_tokens":4,"output_tokens":0' in answer.text
    assert '"cache_read_input_tokens":5' in answer.text


async def test_the_server_is_up(server: Server) -> None:
    """compat-api 329"""
    for path in ("/health", "/v1/health"):
        answer = await server.client.get(path)
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
        assert (await server.client.head(path)).status_code == 200


async def test_a_page_may_send_any_header(server: Server) -> None:
    """compat-api 18, 19"""
    headers = {
        "origin": "http://localhost:3000",
        "access-control-request-method": "POST",
        "access-control-request-headers": "x-api-key, X-Stainless-Read-Timeout,x-of-tomorrow",
    }
    answer = await server.client.request("OPTIONS", MESSAGES, headers=headers)
    allowed = answer.headers["access-control-allow-headers"].lower().split(",")
    assert {"x-api-key", "x-stainless-read-timeout", "x-of-tomorrow", "anthropic-version"} <= set(allowed)


async def test_tokens_without_a_model(server: Server) -> None:
    for path in ("/tokenize", "/detokenize"):
        answer = await server.client.post(path, json={"content": "hi"})
        assert (answer.status_code, answer.json()["error"]["message"]) == (400, "model is required")


async def test_the_prompt_of_a_chat(server: Server) -> None:
    """compat-api 333"""
    server.inference.script = script(Chunk(rendered="<|user|>hi"))
    answer = await server.client.post("/apply-template", json=BODIES[CHAT])
    assert answer.json() == {"prompt": "<|user|>hi"}
    assert server.inference.asked[-1].debug_render_only
