"""Answers that are held to a schema or a grammar by real runners."""

from __future__ import annotations

import json
import random
import re
import time
from typing import Any

import anyio
import jsonschema
import msgspec
import pytest

from server.errors import InvalidRequest
from server.messages.frames import Delta, Grammar
from server.messages.options import SamplingOptions
from tests.runner.answers import ask
from tests.runner.conftest import Running
from tests.runner.schemas import make_schema
from tests.runner.test_runner_streams import TEXTS

pytestmark = pytest.mark.anyio

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}, "tags": {"items": {"type": "string"}}},
    "required": ["name", "age", "tags"],
}
HOT = SamplingOptions(temperature=1.5, seed=1)
THOUGHT: dict[str, Any] = {"opening": "<think>", "after": ("</think>",), "bridge": "</think>"}
COMPILE_SECONDS = 5.0


def schema(value: Any, **more: Any) -> Grammar:
    return Grammar(kind="json_schema", source=json.dumps(value), **more)


PERSONS = schema(PERSON)
SHORT = schema(
    {"type": "object", "properties": {"a": {"enum": ["x", "y"]}}, "required": ["a"], "additionalProperties": False}
)


async def test_what_the_model_says_anyway_comes_out_and_ends_without_another_step(running: Running) -> None:
    async with running() as runner:
        free = await ask(runner, "JSON")
        for grammar in (Grammar(kind="json_object"), PERSONS, schema({}), schema({"type": "object"})):
            for sampling in (SamplingOptions(temperature=0), HOT, SamplingOptions(temperature=0, repeat_penalty=1.3)):
                held = await ask(runner, "JSON", grammar=grammar, sampling=sampling)
                assert held.text == free.text == TEXTS["JSON"]
                assert (held.end.reason, held.end.eval_tokens) == ("stop", free.end.eval_tokens)
        whole = await ask(runner, "JSON", grammar=PERSONS, max_tokens=7)
        assert (whole.text, whole.end.reason, whole.end.eval_tokens) == (TEXTS["JSON"], "stop", 7)


async def test_log_probabilities_are_those_of_the_model_itself(running: Running) -> None:
    async with running() as runner:
        held = await ask(runner, "SKY", grammar=SHORT, sampling=HOT, logprobs=1, max_tokens=400)
        assert json.loads(held.text)["a"] in ("x", "y")
        assert held.logprobs[0].top[0].token == "The sky"
        assert held.logprobs[0].logprob < -1


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_the_model_would_say_the_answer_follows_the_schema(running: Running, seed: int) -> None:
    chance = random.Random(seed)
    schemas = [make_schema(chance) for _ in range(20)]
    ended: list[bool] = []
    refused: list[str] = []

    async with running(slots=8, context_tokens=8192) as runner:

        async def one(number: int) -> None:
            asked = schemas[number]
            prompt = chance.choice(list(TEXTS))
            options = SamplingOptions(temperature=chance.choice([0.5, 2.0]), seed=seed, repeat_last_n=0)
            try:
                held = await ask(runner, prompt, grammar=schema(asked), sampling=options, max_tokens=4000)
            except InvalidRequest as error:  # a number that cannot be, such as an empty range
                refused.append(str(error))
                return
            ended.append(held.end.reason == "stop")
            if ended[-1]:
                jsonschema.validate(json.loads(held.text), asked)

        async with anyio.create_task_group() as tasks:
            for number in range(len(schemas)):
                tasks.start_soon(one, number)
    assert sum(ended) >= 15
    assert all("cannot be enforced" in sentence for sentence in refused)


async def test_properties_come_in_the_order_of_the_schema(running: Running) -> None:
    names = ["zeta", "alpha", "mid", "beta"]
    properties = {name: {"type": "null"} for name in names}
    asked = schema({"type": "object", "properties": properties, "required": names, "additionalProperties": False})
    async with running() as runner:
        held = await ask(runner, "SKY", grammar=asked, sampling=HOT, max_tokens=2000)
        assert list(json.loads(held.text)) == names


async def test_white_space_has_an_end(running: Running) -> None:
    """The scripted model likes all other tokens alike, so a greedy choice is always the first: a tab."""
    async with running(context_tokens=2048) as runner:
        held = await ask(runner, "SKY", grammar=SHORT, sampling=SamplingOptions(temperature=0))
        assert json.loads(held.text)["a"] in ("x", "y")
        compact = schema({**json.loads(SHORT.source), "x-guidance": {"whitespace_flexible": False}})
        assert re.fullmatch(r'\{"a":"[xy]"\}', (await ask(runner, "SKY", grammar=compact, sampling=HOT)).text)


async def test_regular_expressions_and_grammars(running: Running) -> None:
    async with running() as runner:
        shaped = await ask(runner, "SKY", grammar=Grammar(kind="regex", source="[a-f]{3,5}/x"), sampling=HOT)
        assert re.fullmatch("[a-f]{3,5}/x", shaped.text)
        lark = Grammar(kind="lark", source='start: "a" b "!"\nb: "b"+')
        assert re.fullmatch("ab+!", (await ask(runner, "SKY", grammar=lark, sampling=HOT, max_tokens=200)).text)
        with pytest.raises(InvalidRequest, match="cannot be enforced"):
            await ask(runner, "SKY", grammar=Grammar(kind="lark", source="start: !!"))


