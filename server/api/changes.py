"""Routes that change what is installed: create, copy, delete, pull, push."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import anyio.to_thread
import msgspec
from starlette.requests import Request
from starlette.types import ASGIApp

from server.api import requests
from server.api.progress import ProgressAnswer, ProgressStream, Report
from server.api.reading import reads
from server.api.responses import empty_answer
from server.api.services import Services, services_of
from server.errors import InvalidModelName, InvalidRequest, ModelNotFound
from server.messages.chat import Progress
from server.messages.names import ModelName, split_source
from server.prompts import gotemplate, named
from server.registry.preview import Preview
from server.store import CreateRequest


@reads(requests.CreateRequest)
async def create(request: Request, asked: requests.CreateRequest) -> ASGIApp:
    wanted = CreateRequest.read(msgspec.to_builtins(asked))
    wanted.check()
    ModelName.parse(wanted.name_text)
    services = services_of(request)

    def work(report: Report) -> None:
        services.store.create(wanted, report, check_template=gotemplate.parse, detect_template=named.detect)

    return ProgressAnswer(work, asked.stream, _base_first(services, wanted))


async def _base_first(services: Services, wanted: CreateRequest) -> AsyncGenerator[Progress, None]:
    """A base that is not installed is pulled; whatever can be said against the request is said before that."""
    missing = await anyio.to_thread.run_sync(services.store.missing_base, wanted, gotemplate.parse)
    if missing is None:
        return
    async with aclosing(services.registry.pull(missing)) as lines:
        async for line in lines:
            if line.status != "success":  # which would end the create for a client
                yield line


@reads(requests.CopyRequest)
async def copy(request: Request, asked: requests.CopyRequest) -> ASGIApp:
    source = _named(asked.source, f'source "{asked.source}" is invalid')
    destination = _named(asked.destination, f'destination "{asked.destination}" is invalid')
    try:
        await anyio.to_thread.run_sync(services_of(request).store.copy, source, destination)
    except ModelNotFound as error:
        raise ModelNotFound(f'model "{asked.source}" not found', log=error.log) from error
    return empty_answer()


@reads(requests.DeleteRequest)
async def delete(request: Request, asked: requests.DeleteRequest) -> ASGIApp:
    name = _named(_required(asked.target), f'name "{asked.target}" is invalid')
    try:
        freed_bytes = await anyio.to_thread.run_sync(services_of(request).store.delete, name)
    except ModelNotFound as error:
        raise ModelNotFound(f"model '{asked.target}' not found", log=error.log) from error
    # The body is empty for Ollama's clients, some of which would stumble over another.
    answer = empty_answer()
    answer.headers["X-Puna-Freed-Bytes"] = str(freed_bytes)
    return answer


@reads(requests.PullRequest)
async def pull(request: Request, asked: requests.PullRequest) -> ASGIApp:
    name = registry_name(asked.target)
    services = services_of(request)

    async def foretell(found: Preview) -> str:
        fit = await services.fitting.of_preview(name.short, found)
        return "" if fit is None else fit.sentence

    lines = services.registry.pull(name, insecure=asked.insecure, foretell=foretell if asked.fit else None)
    return ProgressStream(lines, asked.stream)


@reads(requests.PushRequest)
async def push(request: Request, asked: requests.PushRequest) -> ASGIApp:
    name = _named(_required(asked.target), "invalid model name")
    try:
        await anyio.to_thread.run_sync(lambda: services_of(request).store.get(name))
    except ModelNotFound as error:
        raise ModelNotFound(f"model '{asked.target}' not found", log=error.log) from error
    return ProgressStream(services_of(request).registry.push(name, insecure=asked.insecure), asked.stream)


def _registry_text(text: str) -> str:
    """A cloud model has a name of its own in the registry: `m:cloud`, `m:8b-cloud`. Raises InvalidRequest for two
    sources."""
    source = split_source(text)
    if not source.is_cloud:
        return source.text
    has_tag = ":" in source.text.rpartition("/")[2]
    return f"{source.text}-cloud" if has_tag else f"{source.text}:cloud"


def registry_name(text: str) -> ModelName:
    """What is asked of a registry. Raises InvalidRequest, InvalidModelName."""
    return _named(_registry_text(text), "invalid model name")


def _required(text: str) -> str:
    if not text.strip():
        raise InvalidRequest("model is required")
    return text


def _named(text: str, refusal: str) -> ModelName:
    try:
        return ModelName.parse(text)
    except InvalidModelName:
        raise InvalidModelName(refusal) from None
