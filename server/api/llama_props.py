"""`/props` of llama.cpp's server: what a model is run with. A model that is not loaded is loaded for it."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp

from server.api.llama_model import settings_object, with_model
from server.api.responses import BARE_JSON, json_answer
from server.api.services import services_of
from server.api.streaming import read_body, while_connected
from server.api.wire_fields import Fields
from server.api.wire_options import read_model
from server.inference import Entry, loaded_as
from server.messages.frames import Loaded
from server.messages.options import read_options
from server.version import USER_AGENT


async def props(request: Request) -> ASGIApp:
    """compat 14.2; `?model=` where it is not the one that stays longest."""
    await read_body(request)
    model = read_model(with_model(request, Fields({"model": request.query_params.get("model")})))
    services = services_of(request)
    entry = await services.catalog.find(model, "chat")

    async def look() -> Loaded:
        return await loaded_as(services.scheduler, model, entry)

    found = await while_connected(request.scope, request.receive, look)
    return json_answer(props_object(model, entry, found), content_type=BARE_JSON)


def props_object(model: str, entry: Entry, found: Loaded) -> dict[str, Any]:
    can, choice = entry.capabilities, entry.choice
    is_native = choice.mode == "native" and choice.jinja_text
    sampling = read_options(entry.model.params).sampling
    return {
        "default_generation_settings": {"params": settings_object(sampling), "n_ctx": found.context_tokens},
        "total_slots": found.slots,
        "model_alias": model,
        "model_path": entry.spec.path,
        "modalities": {kind: kind in can for kind in ("vision", "audio", "video")},
        "chat_template": choice.jinja_text if is_native else choice.go_text,
        "chat_template_caps": {"supports_tools": "tools" in can, "supports_tool_calls": "tools" in can},
        "bos_token": found.bos_text,
        "eos_token": found.eos_text,
        "build_info": USER_AGENT,
    }
