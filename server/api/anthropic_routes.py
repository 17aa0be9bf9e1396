"""`/v1/messages` and `/v1/messages/count_tokens`."""

from __future__ import annotations

from starlette.requests import Request
from starlette.types import ASGIApp

from server.api.anthropic_answer import PING, MessageStream, message_object
from server.api.anthropic_request import read_request, with_possible_think
from server.api.responses import BARE_JSON, json_answer
from server.api.services import services_of
from server.api.wire_answer import answered, counted
from server.api.wire_body import read_fields
from server.api.wire_endpoint import request_id_of
from server.api.wire_errors import ANTHROPIC
from server.api.wire_runs import choices


async def messages(request: Request) -> ASGIApp:
    services = services_of(request)
    asked = read_request(await read_fields(request), request.headers)
    asked = await with_possible_think(services, asked)
    pieces = choices(services.inference, [asked.generation], only_one_call=asked.only_one_call)
    return await answered(
        request,
        ANTHROPIC,
        pieces,
        whole=lambda said: message_object(asked, said),
        stream=MessageStream(asked, request_id_of(request)) if asked.stream else None,
        ping=PING,
    )


async def count_tokens(request: Request) -> ASGIApp:
    """How long the prompt of a message would be, exactly; agents steer by it."""
    services = services_of(request)
    asked = read_request(await read_fields(request), request.headers, is_count=True)
    asked = await with_possible_think(services, asked)
    tokens = await counted(request, services.inference, asked.generation)
    return json_answer({"input_tokens": tokens}, content_type=BARE_JSON)
