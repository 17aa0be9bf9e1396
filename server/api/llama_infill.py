"""`/infill` of llama.cpp's server: the text that belongs between two others."""

from __future__ import annotations

from starlette.requests import Request
from starlette.types import ASGIApp

from server.api.llama_completion import WRITING, continued, read_writing
from server.api.llama_model import with_model
from server.api.services import services_of
from server.api.wire_fields import Fields
from server.api.wire_options import RUNNING
from server.api.wire_reading import TEXT, list_of, members, takes
from server.inference import Filling, Gap, OtherFile
from server.messages.chat import GenerationRequest

INFILL = members(
    ("input_prefix", "input_suffix"),
    RUNNING,
    WRITING,
    input_prefix=TEXT,
    input_suffix=TEXT,
    prompt=TEXT,
    input_extra=list_of(members(("text",), text=TEXT, filename=TEXT)),
)


def filling_of(request: Request) -> Filling:
    services = services_of(request)
    return Filling(services.catalog, services.scheduler)


@takes("LlamaInfill", INFILL)
async def infill(request: Request, fields: Fields) -> ASGIApp:
    """compat 14.2. `prompt` is what has been typed behind the prefix."""
    fields = with_model(request, fields)
    gap = _gap(fields)
    generation = read_writing(fields, request.headers)

    async def prompts() -> list[tuple[GenerationRequest, str]]:
        return [await filling_of(request).prompt(generation, gap)]

    return await continued(request, fields, generation, prompts)


def _gap(fields: Fields) -> Gap:
    for name in ("input_prefix", "input_suffix"):
        if name not in fields:
            raise fields.refuse(name, f'"{name}" is required', "missing_required_parameter")
    before = (fields.text("input_prefix") or "") + (fields.text("prompt") or "")
    others = tuple(map(_other, fields.objects("input_extra")))
    return Gap(before=before, behind=fields.text("input_suffix") or "", others=others)


def _other(extra: Fields) -> OtherFile:
    if "text" not in extra:
        raise extra.refuse("text", f"'{extra.place('text')}' is missing.", "missing_required_parameter")
    return OtherFile(extra.text("text") or "", extra.text("filename") or "tmp")
