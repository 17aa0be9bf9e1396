"""Answers of a real llama.cpp to the scripted model, whose text is known in advance."""

from __future__ import annotations

import pytest

from server.errors import ContextExceeded, InvalidRequest
from server.messages.frames import Delta, Finished
from server.messages.options import SamplingOptions
from tests.runner.answers import ask
from tests.runner.conftest import Running

pytestmark = pytest.mark.anyio

SKY = "The sky is blue because of Rayleigh scattering."
COUNT = "one, two, three, four, five, six, seven, eight, nine, ten"
HOT = {"temperature": 10.0, "top_k": 0, "top_p": 1.0}


async def test_known_answers_and_their_counts(running: Running) -> None:
    async with running() as runner:
        sky = await ask(runner, "SKY")
        assert (sky.text, sky.end.reason, sky.end.prompt_tokens, sky.end.eval_tokens) == (SKY, "stop", 2, 8)
        assert sky.end.prompt_ns > 0
        assert sky.end.eval_ns > 0
        assert (await ask(runner, "EMOJI")).text == "Hi \N{LLAMA} done"
        empty = await ask(runner, "EMPTY")
        assert (empty.text, empty.end.reason, empty.end.eval_tokens) == ("", "stop", 1)
        assert (await ask(runner, "")).text == "Hello there, how can I help?"


async def test_what_is_known_after_loading(running: Running) -> None:
    async with running(slots=3, context_tokens=300) as runner:
        loaded = runner.loaded
        assert (loaded.context_tokens, loaded.slots, loaded.vocab_size) == (300, 3, 512)
        assert (loaded.bos_text, loaded.eos_text, loaded.add_bos) == ("<s>", "<|end|>", True)
        assert loaded.control_texts == (
            "<unk>",
            "<s>",
            "<|end|>",
            "<|system|>",
            "<|user|>",
            "<|assistant|>",
            "<|tool|>",
        )
        assert loaded.can_shift
        assert loaded.train_context_tokens == 8192
        kinds = {buffer.kind: buffer.bytes for buffer in loaded.buffers if not buffer.is_gpu}
        assert kinds["weights"] > 2_000_000
        assert {"kv", "compute", "output"} <= kinds.keys()
        assert runner.rss_bytes() > 10_000_000
        assert "scripted.gguf: running, 0 active" in repr(runner)


async def test_one_bos(running: Running) -> None:
    """templates 20"""
    async with running() as runner:
        bos, sky = await runner.tokenize("<s>SKY")
        assert await runner.tokenize("<s>SKY", add_special=True) == (bos, sky)
        assert await runner.tokenize("SKY", add_special=True) == (bos, sky)


async def test_no_token_reaches_across_a_cut(running: Running) -> None:
    async with running() as runner:
        end = (await runner.tokenize("<|end|>"))[0]
        assert await runner.tokenize("a<|end|>SKY") == (*await runner.tokenize("a"), end, *await runner.tokenize("SKY"))
        cut = await runner.tokenize("a<|end|>SKY", cuts=(2,), add_special=True)
        assert end not in cut
        assert await runner.detokenize(cut) == "<s>a<|end|>SKY"
        assert len(await runner.tokenize("SKY", cuts=(1, 2))) == 3
        assert await runner.tokenize("SKY", cuts=(0, 3)) == await runner.tokenize("SKY")
        whole = [event async for event in runner.generate("<|end|>SKY", cuts=(1,), max_tokens=1)]
        assert isinstance(whole[-1], Finished)
        assert whole[-1].prompt_tokens == 1 + len("<|end|>") + 1


@pytest.mark.parametrize(
    ("prompt", "stop", "text", "tokens"),
    [
        ("COUNT", (" five",), "one, two, three, four,", 5),
        ("SKY", ("lue be",), "The sky is b", 4),
        ("STOPPY", ("STOP",), "alpha beta ", 4),
        ("COUNT", ("seven", "three", "nine"), "one, two, ", 3),
        ("STOPPY", ("STOQ", "zzz"), "alpha beta STOP gamma delta", 7),
        ("COUNT", ("o",), "", 1),
        ("SKY", ("",), SKY, 8),
    ],
)
async def test_stop_strings(running: Running, prompt: str, stop: tuple[str, ...], text: str, tokens: int) -> None:
    """native-api 111."""
    async with running() as runner:
        answer = await ask(runner, prompt, sampling=SamplingOptions(stop=stop))
        assert (answer.text, answer.end.reason, answer.end.eval_tokens) == (text, "stop", tokens)


@pytest.mark.parametrize(("limit", "reason", "tokens"), [(7, "length", 7), (8, "stop", 8), (1, "length", 1)])
async def test_a_token_limit(running: Running, limit: int, reason: str, tokens: int) -> None:
    """native-api 107."""
    async with running() as runner:
        answer = await ask(runner, "SKY", max_tokens=limit)
        assert (answer.end.reason, answer.end.eval_tokens) == (reason, tokens)
        assert SKY.startswith(answer.text)


async def test_text_held_back_at_the_limit_is_sent(running: Running) -> None:
    async with running() as runner:
        answer = await ask(runner, "STOPPY", max_tokens=3, sampling=SamplingOptions(stop=("STOP",)))
        assert answer.text == "alpha beta ST"
        assert (await ask(runner, "EMOJI", max_tokens=3)).text == "Hi \ufffd"


async def test_no_tokens_wanted_is_no_work(running: Running) -> None:
    async with running() as runner:
        answer = await ask(runner, "SKY", max_tokens=0)
        assert (answer.text, answer.end.reason, answer.end.eval_tokens) == ("", "length", 0)


