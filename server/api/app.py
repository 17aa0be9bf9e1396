"""The routes, and the application made of them."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp

from server.api import (
    blobs,
    changes,
    cloud,
    downloads,
    embed,
    fit,
    importing,
    keys,
    model_folder,
    models,
    native,
    openapi,
    puna,
    tokens,
)
from server.api.access import Access
from server.api.gate import Gate
from server.api.request_dumps import RequestDumps, dumped
from server.api.responses import TEXT, Answer, json_answer
from server.api.routes import Elsewhere, route
from server.api.services import ListenAddress, Services, services_of
from server.api.wire_routes import COMPAT_ROUTES
from server.version import REFERENCE_VERSION, USER_AGENT, VERSION

__all__ = ["ListenAddress", "Services", "create_app", "services_of"]


async def front_page(_: Request) -> ASGIApp:
    # Word for word: clients compare it to find out whether a server is there.
    return Answer(b"Ollama is running", content_type=TEXT)


async def version(_: Request) -> ASGIApp:
    return json_answer({"version": REFERENCE_VERSION, "puna": VERSION})


ROUTES: tuple[Route, ...] = (
    route("/", GET=front_page, HEAD=front_page),
    route("/api/version", GET=version, HEAD=version),
    route("/api/generate", POST=dumped(native.generate)),
    route("/api/chat", POST=dumped(native.chat)),
    route("/api/embed", POST=dumped(embed.embed)),
    route("/api/embeddings", POST=dumped(embed.embeddings)),
    route("/api/tokenize", POST=tokens.tokenize),
    route("/api/detokenize", POST=tokens.detokenize),
    route("/api/tags", GET=models.tags, HEAD=models.tags),
    route("/api/ps", GET=models.ps),
    route("/api/show", POST=models.show),
    route("/api/create", POST=changes.create),
    route("/api/copy", POST=changes.copy),
    route("/api/delete", DELETE=changes.delete),
    route("/api/pull", POST=changes.pull),
    route("/api/push", POST=changes.push),
    route("/api/blobs/{digest}", POST=blobs.receive_blob, HEAD=blobs.has_blob),
    route("/api/status", GET=cloud.cloud_status),
    route("/api/me", POST=cloud.account),
    route("/api/signout", POST=cloud.sign_out),
    route("/api/user/keys/{key}", DELETE=cloud.sign_out),
    route("/api/experimental/web_search", POST=cloud.without_cloud("web search")),
    route("/api/experimental/web_fetch", POST=cloud.without_cloud("web fetch")),
    route("/api/experimental/model-recommendations", GET=cloud.recommendations),
    route("/openapi.json", GET=openapi.openapi),
    route("/puna/v1/blobs", POST=blobs.take_file),
    route("/puna/v1/status", GET=puna.status),
    route("/puna/v1/events", GET=puna.events),
    route("/puna/v1/import", POST=importing.import_models),
    route("/puna/v1/models/folder", GET=model_folder.folder),
    route("/puna/v1/models/move", POST=model_folder.move),
    route("/puna/v1/fit", POST=fit.fit),
    route("/puna/v1/downloads", GET=downloads.downloads, DELETE=downloads.clear_all),
    route("/puna/v1/downloads/limits", GET=downloads.limits, PATCH=downloads.change_limits),
    route("/puna/v1/downloads/{digest}", DELETE=downloads.clear),
    route("/puna/v1/downloads/{digest}/cancel", POST=downloads.cancel),
    route("/puna/v1/keys", GET=keys.keys, POST=keys.add),
    route("/puna/v1/keys/{name:path}", DELETE=keys.revoke),
    *COMPAT_ROUTES,
)


def create_app(services: Services) -> Starlette:
    gate = Gate(
        services.keys,
        token=services.local_token,
        is_required=services.settings.require_key,
        compat_routes=COMPAT_ROUTES,
    )
    access = Middleware(
        Access,
        origins=services.settings.origins,
        bound_host=services.address.host,
        server_name=USER_AGENT,
        refused=services.refused_origins,
        gate=gate,
    )
    app = Starlette(routes=ROUTES, middleware=[access])
    app.router.redirect_slashes = False
    app.router.default = Elsewhere(ROUTES)
    app.state.services = services
    settings = services.settings
    app.state.dumps = (
        RequestDumps(f"http://{services.address}", needs_key=settings.require_key) if settings.log_requests else None
    )
    return app
