"""What a request may wish beyond the usual options: bias, samplers, bounded thoughts, GBNF, token ids, progress."""

from __future__ import annotations

from typing import Any

import pytest

from server.errors import InvalidRequest
from server.messages.frames import Delta, Grammar, PromptProgress, ThoughtLimit
from server.messages.options import SamplingOptions, read_options
from tests.runner.answers import ask
from tests.runner.conftest import Running
from tests.runner.test_runner_streams import TEXTS

pytestmark = pytest.mark.anyio
THINK = "<think>\nThe user asks why.\n</think>\n\nIt scatters!"


def sampling(**options: Any) -> SamplingOptions:
    return read_options({"temperature": 0, **options}).sampling


def thought(tokens: int, opening: str = "<think>", message: str = "") -> ThoughtLimit:
    return ThoughtLimit(tokens=tokens, opening=opening, endings=("</think>",), closing=f"{message}</think>")


async def test_bias_forbids_and_forces_tokens_by_id_and_by_text(running: Running) -> None:
    """Checks 86 and 87 of the compat API's list reach the engine like this."""
    async with running() as runner:
        first, _, third = (await runner.tokenize(" is blue because"))[:3]
        assert (await ask(runner, "SKY", sampling=sampling(logit_bias={str(first): False}))).text[:11] != "The sky is "
        held = await ask(runner, "SKY", sampling=sampling(logit_bias=[[" is", False]]), max_tokens=3)
        assert " is" not in held.text
        forced = await ask(runner, "SKY", sampling=sampling(logit_bias={str(third): 100}), max_tokens=3)
        assert forced.text == " because because because"
        nobody = await ask(runner, "SKY", sampling=sampling(logit_bias={"99999999": -100, "-5": 100}))
        assert nobody.text == TEXTS["SKY"]


async def test_an_ignored_end_lets_the_answer_run_to_its_limit(running: Running) -> None:
    async with running() as runner:
        held = await ask(runner, "EMPTY", sampling=sampling(ignore_eos=True), max_tokens=5)
        assert (held.end.reason, held.end.eval_tokens) == ("length", 5)


@pytest.mark.parametrize(
    "options",
    [
        {"top_n_sigma": 1.0}, {"xtc_probability": 0.01}, {"dynatemp_range": 0.3, "temperature": 0.5},
        {"mirostat": 1, "mirostat_tau": 0.01}, {"mirostat": 2, "mirostat_tau": 0.01},
        {"samplers": ["top_k", "temperature"], "top_k": 1}, {"samplers": ["min_p", "typical_p", "xtc"], "min_p": 0.9},
        {"min_keep": 1, "top_p": 0.01}, {"dry_multiplier": 0.5, "top_k": 1},
    ],
)  # fmt: skip
async def test_every_sampler_takes_part(running: Running, options: dict[str, Any]) -> None:
    async with running() as runner:
        chosen = sampling(**{"temperature": 0.01, "seed": 4, **options})
        assert (await ask(runner, "SKY", sampling=chosen)).text == TEXTS["SKY"]


async def test_dry_breaks_a_loop_that_goes_on_without_it(running: Running) -> None:
    loop = "again andagain andagain andagain and"
    async with running() as runner:
        free = await ask(runner, "LOOP", sampling=sampling(), max_tokens=12)
        held = await ask(runner, "LOOP", sampling=sampling(dry_multiplier=50.0, dry_base=4.0), max_tokens=12)
    assert free.text.startswith(loop)
    assert not held.text.startswith(loop)


async def test_penalties_take_part_only_where_the_list_of_samplers_names_them(running: Running) -> None:
    strong = {"presence_penalty": 1000, "repeat_last_n": -1}
    async with running() as runner:
        free = await ask(runner, "LOOP", sampling=sampling(samplers=["top_k"], **strong), max_tokens=6)
        held = await ask(runner, "LOOP", sampling=sampling(samplers=["penalties", "top_k"], **strong), max_tokens=6)
    assert free.text == "again andagain andagain and"
    assert held.text != free.text


async def test_a_sampler_that_nobody_knows_is_named_and_others_go_on(running: Running) -> None:
    async with running() as runner:
        with pytest.raises(InvalidRequest, match='no sampler "wish"'):
            await ask(runner, "SKY", sampling=sampling(temperature=1, samplers=["wish"]))
        assert (await ask(runner, "SKY")).text == TEXTS["SKY"]


@pytest.mark.parametrize("tokens", [0, 1, 2])
async def test_a_thought_ends_after_its_budget_and_the_answer_follows(running: Running, tokens: int) -> None:
    """Check 141."""
    free = ["<think>", "\nThe user", " asks"]
    async with running() as runner:
        held = await ask(runner, "THINK", thought=thought(tokens))
        assert held.text == "".join(free[: tokens + 1]) + "</think>\n\nIt scatters!"
        spoken = await ask(runner, "THINK", thought=thought(tokens, message=" Enough."))
        assert spoken.text.startswith("".join(free[: tokens + 1]) + " Enough.</think>")


