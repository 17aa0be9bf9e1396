"""`/v1/models`: what is installed, in one form that both OpenAI's and Anthropic's clients read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio.to_thread
from starlette.requests import Request
from starlette.types import ASGIApp

from server.api.responses import BARE_JSON, json_answer, local_timestamp
from server.api.services import Services, services_of
from server.api.wire_errors import ANTHROPIC, dialect_of
from server.api.wire_options import refuse_cloud
from server.errors import InvalidModelName, ModelNotFound
from server.inference import Card, card_of
from server.messages.names import ModelName


def model_object(identifier: str, card: Card, context_tokens: int | None, *, is_anthropic: bool) -> dict[str, Any]:
    """`identifier` is the name as the client shall see it. How much fits into a conversation is what the model runs
    with, or would, and not what it was trained for, because a client fills it; OpenRouter and Anthropic each have a
    name for that. What Anthropic calls capabilities is an object of its own, and its clients ask for `lifecycle`."""
    context = dict.fromkeys(("context_length", "max_input_tokens"), context_tokens)
    moment = card.modified_at
    return {
        "id": identifier,
        "object": "model",
        "created": int(moment.timestamp()),
        "owned_by": card.name.namespace,
        "type": "model",
        "display_name": identifier,
        "created_at": local_timestamp(moment),
        **({"lifecycle": "active"} if is_anthropic else {"capabilities": card.capabilities}),
        **(context if context_tokens else {}),
        "meta": {"n_ctx_train": card.train_context_tokens, "n_params": card.parameters, "size": card.size},
    }


def _contexts(services: Services, cards: Sequence[Card]) -> list[int | None]:
    """Of each the tokens that it runs with, or would."""
    running = services.scheduler.running()
    loaded = {model.digest: model.context_tokens for model in running if model.state in ("ready", "draining")}
    usual = services.scheduler.usual_context_tokens
    return [loaded.get(card.digest) or card.context_tokens(usual) for card in cards]


async def models(request: Request) -> ASGIApp:
    """All of them, newest first; nothing is loaded for it."""
    services, is_anthropic = services_of(request), dialect_of(request.scope) is ANTHROPIC
    cards = await services.catalog.cards()
    data = [
        model_object(card.name.short, card, context_tokens, is_anthropic=is_anthropic)
        for card, context_tokens in zip(cards, _contexts(services, cards), strict=True)
    ]
    ends = {"first_id": data[0]["id"] if data else None, "last_id": data[-1]["id"] if data else None}
    return json_answer({"object": "list", "data": data, "has_more": False, **ends}, content_type=BARE_JSON)


async def model(request: Request) -> ASGIApp:
    identifier: str = request.path_params["name"]
    if not identifier.strip("/"):
        return await models(request)
    refuse_cloud(identifier)
    services, is_anthropic = services_of(request), dialect_of(request.scope) is ANTHROPIC
    entry = await services.catalog.find(identifier, "show")
    card = await anyio.to_thread.run_sync(card_of, entry.model, entry.capabilities)
    [context_tokens] = _contexts(services, [card])
    found = model_object(identifier, card, context_tokens, is_anthropic=is_anthropic)
    return json_answer(found, content_type=BARE_JSON)


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
