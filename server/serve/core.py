"""Build the server's objects, and run them until they are asked to stop."""

from __future__ import annotations

import gc
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import cast

import anyio
import anyio.to_thread
import msgspec
from hypercorn.asyncio.run import worker_serve
from hypercorn.config import Config, Sockets
from hypercorn.typing import ASGIFramework
from hypercorn.utils import wrap_app

from server.api.app import Services, create_app
from server.errors import FolderMissing
from server.hardware.discovery import Discovery
from server.inference import Catalog, Fitting, Inference
from server.net.addresses import AddressPolicy
from server.net.images import RemoteImages
from server.registry import Limits, Registry
from server.runner import Runner
from server.scheduler import Scheduler
from server.scheduler.measurements import Measurements
from server.search.searxng import SearXNG
from server.secrets import Keys, LocalToken
from server.serve.listener import address_text, listen
from server.serve.logs import described
from server.serve.starter import install_starter, is_welcome
from server.serve.wire import speak_plainly
from server.settings import Settings, is_loopback, paths, runner_environ, variables_without_meaning, write
from server.store import Store
from server.store.links import Links
from server.store.moving import Mover
from server.store.presence import Presence
from server.version import VERSION

log = logging.getLogger(__name__)

GRACEFUL_SECONDS = 2.0
IDLE_CONNECTION_SECONDS = 60.0


class Address(msgspec.Struct, frozen=True):
    """Where the server listens. `host` is as it was bound; "" is every interface."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """Where a client on this machine reaches it."""
        host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"http://{address_text(host, self.port)}"

    @property
    def is_loopback(self) -> bool:
        return is_loopback(self.host)

    def __str__(self) -> str:
        return address_text(self.host, self.port)


async def serve(
    settings: Settings, stopping: anyio.Event, on_ready: Callable[[Address], None], *, with_starter: bool = False
) -> None:
    """Answer requests until `stopping` is set, then end all streams and runners.

    `on_ready` is called once requests are answered. `with_starter` lists the starter model even in a folder that
    somebody has chosen. Raises PortTaken before anything else is touched.
    """
    # Order: the socket first, so that early clients wait in its backlog and a second server changes nothing on disk.
    listener = listen(settings.host, settings.port)
    bound_host, bound_port = listener.getsockname()[:2]
    token = LocalToken(paths.servers_dir(), bound_host, bound_port)
    log.info("server config %s", described(settings))
    for name in variables_without_meaning():
        log.warning("%s is set, but means nothing to Puna", name)
    log.info("Ollama cloud disabled: %s", str(settings.no_cloud).lower())
    try:
        token.write()
        address = Address(settings.host, bound_port)
        store, mover = _store(settings)
        await anyio.to_thread.run_sync(_prepare, store, mover, settings, with_starter or is_welcome(settings))
        async with (
            _registry(store, settings, address) as registry,
            _scheduler(settings) as scheduler,
            _search(settings) as search,
            _images(settings) as images,
        ):
            catalog = Catalog(
                store, settings.go_template, partial(install_starter, store), aliases=settings.model_aliases
            )
            services = Services(
                settings=settings,
                address=address,
                store=store,
                mover=mover,
                scheduler=scheduler,
                catalog=catalog,
                inference=Inference(catalog, scheduler),
                fitting=Fitting(catalog, scheduler, settings),
                registry=registry,
                closing=stopping,
                keys=Keys(paths.keys_file()),
                local_token=token.text,
                search=search,
                images=images,
            )
            # What exists now lives as long as the server; collections need not look at it again.
            gc.collect()
            gc.freeze()
            await _serve_http(cast(ASGIFramework, create_app(services)), listener, services, lambda: on_ready(address))
    finally:
        token.remove()
        listener.close()


def _registry(store: Store, settings: Settings, address: Address) -> Registry:
    """Registries of this machine are for those who are on it anyway: not when others may ask."""
    return Registry(
        store,
        policy=AddressPolicy(settings.registries, trusts_loopback=address.is_loopback),
        limits=Limits(settings.download_parts, settings.download_speed_bytes),
        notes_path=paths.state_dir() / "downloads.json",
    )


def _scheduler(settings: Settings) -> Scheduler:
    environ = runner_environ()
    start_runner = partial(
        Runner.start, environ=environ, load_timeout_seconds=settings.load_timeout_seconds, cache_dir=paths.cache_dir()
    )
    measurements = Measurements(paths.state_dir() / "loads.json")
    return Scheduler(settings, Discovery(environ), start_runner, measurements=measurements)


@asynccontextmanager
async def _search(settings: Settings) -> AsyncIterator[SearXNG | None]:
    if not settings.search_url:
        yield None
        return
    search = SearXNG(settings.search_url)
    try:
        yield search
    finally:
        await search.close()


@asynccontextmanager
async def _images(settings: Settings) -> AsyncIterator[RemoteImages | None]:
    if not settings.remote_images:
        yield None
        return
    images = RemoteImages(settings.remote_images)
    try:
        yield images
    finally:
        await images.close()


def _store(settings: Settings) -> tuple[Store, Mover]:
    state, default = paths.state_dir(), Settings().models_dir
    presence = Presence(state / "model-folders.json", default=default)
    store = Store(settings.models_dir, links=Links(state / "links.json"), presence=presence)

    def switch(folder: Path) -> None:
        write({"models_dir": None if folder == default else folder})

    return store, Mover(store, state_folder=state, switch=switch)


def _prepare(store: Store, mover: Mover, settings: Settings, with_starter: bool) -> None:
    try:
        store.prepare(settings.noprune)
        mover.finish()
    except FolderMissing as error:
        # Everything else works, the answers to requests for models say what to do, and a drive may come back.
        log.error("%s", error)
        return
    if pending := mover.pending():
        log.warning("a move of the models to %s was interrupted; `puna models move` finishes it", pending.target)
    if with_starter:
        install_starter(store)


async def _serve_http(
    app: ASGIFramework, listener: socket.socket, services: Services, on_ready: Callable[[], None]
) -> None:
    speak_plainly()
    config = Config()
    config.graceful_timeout = GRACEFUL_SECONDS
    config.keep_alive_timeout = IDLE_CONNECTION_SECONDS
    config.include_server_header = False
    config.errorlog = logging.getLogger("hypercorn.error")
    stop_http = anyio.Event()

    async def close_in_order() -> None:
        await services.closing.wait()
        # Streams end with their runners; only then can every connection close.
        await services.registry.close()
        await services.scheduler.close()
        stop_http.set()

    async def answer() -> None:
        await worker_serve(
            wrap_app(app, config.wsgi_max_body_size, "asgi"),
            config,
            sockets=Sockets(secure_sockets=[], insecure_sockets=[listener], quic_sockets=[]),
            shutdown_trigger=stop_http.wait,
        )

    # Hypercorn gets a task of its own: it leaves its task with a request to cancel that nobody takes back, and the
    # scopes around this function would take that for their own end.
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(close_in_order)
        tasks.start_soon(answer)
        log.info("Listening on %s (version %s)", services.address, VERSION)
        on_ready()
