"""`/v1/messages` and `/v1/messages/count_tokens`."""

from __future__ import annotations

from starlette.requests import Request
from starlette.types import ASGIApp

from server.api.anthropic_answer import PING, MessageStream, message_object
from server.api.anthropic_request import read_request, with_possible_think
from server.api.anthropic_schema import COUNT, MESSAGE
from server.api.responses import BARE_JSON, json_answer
from server.api.services import services_of
from server.api.web_search import searching
from server.api.wire_answer import answered, check_images, counted
from server.api.wire_endpoint import request_id_of
from server.api.wire_errors import ANTHROPIC
from server.api.wire_fields import Fields
from server.api.wire_images import fetch_images
from server.api.wire_options import as_set
from server.api.wire_reading import takes
from server.api.wire_runs import choices


@takes("Message", MESSAGE)
async def messages(request: Request, fields: Fields) -> ASGIApp:
    services = services_of(request)
    search = services.search
    await fetch_images(request, fields, "messages")
    asked = read_request(fields, request.headers, can_search=search is not None)
    asked = await with_possible_think(services, asked)
    generation = as_set(asked.generation, fields, services.settings.long_prompts)
    await check_images(services, generation)
    if search is not None and asked.most_searches:
        pieces = searching(
            services.inference,
            generation,
            search,
            most=asked.most_searches,
            only_one_call=asked.only_one_call,
            fails_quietly=True,
        )
    else:
        pieces = choices(services.inference, [generation], only_one_call=asked.only_one_call)
    return await answered(
        request,
        ANTHROPIC,
        pieces,
        whole=lambda said: message_object(asked, said),
        stream=MessageStream(asked, request_id_of(request)) if asked.stream else None,
        ping=PING,
    )


@takes("CountTokens", COUNT)
async def count_tokens(request: Request, fields: Fields) -> ASGIApp:
    """How long the prompt of a message would be, exactly; agents steer by it."""
    services = services_of(request)
    await fetch_images(request, fields, "messages")
    asked = read_request(fields, request.headers, is_count=True, can_search=services.search is not None)
    asked = await with_possible_think(services, asked)
    tokens = await counted(request, services, asked.generation)
    return json_answer({"input_tokens": tokens}, content_type=BARE_JSON)
