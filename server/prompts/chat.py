"""One door to prompts: a chat or a completion in, the text for the model out."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
import msgspec

from server.messages.chat import GenerationRequest, Message, Think
from server.messages.frames import Media
from server.prompts import gotemplate, harmony, history, images, jinja
from server.prompts.guard import Cut, Guard
from server.prompts.selection import TemplateChoice

Tools = Sequence[Mapping[str, Any]] | None


class Prompt(msgspec.Struct, frozen=True, kw_only=True):
    """`messages` are those that reached the prompt; `dropped` counts those that did not. `cuts`: rising places in the
    text that no token may reach across, or what a client wrote would become a control token. `media`: the images and
    sounds that stand in the text, in the order of their places; `with_marks` has `[img-N]` where they are. They are
    fewer than `image_count` where a template does not print a message."""

    text: str
    cuts: tuple[int, ...] = ()
    media: tuple[Media, ...] = ()
    with_marks: Cut | None = None
    messages: tuple[Message, ...] = ()
    image_count: int = 0
    dropped: int = 0

    @property
    def shown(self) -> Cut:
        """What people and later prompts get to see of it."""
        return self.with_marks or Cut(self.text, self.cuts)


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """What the prompt has to fit into. `truncate` False keeps all messages, whatever their length. `count_tokens`: of
    a text and its cuts. `count_all`: the same with all media in their places, where they can be counted."""

    context_tokens: int
    count_tokens: Callable[[str, tuple[int, ...]], Awaitable[int]]
    count_all: Callable[[Prompt], Awaitable[int]] | None = None
    truncate: bool = True
    has_projector: bool = False


class Vocabulary(msgspec.Struct, frozen=True):
    """The texts of the special tokens that templates may write, and those of all control tokens."""

    bos_text: str = ""
    eos_text: str = ""
    control_texts: tuple[str, ...] = ()


def render(
    choice: TemplateChoice,
    messages: Sequence[Message],
    tools: Tools = None,
    think: Think = None,
    vocabulary: Vocabulary = Vocabulary(),  # noqa: B008
    tag: images.Tag = images.plain_tag,
) -> str:
    """The prompt of a chat, with markers for images. `think` is resolved. Raises InvalidTemplate, InvalidRequest."""
    tools = tools or None  # a request without tools, which templates print as null
    if choice.renderer:
        from server.prompts import renderers  # two dozen families, of which a server may never need one

        return renderers.render(choice.renderer, messages, tools, think, tag)
    marked, _ = images.mark(messages, family=choice.family, tag=tag)
    if choice.mode == "native":
        return _native(choice.jinja_text or jinja.CHATML, marked, tools, think, vocabulary)
    if choice.is_harmony:
        names = harmony.ToolNames(tools or ())
        return choice.go.render(names.in_history(marked), names.in_tools(tools), think)
    return choice.go.render(marked, tools, think)


def _native(text: str, messages: Sequence[Message], tools: Tools, think: Think, vocabulary: Vocabulary) -> str:
    """The GGUF's own template. An answer that the client has begun is continued, not closed."""
    template = jinja.compile(text)
    last = messages[-1] if messages else None
    is_begun = last is not None and last.role == "assistant" and not last.tool_calls and bool(last.content)
    asked = messages[:-1] if is_begun else messages
    prompt = template.render(asked, tools, think, bos_text=vocabulary.bos_text, eos_text=vocabulary.eos_text)
    if not is_begun or last is None:
        return prompt
    if prompt.rstrip().endswith("<think>"):
        return f"{prompt}{last.thinking}\n</think>\n\n{last.content}"
    return prompt + last.content


async def fit_chat(
    choice: TemplateChoice,
    messages: Sequence[Message],
    window: Window,
    tools: Tools = None,
    think: Think = None,
    vocabulary: Vocabulary = Vocabulary(),  # noqa: B008
) -> Prompt:
    """The prompt of as many of the newest messages as fit, rendered in a worker thread."""
    guard = _guard(choice, vocabulary)
    tools = guard.tools(tools)

    async def rendered(kept: Sequence[Message]) -> str:
        work = partial(render, choice, tuple(guard.messages(kept)), tools, think, vocabulary, guard.tag)
        return await anyio.to_thread.run_sync(work, limiter=_turns(choice.source))

    async def count_tokens(marked: str) -> int:
        prompt = guard.unmarked(marked)
        return await window.count_tokens(prompt.text, prompt.cuts)

    count_all = window.count_all

    async def count_media(marked: str, kept: Sequence[Message]) -> int:
        return await count_all(_read(marked, guard, kept)) if count_all else 0

    if window.truncate:
        fit = await history.fit(
            messages,
            rendered,
            count_tokens,
            window.context_tokens,
            has_projector=window.has_projector,
            count_all=count_media if count_all else None,
        )
    else:
        fit = history.Fit(tuple(messages), await rendered(messages), 0)
    return _read(fit.prompt, guard, fit.messages, fit.dropped)


