"""One door to prompts: a chat or a completion in, the text for the model out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

import anyio.to_thread
import msgspec

from server.messages.chat import GenerationRequest, Message, Think
from server.prompts import gotemplate, harmony, history, images, jinja
from server.prompts.selection import TemplateChoice

Tools = Sequence[Mapping[str, Any]] | None


class Prompt(msgspec.Struct, frozen=True, kw_only=True):
    """`messages` are those that reached the prompt; `dropped` counts those that did not."""

    text: str
    messages: tuple[Message, ...] = ()
    image_count: int = 0
    dropped: int = 0


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """What the prompt has to fit into. `truncate` False keeps all messages, whatever their length."""

    context_tokens: int
    count_tokens: Callable[[str], Awaitable[int]]
    truncate: bool = True
    has_projector: bool = False


class Vocabulary(msgspec.Struct, frozen=True):
    """The texts of the special tokens that templates may write."""

    bos_text: str = ""
    eos_text: str = ""


def render(
    choice: TemplateChoice,
    messages: Sequence[Message],
    tools: Tools = None,
    think: Think = None,
    vocabulary: Vocabulary = Vocabulary(),  # noqa: B008
) -> str:
    """The prompt of a chat, with markers for images. `think` is resolved. Raises InvalidTemplate, InvalidRequest."""
    tools = tools or None  # a request without tools, which templates print as null
    if choice.renderer:
        from server.prompts import renderers  # two dozen families, of which a server may never need one

        return renderers.render(choice.renderer, messages, tools, think)
    marked, _ = images.mark(messages, family=choice.family)
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

    async def rendered(kept: Sequence[Message]) -> str:
        return await anyio.to_thread.run_sync(partial(render, choice, tuple(kept), tools, think, vocabulary))

    if window.truncate:
        fit = await history.fit(
            messages, rendered, window.count_tokens, window.context_tokens, has_projector=window.has_projector
        )
    else:
        fit = history.Fit(tuple(messages), await rendered(messages), 0)
    return Prompt(
        text=fit.prompt,
        messages=fit.messages,
        image_count=sum(len(message.images) for message in fit.messages),
        dropped=fit.dropped,
    )


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
    if request.raw:
        return Prompt(text=request.prompt, image_count=len(request.images))
    template = gotemplate.parse(request.template) if request.template else None
    if request.suffix:
        text = (template or choice.go).render_insert(request.prompt, request.suffix, think)
        return Prompt(text=text, image_count=len(request.images))
    system = request.system or system
    question = Message(role="user", content=request.prompt, images=request.images)
    messages = history.prepare([question], system=system, stored=() if context_text else stored)
    if template:
        text = await anyio.to_thread.run_sync(template.render, messages, None, think)
        return Prompt(text=context_text + text, messages=tuple(messages), image_count=len(request.images))
    if choice.is_bare:
        (marked, *_), count = images.mark([question])
        front = f"{system}\n\n" if system else ""
        return Prompt(text=context_text + front + marked.content, messages=(question,), image_count=count)
    if choice.mode == "native" and not choice.jinja_text:
        choice = msgspec.structs.replace(choice, mode="rendered")
    prompt = await fit_chat(choice, messages, window, None, think, vocabulary)
    return msgspec.structs.replace(prompt, text=context_text + prompt.text)
