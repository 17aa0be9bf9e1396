"""One request, from the model's name to the last chunk."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec

from server.inference.catalog import Catalog, Entry
from server.inference.checks import check, check_loaded, check_media, check_places, check_source, with_think
from server.inference.embedding import embed
from server.inference.figures import Figures, Standing
from server.inference.lending import check_files, lend
from server.inference.prompt import build_prompt, may_be_cut
from server.inference.structure import grammar_of
from server.inference.thoughts import thought_limit
from server.messages import chat
from server.messages.chat import Chunk, GenerationRequest, TokenLogprob, Usage
from server.messages.embedding import EmbeddingRequest, EmbeddingResult
from server.messages.frames import Delta, Finished, Grammar, PromptProgress
from server.messages.options import SamplingOptions, read_options
from server.parsers.base import Parsed, PlainParser
from server.parsers.choose import Reading, choose
from server.prompts.chat import Prompt
from server.scheduler import Lease, Scheduler

LONGEST_ANSWER_CONTEXTS = 10  # an answer without a limit ends after this many times the context


class Inference:
    """The one use case behind every dialect."""

    def __init__(self, catalog: Catalog, scheduler: Scheduler) -> None:
        self.catalog = catalog
        self.scheduler = scheduler
        self.figures = Figures()

    async def embed(self, request: EmbeddingRequest) -> EmbeddingResult:
        """Vectors of texts. Cancel the task to cancel the request."""
        return await embed(self.catalog, self.scheduler, request)

    async def answer(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        """The chunks of one answer; the last has `done`.

        Failures that precede the first chunk are raised before it, so that the caller can still choose a status.
        Close the generator to cancel the request, wherever it is.
        """
        arrived_ns = time.perf_counter_ns()
        entry = await self.catalog.find(request.model, "chat" if request.is_chat else "generate")
        says_nothing = not (request.messages or request.prompt or request.token_prompt)
        is_empty = says_nothing and not request.images
        if not request.is_chat:
            check_source(request, entry)
        if says_nothing and request.keep_alive_seconds == 0:
            self.scheduler.unload(str(entry.model.model_path))
            yield Chunk(done=True, reason="unload")
            return
        check_source(request, entry)
        await check_files(entry)
        request = with_think(request, entry)
        check(request, entry)
        if not is_empty and not request.debug_render_only:
            check_media(request, entry)
        options = read_options(request.default_options, entry.model.params, request.options)
        async with lend(
            self.scheduler,
            entry,
            options.runner,
            shift=request.shift,
            keep_alive_seconds=request.keep_alive_seconds,
        ) as lease:
            if is_empty:
                yield Chunk(done=True, reason="load")
                return
            load_ns = time.perf_counter_ns() - arrived_ns
            prompt = await build_prompt(request, entry, lease)
            if request.debug_render_only:
                yield Chunk(rendered=prompt.shown.text, image_count=prompt.image_count, dropped_messages=prompt.dropped)
                return
            check_places(prompt)
            check_loaded(request.model, prompt, lease.loaded)
            if request.count_only:
                if request.token_prompt:
                    count = len(request.token_prompt)
                else:
                    count = await lease.runner.count(prompt.text, cuts=prompt.cuts, media=prompt.media)
                yield Chunk(done=True, reason="length", usage=Usage(prompt_tokens=count))
                return
            grammar = grammar_of(request, entry.choice, prompt.text)
            work = _generate(request, entry, options.sampling, lease, prompt, grammar, self.figures)
            async with aclosing(work) as chunks:
                async for chunk in chunks:
                    timed = _timed(chunk, arrived_ns, load_ns)
                    if timed.usage is not None:
                        self.figures.add(entry.model.name.short, timed.usage)
                    yield timed


async def _generate(
    request: GenerationRequest, entry: Entry, sampling: SamplingOptions, lease: Lease, prompt: Prompt,
    grammar: Grammar | None, figures: Figures,
) -> AsyncGenerator[Chunk, None]:  # fmt: skip
    last = request.messages[-1] if request.messages else None
    if request.as_written:
        reading = Reading(PlainParser(), ())
    else:
        reading = choose(entry.choice, prompt=prompt.text, think=request.think, tools=request.tools, last=last)
    parser = reading.parser
    said: list[str] = []
    told = untold = (0, 0)  # what the prompt has of tokens, and of cached ones: told once
    generated = cut_tokens = unread = thinking_tokens = 0

    def piece(parsed: Parsed, logprobs: tuple[TokenLogprob, ...] = (), tokens: tuple[int, ...] = ()) -> Chunk:
        nonlocal untold
        (prompt_tokens, cached_tokens), untold = untold, (0, 0)
        return Chunk(
            text=parsed.content,
            thinking=parsed.thinking,
            tool_calls=parsed.tool_calls,
            logprobs=logprobs,
            tokens=tokens,
            dropped_messages=prompt.dropped,
            cut_tokens=cut_tokens,
            eval_tokens=generated,
            prompt_tokens=prompt_tokens,
            cached_tokens=cached_tokens,
        )

    def standing() -> Standing:
        return Standing(*told, generated, any("\n" in text for text in said))

    events = _events(request, entry, sampling, lease, prompt, grammar, reading.visible)
    with figures.writing(entry.spec.path, sampling, standing):
        async with aclosing(events):
            async for event in events:
                if isinstance(event, Delta):
                    said.append(event.text)
                    if event.prompt_tokens:
                        told = untold = (event.prompt_tokens, event.cached_tokens)
                    cut_tokens = cut_tokens or event.cut_tokens
                    unread += event.generated - generated
                    generated = event.generated
                    parsed = parser.feed(event.text)
                    if parsed:  # tokens of a text that the parser held back belong to what it becomes
                        thinking_tokens += unread if parsed.thinking else 0
                        unread = 0
                    if parsed or event.logprobs or event.tokens:
                        yield piece(parsed, event.logprobs, event.tokens)
                elif isinstance(event, PromptProgress):
                    yield Chunk(reading=_reading(event), dropped_messages=prompt.dropped)
                else:
                    rest = parser.flush()
                    if rest:
                        yield piece(rest)
                    yield await _last(request, lease, prompt, "".join(said), event, thinking_tokens)


def _events(
    request: GenerationRequest, entry: Entry, sampling: SamplingOptions, lease: Lease, prompt: Prompt,
    grammar: Grammar | None, visible: tuple[str, ...],
) -> AsyncGenerator[PromptProgress | Delta | Finished, None]:  # fmt: skip
    return lease.runner.generate(
        request.token_prompt or prompt.text,
        cuts=() if request.token_prompt else prompt.cuts,
        media=prompt.media,
        sampling=sampling,
        max_tokens=_max_tokens(sampling.num_predict, lease.loaded.context_tokens),
        on_overflow="truncate" if may_be_cut(request, entry) and not prompt.media else "refuse",
        shift=lease.plan.shift,
        logprobs=request.top_logprobs if request.logprobs else None,
        after_sampling=request.after_sampling,
        visible=visible,
        grammar=grammar,
        thought=thought_limit(request, entry.choice, prompt.text),
        use_cache=request.use_cache,
        with_tokens=request.with_tokens,
        with_progress=request.with_progress,
    )


def _reading(event: PromptProgress) -> chat.Reading:
    return chat.Reading(
        prompt_tokens=event.prompt_tokens,
        cached_tokens=event.cached_tokens,
        read_tokens=event.read_tokens,
        elapsed_ns=event.elapsed_ns,
    )


async def _last(
    request: GenerationRequest, lease: Lease, prompt: Prompt, said: str, finished: Finished, thinking_tokens: int
) -> Chunk:
    context: tuple[int, ...] = ()
    if not request.is_chat and not request.raw and not request.token_prompt:
        shown = prompt.shown  # tokens stand for no image: a later prompt has its mark
        context = await lease.runner.tokenize(shown.text + said, cuts=shown.cuts)
    usage = Usage(
        prompt_tokens=finished.prompt_tokens,
        cached_tokens=finished.cached_tokens,
        prompt_ns=finished.prompt_ns,
        eval_tokens=finished.eval_tokens,
        eval_ns=finished.eval_ns,
        thinking_tokens=thinking_tokens,
    )
    return Chunk(
        done=True,
        reason=finished.reason,
        context=context,
        usage=usage,
        dropped_messages=prompt.dropped,
        cut_tokens=finished.cut_tokens,
        stop_text=finished.stop_text,
    )


def _max_tokens(wanted: int, context_tokens: int) -> int:
    """The length an answer is cut at. 0 and less mean no limit of the client's own."""
    longest = LONGEST_ANSWER_CONTEXTS * context_tokens
    return min(wanted, longest) if wanted > 0 else longest


def _timed(chunk: Chunk, arrived_ns: int, load_ns: int) -> Chunk:
    if chunk.usage is None:
        return chunk
    usage = msgspec.structs.replace(chunk.usage, total_ns=time.perf_counter_ns() - arrived_ns, load_ns=load_ns)
    return msgspec.structs.replace(chunk, usage=usage)
