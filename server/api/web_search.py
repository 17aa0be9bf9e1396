"""Searches of the web that the server runs for a model, in the OpenAI and Anthropic dialects.

The client only says that the model may search. The model is offered a function; what it calls it with is searched for,
the results are put behind its call, and it goes on from there. Clients see the searches and not the function's calls.
All searches of a request together take at most as long as MAX_SEARCHES time limits of the provider.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import msgspec

from server.api.wire_runs import Answering, Piece, SearchStep, choices
from server.api.wire_tools import function_tool, name_of, new_id
from server.errors import SearchFailed
from server.messages.chat import Chunk, GenerationRequest, Message, ToolCall, Usage
from server.search import SearchProvider, SearchResult

log = logging.getLogger(__name__)

WEB_SEARCH = "web_search"
MAX_SEARCHES = 3
RESULTS_PER_SEARCH = 5
FUNCTION = function_tool(
    WEB_SEARCH,
    "Search the web. The result is a list of pages with title, address and an excerpt",
    {
        "type": "object",
        "required": ["query"],
        "properties": {"query": {"type": "string", "description": "What to search for"}},
    },
)


class NothingToSearchFor(SearchFailed):
    """web_search requires a non-empty string query"""


class TooManySearches(SearchFailed):
    """The model has searched as often as it may."""


def with_search(tools: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The tools and the search; one of the client's under the same name makes room for it."""
    return [*(tool for tool in tools if name_of(tool) != WEB_SEARCH), FUNCTION]


async def searching(
    inference: Answering,
    request: GenerationRequest,
    provider: SearchProvider,
    *,
    most: int = MAX_SEARCHES,
    only_one_call: bool = False,
    fails_quietly: bool = False,
) -> AsyncGenerator[Piece, None]:
    """One answer, with searches between its parts; its usage is that of all parts. Raises SearchFailed for a search
    that fails, or with `fails_quietly` tells it as a step and ends the answer."""
    total = Usage()
    searches = 0
    while True:
        part = _Part()
        async with aclosing(choices(inference, [request], only_one_call=only_one_call)) as pieces:
            async for piece in pieces:
                shown = part.add(piece.chunk)
                if not piece.chunk.done or part.held or shown.text or shown.thinking or shown.tool_calls:
                    yield Piece(0, shown)
        total = _sum(total, part.last.usage)
        if part.is_last:
            if part.held:
                yield Piece(0, Chunk(tool_calls=tuple(call for call in part.held if not _is_search(call))))
            yield Piece(0, msgspec.structs.replace(part.last, usage=total))
            return
        results: list[Message] = []
        for call in part.held:
            if not _is_search(call):
                yield Piece(0, Chunk(tool_calls=(call,)))
                continue
            begun = SearchStep(searches + 1, _query(call))
            error = _obstacle(begun, most)
            if error is None or fails_quietly:
                yield Piece(0, Chunk(), begun)
            ended = await _searched(provider, begun, error)
            if ended.results is None:
                if ended.error is not None and not fails_quietly:
                    raise ended.error
                yield Piece(0, Chunk(), ended)
                yield Piece(0, Chunk(done=True, reason="stop", usage=total))
                return
            searches += 1
            yield Piece(0, Chunk(), ended)
            results.append(_told(call, ended.results))
        request = _continued(request, part, results)


async def _searched(provider: SearchProvider, begun: SearchStep, error: SearchFailed | None) -> SearchStep:
    """The end of a search, which an `error` keeps from being run."""
    if error is not None:
        return msgspec.structs.replace(begun, error=error)
    try:
        return msgspec.structs.replace(begun, results=await provider.search(begun.query, RESULTS_PER_SEARCH))
    except SearchFailed as failure:
        log.warning("%s", failure.log)
        return msgspec.structs.replace(begun, error=failure)


@dataclass
class _Part:
    """What the model says up to the end of its turn. From the first search on its calls are held back, so that clients
    see them in their order; `last` is the chunk that ends it, without what it said."""

    text: str = ""
    thinking: str = ""
    held: list[ToolCall] = field(default_factory=list)
    last: Chunk = field(default_factory=lambda: Chunk(done=True, reason="stop"))

    def add(self, chunk: Chunk) -> Chunk:
        """What clients see of the chunk at once. Searches get an id, by which their results are known."""
        self.text += chunk.text
        self.thinking += chunk.thinking
        shown: list[ToolCall] = []
        for call in chunk.tool_calls:
            if _is_search(call):
                self.held.append(msgspec.structs.replace(call, id=call.id or new_id("call_")))
            elif self.held:
                self.held.append(call)
            else:
                shown.append(call)
        if chunk.done:
            self.last = msgspec.structs.replace(chunk, text="", thinking="", tool_calls=(), logprobs=())
        return msgspec.structs.replace(chunk, tool_calls=tuple(shown), done=False, reason=None, usage=None)

    @property
    def is_last(self) -> bool:
        """A part that was cut is the last one, whatever it would have searched for."""
        return not self.held or self.last.reason == "length"


def _is_search(call: ToolCall) -> bool:
    return call.function.name == WEB_SEARCH


def _query(call: ToolCall) -> str:
    query = call.function.arguments.get("query")
    return query if isinstance(query, str) else ""


def _obstacle(step: SearchStep, most: int) -> SearchFailed | None:
    if not step.query.strip():
        return NothingToSearchFor()
    if step.number > most:
        return TooManySearches(f"web_search exceeded the maximum of {most} calls")
    return None


def _told(call: ToolCall, results: tuple[SearchResult, ...]) -> Message:
    """The results as the model reads them."""
    pages = [
        f"Title: {result.title}\nURL: {result.url}\n" + (f"Content: {result.content}\n" if result.content else "")
        for result in results
    ]
    content = "\n".join(pages).rstrip("\n") or "Nothing was found."
    return Message(role="tool", content=content, tool_name=WEB_SEARCH, tool_call_id=call.id)


def _continued(request: GenerationRequest, part: _Part, results: list[Message]) -> GenerationRequest:
    """The request behind the model's searches. Calls that the client has to run are not part of it: their results are
    not there yet. A call that was demanded has been made, and what may be said is what is left of it."""
    calls = tuple(call for call in part.held if _is_search(call))
    said = Message(role="assistant", content=part.text, thinking=part.thinking, tool_calls=calls)
    messages = request.messages
    if messages and messages[-1].role == "assistant":  # the answer went on from there
        begun, messages = messages[-1], messages[:-1]
        said = msgspec.structs.replace(
            said, content=begun.content + said.content, thinking=begun.thinking + said.thinking
        )
    options = dict(request.options)
    limit = options.get("num_predict")
    if isinstance(limit, int) and limit > 0:
        used = part.last.usage.eval_tokens if part.last.usage else 0
        options["num_predict"] = max(1, limit - used)
    return msgspec.structs.replace(request, messages=(*messages, said, *results), must_call=False, options=options)


def _sum(total: Usage, part: Usage | None) -> Usage:
    if part is None:
        return total
    return Usage(**{name: getattr(total, name) + getattr(part, name) for name in Usage.__struct_fields__})
