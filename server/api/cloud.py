"""Routes that only mean something with Ollama's cloud account, and what a server without one answers.

Puna runs models on this machine alone, so the cloud counts as switched off whatever the settings say.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.types import ASGIApp

from server.api.gojson import parse
from server.api.responses import json_answer
from server.api.routes import Handler
from server.api.services import services_of
from server.api.streaming import read_body
from server.errors import Forbidden, PunaError


async def cloud_status(request: Request) -> ASGIApp:
    # "none" would tell clients that the cloud is on; without a switch of the user's it is off by construction.
    source = services_of(request).settings.cloud_disabled_by
    return json_answer({"cloud": {"disabled": True, "source": "env" if source == "none" else source}})


def without_cloud(what: str) -> Handler:
    """A handler that refuses after the body has been read, as the reference does."""

    async def refuse(request: Request) -> ASGIApp:
        parse(await read_body(request))
        raise Forbidden(f"ollama cloud is disabled: {what} is unavailable")

    return refuse


async def recommendations(_: Request) -> ASGIApp:
    return json_answer({"recommendations": []})


async def account(_: Request) -> ASGIApp:
    raise PunaError("account unavailable", status=503)


async def sign_out(_: Request) -> ASGIApp:
    raise PunaError("you are not currently signed in", status=401)
