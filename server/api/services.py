"""What the routes work with; the composition root fills it in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import anyio
from starlette.requests import Request

from server.api.access import RefusedOrigins
from server.secrets import Keys

if TYPE_CHECKING:
    from server.inference import Catalog, Fitting, Inference
    from server.net.images import RemoteImages
    from server.registry import Registry
    from server.scheduler import Scheduler
    from server.search import SearchProvider
    from server.settings import Settings
    from server.store import Store
    from server.store.moving import Mover


class ListenAddress(Protocol):
    """Where the server really listens; its text is `host:port`."""

    @property
    def host(self) -> str: ...


@dataclass(frozen=True, kw_only=True)
class Services:
    """`closing` is set when the server begins to stop; answers without an end of their own watch it. `search` is None
    where the user has named no search engine, `images` where images are not fetched. `local_token` lets in programs of
    the server's own user; "" where there is none."""

    settings: Settings
    address: ListenAddress
    store: Store
    mover: Mover
    scheduler: Scheduler
    catalog: Catalog
    inference: Inference
    fitting: Fitting
    registry: Registry
    closing: anyio.Event
    search: SearchProvider | None = None
    images: RemoteImages | None = None
    refused_origins: RefusedOrigins = field(default_factory=RefusedOrigins)
    keys: Keys = field(default_factory=Keys)
    local_token: str = ""


def services_of(request: Request) -> Services:
    services: Services = request.app.state.services
    return services