def _read(marked: str, guard: Guard, messages: Sequence[Message], dropped: int = 0) -> Prompt:
    """The prompt that was rendered of these messages."""
    prompt = guard.unmarked(marked)
    sent = [image for message in messages for image in message.images]
    return Prompt(
        text=prompt.text,
        cuts=prompt.cuts,
        media=tuple(Media(place=place, data=sent[number]) for number, place in prompt.images),
        with_marks=guard.shown(marked) if sent else None,
        messages=tuple(messages),
        image_count=len(sent),
        dropped=dropped,
    )


def _guard(choice: TemplateChoice, vocabulary: Vocabulary) -> Guard:
    return Guard.for_template(vocabulary.control_texts, None if choice.renderer else choice.source)


@functools.lru_cache(maxsize=64)
def _turns(source: str) -> anyio.CapacityLimiter:
    """A template renders one prompt at a time: a slow one holds up its own model, and takes no thread from others. All
    templates that come with requests wait for each other: `source` is "" for them."""
    return anyio.CapacityLimiter(1)


async def fit_completion(
    choice: TemplateChoice,
    request: GenerationRequest,
    window: Window,
    *,
    system: str = "",
    stored: Sequence[Message] = (),
    context_text: str = "",
    think: Think = None,
    vocabulary: Vocabulary = Vocabulary(),  # noqa: B008
) -> Prompt:
    """The prompt of a completion, in the first form that applies: raw, between two texts, by the request's template,
    bare where the model has no template, else as a chat of one question.

    `system` and `stored` are the model's; the request's system text wins, and an earlier context (`context_text`, its
    detokenised text) stands in front and takes the place of the stored messages.
    """
    system = request.system or system
    question = Message(role="user", content=request.prompt, images=request.images)
    if request.raw:
        guard = Guard()
        return _read(images.mark_written(request.prompt, len(request.images), guard.tag), guard, [question])
    messages = history.prepare([question], system=system, stored=() if context_text else stored)
    if request.suffix or request.template:
        guard = Guard.for_template(vocabulary.control_texts, request.template or choice.go_text)
        work = partial(_by_go_template, choice, request, messages, guard, think)
        marked = await anyio.to_thread.run_sync(work, limiter=_turns("" if request.template else choice.go_text))
        if request.suffix:
            return _read(marked, guard, [question])
        return _behind(context_text, _read(marked, guard, messages))
    if choice.is_bare:
        guard = Guard()
        (bare, *_), _ = images.mark([question], tag=guard.tag)
        front = f"{system}\n\n" if system else ""
        return _behind(context_text, _read(front + bare.content, guard, [question]))
    if choice.mode == "native" and not choice.jinja_text:
        choice = msgspec.structs.replace(choice, mode="rendered")
    prompt = await fit_chat(choice, messages, window, None, think, vocabulary)
    return _behind(context_text, prompt)


def _by_go_template(
    choice: TemplateChoice, request: GenerationRequest, messages: Sequence[Message], guard: Guard, think: Think
) -> str:
    template = gotemplate.parse(request.template) if request.template else choice.go
    guarded = guard.messages(messages)
    if request.suffix:
        (question, *_), _ = images.mark(guarded[-1:], family=choice.family, tag=guard.tag)
        return template.render_insert(question.content, guard.text(request.suffix), think)
    marked, _ = images.mark(guarded, family=choice.family, tag=guard.tag)
    return template.render(marked, None, think)


def _behind(context_text: str, prompt: Prompt) -> Prompt:
    """The prompt with an earlier one in front."""
    if not context_text:
        return prompt
    more = len(context_text)
    shown = prompt.with_marks
    return msgspec.structs.replace(
        prompt,
        text=context_text + prompt.text,
        cuts=_moved(prompt.cuts, more),
        media=tuple(msgspec.structs.replace(one, place=one.place + more) for one in prompt.media),
        with_marks=Cut(context_text + shown.text, _moved(shown.cuts, more)) if shown else None,
    )


def _moved(cuts: tuple[int, ...], more: int) -> tuple[int, ...]:
    return tuple(more + cut for cut in cuts)
