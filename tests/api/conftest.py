"""An application on a real store and settings, with an inference that answers from a script."""

from __future__ import annotations

import pathlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, MutableMapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import anyio
import anyio.lowlevel
import httpx2
import pytest

from server.api.app import Services, create_app
from server.errors import ModelNotFound
from server.inference import Card
from server.inference.lookup import missing, requested_name
from server.messages.chat import Chunk, GenerationRequest
from server.messages.embedding import EmbeddingRequest, EmbeddingResult
from server.messages.models import RunningModel
from server.secrets import Keys
from server.settings import Settings
from server.store import Store
from server.store.links import Links
from server.store.moving import Mover
from tests.secrets.keychains import NoKeychain

TOKEN = "puna-run-token-of-the-tests"

Script = Callable[[GenerationRequest], AsyncGenerator[Chunk, None]]


async def hello(request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
    yield Chunk(text="Hel")
    yield Chunk(text="lo")
    yield Chunk(done=True, reason="stop")


@dataclass
class ScriptedInference:
    """Answers with `script`; `asked` and `embedded` are the requests that reached it, `closed` counts ended answers."""

    script: Script = hello
    asked: list[GenerationRequest] = field(default_factory=list)
    closed: int = 0
    embedded: list[EmbeddingRequest] = field(default_factory=list)

    async def embed(self, request: EmbeddingRequest) -> EmbeddingResult:
        self.embedded.append(request)
        await EmptyCatalog().find(request.model, "embeddings" if request.is_older_call else "embed")
        return EmbeddingResult()

    async def answer(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        self.asked.append(request)
        requested_name(request.model, "chat" if request.is_chat else "generate")
        try:
            async with aclosing(self.script(request)) as chunks:
                async for chunk in chunks:
                    yield chunk
        finally:
            self.closed += 1


@dataclass
class ScriptedFitting:
    """Gives `answer` whatever is asked."""

    answer: Any = None
    asked: list[tuple[str, Any]] = field(default_factory=list)
    failure: Exception | None = None

    async def of_model(self, raw: str, question: Any) -> Any:
        self.asked.append((raw, question))
        if self.failure is not None:
            raise self.failure
        return self.answer


class EmptyCatalog:
    """Knows no model."""

    async def find(self, raw: str, endpoint: Any) -> Any:
        raise missing(raw, requested_name(raw, endpoint), endpoint)

    async def tags(self) -> list[dict[str, Any]]:
        return []

    async def cards(self) -> list[Card]:
        return []

    async def running(self, models: tuple[RunningModel, ...]) -> list[dict[str, Any]]:
        return []

    async def show(self, raw: str, **_: Any) -> dict[str, Any]:
        if raw == "known":
            return {"details": {}, "model_info": {"general.architecture": "llama"}}
        raise ModelNotFound(f"model '{requested_name(raw, 'show').short}' not found")


@dataclass
class Loaded:
    """A scheduler, as far as its status goes. `readings` counts how often somebody looked, `watchers` who waits."""

    version: int = 0
    readings: int = 0
    watchers: int = 0
    usual_context_tokens: int | None = None
    _models: tuple[RunningModel, ...] = ()
    _changed: anyio.Event = field(default_factory=anyio.Event)

    @property
    def models(self) -> tuple[RunningModel, ...]:
        return self._models

    @models.setter
    def models(self, models: tuple[RunningModel, ...]) -> None:
        self._models = models
        self.version += 1
        self._changed.set()
        self._changed = anyio.Event()

    async def wait_changed(self, version: int) -> int:
        self.watchers += 1
        try:
            while self.version == version:
                await self._changed.wait()
        finally:
            self.watchers -= 1
        return self.version

    def running(self) -> tuple[RunningModel, ...]:
        self.readings += 1
        return self._models


@dataclass(frozen=True)
class Listening:
    host: str = "127.0.0.1"

    def __str__(self) -> str:
        return f"{self.host}:11434"


@dataclass
class Server:
    """The application and what it stands on; `client` sends requests to it without a network."""

    services: Any
    inference: ScriptedInference
    scheduler: Loaded
    app: Any
    client: httpx2.AsyncClient

    async def post(self, path: str, body: Any = None, **options: Any) -> httpx2.Response:
        return await self.client.post(path, json=body, **options)


Start = Callable[..., Server]


@pytest.fixture
async def start(tmp_path: pathlib.Path) -> AsyncIterator[Start]:
    """Make a server: `start(host=…, origins=…, log_requests=…, require_key=…)`."""
    clients: list[httpx2.AsyncClient] = []

    def make(
        host: str = "127.0.0.1",
        origins: tuple[str, ...] = (),
        log_requests: bool = False,
        require_key: bool = False,
    ) -> Server:
        inference, scheduler = ScriptedInference(), Loaded()
        store = Store(tmp_path / "models", links=Links(tmp_path / "state" / "links.json"))
        mover = Mover(store, state_folder=tmp_path / "state", switch=lambda _folder: None)
        parts: Any = {
            "scheduler": scheduler,
            "catalog": EmptyCatalog(),
            "inference": inference,
            "fitting": ScriptedFitting(),
            "registry": None,
        }
        services = Services(
            settings=Settings(models_dir=tmp_path, origins=origins, log_requests=log_requests, require_key=require_key),
            address=Listening(host),
            store=store,
            mover=mover,
            closing=anyio.Event(),
            keys=Keys(tmp_path / "state" / "api-keys.json", NoKeychain()),
            local_token=TOKEN,
            **parts,
        )
        app = create_app(services)
        client = httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://127.0.0.1:11434")
        clients.append(client)
        return Server(services, inference, scheduler, app, client)

    yield make
    for client in clients:
        await client.aclose()


@pytest.fixture
def server(start: Start) -> Server:
    return start()


Message = MutableMapping[str, Any]


@dataclass
class Connection:
    """One raw exchange with the application: `leave` is the client's departure, `sent` what it was sent."""

    app: Any
    path: str
    body: bytes
    method: str = "POST"
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    sent: list[Message] = field(default_factory=list)
    _incoming: list[Message] = field(default_factory=list)
    _left: anyio.Event = field(default_factory=anyio.Event)
    _changed: anyio.Event = field(default_factory=anyio.Event)

    def __post_init__(self) -> None:
        self._incoming.append({"type": "http.request", "body": self.body, "more_body": False})

    def pieces(self, *pieces: bytes) -> None:
        """The body in several pieces instead of one."""
        self._incoming[:] = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
        self._incoming.append({"type": "http.request", "body": b"", "more_body": False})

    def cut(self, beginning: bytes) -> None:
        """The client leaves after the beginning of the body."""
        self._incoming[:] = [{"type": "http.request", "body": beginning, "more_body": True}]
        self.leave()

    @property
    def unread(self) -> int:
        return len(self._incoming)

    async def run(self) -> None:
        await self.app(self.scope, self._receive, self._send)

    @property
    def scope(self) -> dict[str, Any]:
        return {
            "type": "http",
            "http_version": "1.1",
            "method": self.method,
            "scheme": "http",
            "path": self.path,
            "raw_path": self.path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(b"host", b"127.0.0.1:11434"), *self.headers],
            "client": ("127.0.0.1", 5000),
            "server": ("127.0.0.1", 11434),
        }

    def leave(self) -> None:
        self._left.set()

    async def wait_for(self, done: Callable[[list[Message]], bool]) -> None:
        """Until what was sent satisfies `done`."""
        with anyio.fail_after(10):
            while not done(self.sent):
                await self._changed.wait()

    async def _receive(self) -> Message:
        if self._incoming:
            return self._incoming.pop(0)
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        self.sent.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self.leave()  # what servers report when an answer is complete
        await anyio.lowlevel.checkpoint()
        self._changed.set()
        self._changed = anyio.Event()


Connect = Callable[[Server, str, bytes], Connection]


@pytest.fixture
def connect() -> Connect:
    return lambda server, path, body: Connection(server.app, path, body)