async def test_a_thought_is_free_and_what_follows_is_not(running: Running) -> None:
    """templates-and-parsers 79, native-api 204."""
    async with running(context_tokens=4096) as runner:
        for opening, prompt in (("<think>", "THINK"), ("", "SKY")):
            grammar = msgspec.structs.replace(SHORT, **{**THOUGHT, "opening": opening})
            held = await ask(runner, prompt, grammar=grammar, sampling=HOT, max_tokens=1000)
            thought, _, answer = held.text.partition("</think>")
            assert thought == {"THINK": "<think>\nThe user asks why.\n", "SKY": TEXTS["SKY"]}[prompt]
            assert json.loads(answer)["a"] in ("x", "y")


async def test_a_model_that_does_not_think_is_held_at_once(running: Running) -> None:
    async with running(context_tokens=4096) as runner:
        grammar = msgspec.structs.replace(PERSONS, **THOUGHT)
        assert (await ask(runner, "JSON", grammar=grammar)).text == TEXTS["JSON"]
        grammar = msgspec.structs.replace(SHORT, **THOUGHT)
        held = await ask(runner, "SKY", grammar=grammar, sampling=HOT, max_tokens=1000)
        assert json.loads(held.text.partition("</think>")[2] or held.text)["a"] in ("x", "y")


async def test_tags_around_a_call_and_a_way_out(running: Running) -> None:
    async with running(context_tokens=4096) as runner:
        around = msgspec.structs.replace(SHORT, before="<tool_call>\n", behind="\n</tool_call>")
        held = await ask(runner, "SKY", grammar=around, sampling=HOT, max_tokens=1000, visible=("<tool_call>",))
        assert held.text.startswith("<tool_call>\n{")
        assert held.text.endswith("}\n</tool_call>")
        free = await ask(runner, "TOOL")
        way_out = msgspec.structs.replace(SHORT, unless=("<tool_call>",))
        assert (await ask(runner, "TOOL", grammar=way_out)).text == free.text


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"not": {"type": "string"}}, "not"),
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"type": "string", "pattern": "(?=a)b"}, "regex|look-around"),
        ({"type": "integer", "minimum": 5, "maximum": 3}, "minimum"),
        ({"type": "string", "format": "color"}, "color"),
        ({"$ref": "http://example.com/schema"}, "example.com"),
        ({"type": "strin"}, "strin"),
    ],
)
async def test_what_cannot_be_enforced_is_refused_with_the_reason(running: Running, asked: Any, reason: str) -> None:
    async with running() as runner:
        with pytest.raises(InvalidRequest, match=reason):
            await ask(runner, "JSON", grammar=schema(asked))
        assert (await ask(runner, "JSON")).text == TEXTS["JSON"]


async def test_a_bomb_fails_alone_and_within_its_time(running: Running) -> None:
    """A schema that takes minutes to compile, beside a stream that goes on and a small schema that is served."""
    bomb = schema({"anyOf": [{"type": "integer", "multipleOf": 1999 - 2 * number} for number in range(300)]})
    async with running(slots=3, context_tokens=1024) as runner:
        gaps = [0.0]
        failed = anyio.Event()

        async def go_on() -> None:
            last = time.monotonic()
            async for event in runner.generate("LOOP"):
                gaps.append(time.monotonic() - last)
                last = time.monotonic()
                if failed.is_set() or not isinstance(event, Delta):
                    return

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(go_on)
            began = time.monotonic()
            with pytest.raises(InvalidRequest, match="not ready after 5 seconds"):
                await ask(runner, "JSON", grammar=bomb)
            assert time.monotonic() - began < COMPILE_SECONDS + 2
            assert (await ask(runner, "JSON", grammar=PERSONS)).text == TEXTS["JSON"]
            failed.set()
        assert max(gaps) < 1.0


async def test_a_pattern_that_explodes_while_answering_fails_alone(running: Running) -> None:
    bomb = schema({"type": "string", "pattern": "^((a{1,100}){1,100}){50,100}$"})
    async with running(slots=2, context_tokens=4096) as runner:
        with pytest.raises(InvalidRequest, match="cannot be enforced"):
            await ask(runner, "SKY", grammar=bomb, sampling=HOT, max_tokens=4000)
        assert (await ask(runner, "JSON", grammar=PERSONS)).text == TEXTS["JSON"]


async def test_a_request_that_leaves_while_its_grammar_is_made_leaves_nothing(running: Running) -> None:
    wide = schema({"enum": [f"v{number}" for number in range(30_000)]})
    async with running(slots=1) as runner:
        with anyio.move_on_after(0.02):
            await ask(runner, "JSON", grammar=wide)
        assert (await ask(runner, "JSON", grammar=PERSONS)).text == TEXTS["JSON"]
        with anyio.fail_after(20):
            while runner.pulse.active or runner.pulse.waiting:
                await ask(runner, "SKY")
