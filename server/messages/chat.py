"""One internal request and one stream of chunks; each HTTP dialect translates to and from these."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from server.messages.options import SamplingOptions

Think = bool | Literal["low", "medium", "high", "max"] | None
IMAGE_HERE = "\ufdd4"  # a character that stands for nothing, and that no text has
FOREVER_SECONDS = float(2**63 - 1) / 1e9  # the longest duration that clients of the API can read


class ToolFunction(msgspec.Struct, frozen=True, kw_only=True):
    """A call that a model made, or made earlier in a conversation."""

    name: str = ""
    arguments: dict[str, Any] = {}
    index: int = 0


class ToolCall(msgspec.Struct, frozen=True, kw_only=True):
    function: ToolFunction
    id: str = ""


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One turn of a conversation. `role` is in lower case; images are raw bytes, each at its IMAGE_HERE in the content
    where it has any."""

    role: str = ""
    content: str = ""
    thinking: str = ""
    images: tuple[bytes, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    tool_name: str = ""
    tool_call_id: str = ""


class GenerationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What any dialect asks for.

    A chat has `messages`; a completion has `prompt` or `token_prompt`, and perhaps `suffix`, `system`, `template`,
    `context`, `raw`.
    `options` is the client's own mapping, merged over the model's when the model is known.
    `keep_alive_seconds`: None keeps what the runner has; negative is for ever.
    `format` is raw JSON text ("" for none).
    `default_options` stand below the model's own: what a dialect promises where neither the client nor the model says.
    `must_call`: the answer shall call one of `tools`. `count_only`: the prompt is counted, and nothing is generated.
    `grammar`: GBNF text that the answer must follow, "" for none. `token_prompt`: the prompt of a completion as token
    ids, taken as they are. `thinking_budget_tokens`: how long the model may think, None for as long as it likes; the
    message is written at the end of a thought that is cut short. `use_cache` False evaluates the whole prompt anew.
    `with_tokens` and `with_progress`: chunks tell the ids of their tokens, and how far the prompt has been read.
    `after_sampling`: log-probabilities are those that a token was drawn with, and not the model's own.
    `as_written`: the text is the answer; neither thoughts nor calls are looked for in it.
    """

    model: str
    is_chat: bool
    messages: tuple[Message, ...] = ()
    prompt: str = ""
    suffix: str = ""
    system: str = ""
    template: str = ""
    context: tuple[int, ...] = ()
    raw: bool = False
    images: tuple[bytes, ...] = ()
    tools: tuple[dict[str, Any], ...] = ()
    must_call: bool = False
    think: Think = None
    format: str = ""
    options: dict[str, Any] = {}
    default_options: dict[str, Any] = {}
    keep_alive_seconds: float | None = None
    truncate: bool = True
    shift: bool | None = None
    logprobs: bool = False
    top_logprobs: int = 0
    after_sampling: bool = False
    debug_render_only: bool = False
    count_only: bool = False
    grammar: str = ""
    token_prompt: tuple[int, ...] = ()
    thinking_budget_tokens: int | None = None
    thinking_budget_message: str = ""
    use_cache: bool = True
    with_tokens: bool = False
    with_progress: bool = False
    as_written: bool = False


class TopLogprob(msgspec.Struct, frozen=True):
    token: str
    logprob: float
    bytes: tuple[int, ...] = ()


class TokenLogprob(msgspec.Struct, frozen=True):
    """What the model thought of one piece of text. `bytes` are the UTF-8 bytes of `token`."""

    token: str
    logprob: float
    bytes: tuple[int, ...] = ()
    top: tuple[TopLogprob, ...] = ()


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Counts in tokens, durations in nanoseconds. `prompt_tokens` counts those taken from the prefix cache too,
    `eval_tokens` those of thoughts, which `thinking_tokens` are where they were counted apart."""

    total_ns: int = 0
    load_ns: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    prompt_ns: int = 0
    eval_tokens: int = 0
    eval_ns: int = 0
    thinking_tokens: int = 0


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """How far a prompt has been read, in tokens; `cached_tokens` of them were known before."""

    prompt_tokens: int
    cached_tokens: int
    read_tokens: int
    elapsed_ns: int


FinishReason = Literal["stop", "length", "load", "unload"]


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of an answer. The last one has `done`; a debug answer has `rendered` and nothing else.

    `prompt_tokens` and `cached_tokens` are on the first chunk of text, `eval_tokens` on every one: how many the answer
    has up to here. `stop_text`, on the last one, is the stop string that ended the answer, "" where something else
    did. `dropped_messages` of the history and `cut_tokens` of the prompt were left out because they did not fit; every
    piece of text says so.
    """

    text: str = ""
    thinking: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    done: bool = False
    reason: FinishReason | None = None
    usage: Usage | None = None
    context: tuple[int, ...] = ()
    rendered: str | None = None
    image_count: int = 0
    dropped_messages: int = 0
    cut_tokens: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    eval_tokens: int = 0
    stop_text: str = ""
    tokens: tuple[int, ...] = ()
    reading: Reading | None = None


class Progress(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of a create, pull or push. Sizes in bytes."""

    status: str
    digest: str = ""
    total: int = 0
    completed: int = 0


__all__ = [
    "FOREVER_SECONDS",
    "IMAGE_HERE",
    "Chunk",
    "FinishReason",
    "GenerationRequest",
    "Message",
    "Progress",
    "Reading",
    "SamplingOptions",
    "Think",
    "TokenLogprob",
    "ToolCall",
    "ToolFunction",
    "TopLogprob",
    "Usage",
]