async def test_a_budget_that_suffices_changes_nothing(running: Running) -> None:
    async with running() as runner:
        assert (await ask(runner, "THINK", thought=thought(50))).text == THINK
        assert (await ask(runner, "SKY", thought=thought(0))).text == TEXTS["SKY"]  # it did not think at all


async def test_a_thought_that_never_ends_is_ended(running: Running) -> None:
    async with running() as runner:
        held = await ask(runner, "LOOP", thought=thought(6, opening=""), max_tokens=40)
        assert held.text == "again andagain andagain and</think>\n\nIt scatters!"


async def test_a_grammar_holds_behind_a_thought_that_was_cut_short(running: Running) -> None:
    grammar = Grammar(kind="gbnf", source='root ::= "yes" | "no"', opening="<think>", after=("</think>",))
    async with running() as runner:
        held = await ask(runner, "THINK", grammar=grammar, thought=thought(1))
        assert held.text.removeprefix("<think>\nThe user</think>").strip() in ("yes", "no")


async def test_a_gbnf_grammar_is_followed_and_a_broken_one_refused(running: Running) -> None:
    source = 'root ::= item ("," item){2}\nitem ::= [a-c] digit?\ndigit ::= [0-9] # a comment'
    async with running() as runner:
        held = await ask(runner, "SKY", grammar=Grammar(kind="gbnf", source=source), max_tokens=60)
        parts = held.text.split(",")
        assert len(parts) == 3
        assert all(part[0] in "abc" and part[1:].isdigit() | (part[1:] == "") for part in parts)
        with pytest.raises(InvalidRequest, match="grammar"):
            await ask(runner, "SKY", grammar=Grammar(kind="gbnf", source="root ::= ("))


async def test_without_the_cache_a_prompt_is_read_anew(running: Running) -> None:
    prompt = "word " * 30 + "SKY"
    async with running() as runner:
        await ask(runner, prompt)
        assert (await ask(runner, prompt)).end.cached_tokens > 30
        fresh = await ask(runner, prompt, use_cache=False)
        assert (fresh.text, fresh.end.cached_tokens) == (TEXTS["SKY"], 0)


async def test_token_ids_and_progress_are_told_where_they_are_asked_for(running: Running) -> None:
    ids: list[int] = []
    readings: list[PromptProgress] = []
    async with running(batch_tokens=64) as runner:
        async for event in runner.generate("word " * 60 + "SKY", with_tokens=True, with_progress=True):
            if isinstance(event, Delta):
                ids += event.tokens
            elif isinstance(event, PromptProgress):
                readings.append(event)
        *said, end = ids
        assert await runner.detokenize(said) == TEXTS["SKY"]
        assert await runner.detokenize([end]) == "<|end|>"
    assert len(readings) > 2
    assert [one.read_tokens for one in readings] == sorted({one.read_tokens for one in readings})
    assert readings[-1].read_tokens == readings[-1].prompt_tokens


async def test_an_answer_out_of_time_ends_at_its_next_line(running: Running) -> None:
    async with running() as runner:
        two_tools = (await ask(runner, "TWOTOOLS", sampling=sampling(max_predict_ms=0))).text
        quick = read_options({"temperature": 0, "max_predict_ms": 1}).sampling
        # Every token takes some time, and the first line of a long answer far more than a millisecond.
        cut = await ask(runner, "word " * 400 + "TWOTOOLS", sampling=quick)
        assert two_tools.startswith(cut.text)


@pytest.mark.parametrize("value", [3, "x", [[1]], [[True, 1]], {"1": "much"}, {"1": True}, [[1, None]]])
def test_a_bias_of_a_wrong_form_is_refused(value: Any) -> None:
    with pytest.raises(InvalidRequest, match="logit_bias"):
        read_options({"logit_bias": value})


async def test_a_grammar_of_a_model_that_may_think_brings_no_white_space_of_its_own(running: Running) -> None:
    """Check 94: the answer is what the grammar says, from its first letter."""
    grammar = Grammar(
        kind="gbnf", source='root ::= "yes" | "no"', opening="<think>", after=("</think>",), bridge="</think>"
    )
    async with running() as runner:
        for seed in range(4):
            held = await ask(runner, "SKY", grammar=grammar, sampling=sampling(temperature=3.0, seed=seed))
            assert held.text.rpartition("</think>")[2].strip() in ("yes", "no")
            assert not held.text[:1].isspace() or "<think>" in held.text