async def test_logprobs(running: Running) -> None:
    """native-api 108, 151, 152."""
    async with running() as runner:
        assert (await ask(runner, "SKY")).logprobs == []
        plain = await ask(runner, "LOOP", max_tokens=10, logprobs=0)
        assert len(plain.logprobs) == 10
        assert all(entry.top == () for entry in plain.logprobs)
        count = await ask(runner, "COUNT", max_tokens=4, logprobs=3)
        assert [entry.token for entry in count.logprobs] == ["one", ", two", ", three", ", four"]
        for entry in count.logprobs:
            assert entry.bytes == tuple(entry.token.encode())
            assert entry.logprob == pytest.approx(0.0, abs=1e-4)
            assert entry.logprob <= 0
            chances = [other.logprob for other in entry.top]
            assert chances == sorted(chances, reverse=True)
            assert len(chances) == 3
            assert entry.top[0].token == entry.token
        emoji = await ask(runner, "EMOJI", logprobs=1)
        assert [entry.token for entry in emoji.logprobs] == ["Hi ", "\N{LLAMA}", " done"]
        cut = await ask(runner, "STOPPY", logprobs=1, sampling=SamplingOptions(stop=("STOP",)))
        assert [entry.token for entry in cut.logprobs] == ["alpha", " beta", " "]


async def test_penalties_change_the_answer_but_not_the_logprobs(running: Running) -> None:
    async with running() as runner:
        sampling = SamplingOptions(temperature=0, presence_penalty=100.0, repeat_last_n=-1)
        answer = await ask(runner, "LOOP", max_tokens=3, sampling=sampling, logprobs=1)
        assert answer.text.startswith("again and")
        assert answer.logprobs[2].token != "again", "it was said before"
        assert answer.logprobs[2].logprob < -10
        assert answer.logprobs[2].top[0].token == "again"
        off = SamplingOptions(temperature=0, presence_penalty=100.0, repeat_last_n=0)
        assert (await ask(runner, "LOOP", max_tokens=3, sampling=off)).text == "again andagain"


async def test_seeds(running: Running) -> None:
    """native-api 105, 106: equal seeds say the same, others and none do not."""
    async with running() as runner:

        async def say(seed: int, **more: float) -> str:
            sampling = SamplingOptions(seed=seed, **{**HOT, **more})  # type: ignore[arg-type]
            return (await ask(runner, "SKY", max_tokens=12, sampling=sampling)).text

        assert await say(42) == await say(42)
        assert await say(42) == await say((1 << 32) + 42)
        assert await say(9223372036854775807) == await say(9223372036854775807)
        assert await say(42) != await say(43)
        assert await say(-1) != await say(-1)
        assert await say(1, temperature=0.0) == await say(2, temperature=0.0)


@pytest.mark.parametrize(
    "option", [{"top_k": 1}, {"top_p": 0.0}, {"top_p": 0.01}, {"min_p": 0.99}, {"temperature": -1.0}]
)
async def test_each_cut_leaves_the_likeliest_token(running: Running, option: dict[str, float]) -> None:
    async with running() as runner:
        sampling = SamplingOptions(seed=7, **{**HOT, "temperature": 3.0, **option})  # type: ignore[arg-type]
        assert (await ask(runner, "SKY", sampling=sampling)).text == SKY


async def test_tokens_and_text(running: Running) -> None:
    async with running() as runner:
        tokens = await runner.tokenize("<|user|>SKY")
        assert len(tokens) == 2
        assert await runner.detokenize(tokens) == "<|user|>SKY"
        assert await runner.tokenize("SKY", True) == (1, tokens[1])
        assert len(await runner.tokenize("<|user|>", parse_special=False)) > 1
        assert await runner.tokenize("") == ()
        assert (await ask(runner, (1, tokens[1]))).text == SKY
        with pytest.raises(InvalidRequest, match="There is no token 99999"):
            await runner.detokenize((99999,))
        with pytest.raises(InvalidRequest, match="There is no token -5"):
            await ask(runner, (-5,))
        assert (await ask(runner, "SKY")).text == SKY


async def test_a_text_that_brings_its_own_bos_gets_no_second_one(running: Running) -> None:
    async with running() as runner:
        assert (await ask(runner, "<s>SKY")).end.prompt_tokens == 2


async def test_control_tokens_are_shown_when_asked_for(running: Running) -> None:
    async with running() as runner:
        assert (await ask(runner, "SKY", visible=("<|end|>", "no token"))).text == SKY + "<|end|>"


async def test_a_common_beginning_is_not_read_again(running: Running) -> None:
    async with running(slots=1) as runner:
        await ask(runner, "x" * 100 + "SKY")
        again = await ask(runner, "x" * 100 + "COUNT")
        assert again.text == COUNT
        assert (again.end.prompt_tokens, again.end.cached_tokens) == (102, 101)
        same = await ask(runner, "x" * 100 + "COUNT")
        assert (same.text, same.end.cached_tokens) == (COUNT, 101)


async def test_an_oversized_prompt_is_refused_with_the_sentence_that_clients_search_for(running: Running) -> None:
    async with running(context_tokens=256) as runner:
        with pytest.raises(ContextExceeded, match=r"request \(602 tokens\) exceeds the available context size \(256"):
            await ask(runner, "x" * 600 + "SKY", on_overflow="refuse")
        with pytest.raises(ContextExceeded, match="the prompt is longer than the context length"):
            await ask(runner, "x" * 600 + "SKY", shift=False)
        assert (await ask(runner, "x" * 253 + "SKY", on_overflow="refuse", shift=False)).end.prompt_tokens == 255


async def test_finished_is_the_last_event(running: Running) -> None:
    async with running() as runner:
        events = [event async for event in runner.generate("SKY")]
        assert isinstance(events[-1], Finished)
        assert all(isinstance(event, Delta) for event in events[:-1])
        assert len(events) == 8, "one piece of text for each token"
