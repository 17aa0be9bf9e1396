"""`/v1/responses` and what belongs to it."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp

from server.api.responses import BARE_JSON, json_answer
from server.api.responses_api_answer import ResponseWriter
from server.api.responses_api_request import NoSuchResponse, read_response
from server.api.responses_api_schema import RESPONSE
from server.api.responses_api_store import Stored, StoredResponses
from server.api.services import services_of
from server.api.web_search import searching
from server.api.wire_answer import answered, check_images, counted
from server.api.wire_errors import OPENAI
from server.api.wire_fields import Fields
from server.api.wire_images import fetch_images
from server.api.wire_options import as_set
from server.api.wire_reading import takes
from server.api.wire_runs import choices


def kept_of(request: Request) -> StoredResponses:
    """The responses of this application, made with the first request for them."""
    state = request.app.state
    if not hasattr(state, "stored_responses"):
        state.stored_responses = StoredResponses()
    kept: StoredResponses = state.stored_responses
    return kept


@takes("Response", RESPONSE)
async def create(request: Request, fields: Fields) -> ASGIApp:
    kept = kept_of(request)
    services = services_of(request)
    search = services.search
    await fetch_images(request, fields, "input")
    asked = read_response(fields, request.headers, kept, can_search=search is not None)

    def keep(response: dict[str, Any]) -> None:
        if asked.is_kept:
            kept.keep(Stored(asked.items, response))

    generation = as_set(asked.generation, fields, services.settings.long_prompts)
    await check_images(services, generation)
    only_one = asked.offer.tooling.only_one
    if search is not None and asked.offer.searches:
        pieces = searching(services.inference, generation, search, only_one_call=only_one)
    else:
        pieces = choices(services.inference, [generation], only_one_call=only_one)
    writer = ResponseWriter(asked, keep)
    return await answered(request, OPENAI, pieces, whole=writer.whole, stream=writer if asked.stream else None)


@takes("Response", RESPONSE)
async def input_tokens(request: Request, fields: Fields) -> ASGIApp:
    """How long the prompt of a response would be."""
    services = services_of(request)
    can_search = services.search is not None
    await fetch_images(request, fields, "input")
    asked = read_response(fields, request.headers, kept_of(request), can_search=can_search)
    tokens = await counted(request, services, asked.generation)
    return json_answer({"object": "response.input_tokens", "input_tokens": tokens}, content_type=BARE_JSON)


# ---- kept responses ------------------------------------------------------------------------------------------------


def _found(request: Request) -> Stored:
    stored = kept_of(request).get(request.path_params["id"])
    if stored is None:
        raise NoSuchResponse()
    return stored


async def stored(request: Request) -> ASGIApp:
    return json_answer(_found(request).response, content_type=BARE_JSON)


async def input_items(request: Request) -> ASGIApp:
    """The input, newest item first, as OpenAI lists it."""
    items = [
        {"id": f"item_{at}", "type": "message", **item} if isinstance(item, dict) else item
        for at, item in enumerate(_found(request).input)
    ]
    ends = {"first_id": items[-1]["id"] if items else None, "last_id": items[0]["id"] if items else None}
    listed = {"object": "list", "data": items[::-1], **ends, "has_more": False}
    return json_answer(listed, content_type=BARE_JSON)


async def forget(request: Request) -> ASGIApp:
    identifier: str = request.path_params["id"]
    if not kept_of(request).forget(identifier):
        raise NoSuchResponse()
    return json_answer({"id": identifier, "object": "response", "deleted": True}, content_type=BARE_JSON)
