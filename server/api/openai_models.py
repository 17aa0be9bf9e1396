"""`/v1/models`: what is installed, in one form that both OpenAI's and Anthropic's clients read."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import anyio.to_thread
from starlette.requests import Request
from starlette.types import ASGIApp

from server.api.responses import BARE_JSON, json_answer, local_timestamp
from server.api.services import services_of
from server.api.wire_options import refuse_cloud
from server.errors import InvalidModelName, ModelNotFound
from server.messages.names import ModelName


def model_object(identifier: str, name: ModelName, modified_at: datetime) -> dict[str, Any]:
    """`identifier` is the name as the client shall see it."""
    return {
        "id": identifier,
        "object": "model",
        "created": int(modified_at.timestamp()),
        "owned_by": name.namespace,
        "type": "model",
        "display_name": identifier,
        "created_at": local_timestamp(modified_at),
    }


async def models(request: Request) -> ASGIApp:
    """All of them, newest first; nothing is loaded for it."""
    tags = await services_of(request).catalog.tags()
    data = [model_object(tag["name"], ModelName.parse(tag["name"]), tag["modified_at"]) for tag in tags]
    ends = {"first_id": data[0]["id"] if data else None, "last_id": data[-1]["id"] if data else None}
    return json_answer({"object": "list", "data": data, "has_more": False, **ends}, content_type=BARE_JSON)


async def model(request: Request) -> ASGIApp:
    identifier: str = request.path_params["name"]
    if not identifier.strip("/"):
        return await models(request)
    refuse_cloud(identifier)
    entry = await services_of(request).catalog.find(identifier, "show")
    found = entry.model
    return json_answer(model_object(identifier, found.name, found.modified_at), content_type=BARE_JSON)


async def delete(request: Request) -> ASGIApp:
    identifier: str = request.path_params["name"]
    try:
        name = ModelName.parse(identifier)
        await anyio.to_thread.run_sync(services_of(request).store.delete, name)
    except InvalidModelName:
        raise InvalidModelName("invalid model name") from None
    except ModelNotFound as error:
        raise ModelNotFound(f"model '{identifier}' not found", log=error.log) from error
    return json_answer({"id": identifier, "object": "model", "deleted": True}, content_type=BARE_JSON)
