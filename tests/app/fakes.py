"""A server with the routes that the app uses, and the life of one in a thread."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec

from app.situation import ServerState
from server.errors import PunaError
from server.messages.models import RunningModel
from server.settings import Settings

GIB = 1024**3


class PortTaken(PunaError):
    """Another program listens on this address."""


def running(name: str, **fields: Any) -> RunningModel:
    """A loaded model; what is not said is plain."""
    values: dict[str, Any] = {
        "digest": "0" * 64,
        "path": name,
        "state": "ready",
        "size_bytes": 2 * GIB,
        "context_tokens": 4096,
    }
    return RunningModel(name=name, **(values | fields))


class FakeServer:
    """Answers like Puna, or like Ollama when `kind` says so. `calls` are the bodies that changed something."""

    def __init__(self, port: int = 0, kind: str = "puna", models: tuple[RunningModel, ...] = ()) -> None:
        self.kind = kind
        self.models = models
        self.installed: list[dict[str, Any]] = []
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.refusal: tuple[int, str] | None = None
        self.changed = threading.Condition()
        self.is_stopped = False
        fake = self

        class Handler(_Handler):
            server_state = fake

        try:
            self._http = _Http(("127.0.0.1", port), Handler)
        except OSError as error:
            raise PortTaken(f"127.0.0.1:{port} is already in use by another program.") from error
        self.port = self._http.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def show(self, *models: RunningModel) -> None:
        """Run these models from now on, and tell everybody."""
        with self.changed:
            self.models = models
            self.changed.notify_all()

    def wait_for_call(self, path: str, seconds: float = 10.0) -> dict[str, Any]:
        """The body of the newest call to a route, as soon as there is one."""
        with self.changed:
            assert self.changed.wait_for(lambda: any(call[0] == path for call in self.calls), seconds), self.calls
            return [body for called, body in self.calls if called == path][-1]

    def close(self) -> None:
        with self.changed:
            self.is_stopped = True
            self.changed.notify_all()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that left is no error."""


class _Handler(BaseHTTPRequestHandler):
    server_state: FakeServer
    # Without connections that are kept: a server that is closed shall be gone.
    protocol_version = "HTTP/1.0"

    def do_GET(self) -> None:
        fake = self.server_state
        if self.path == "/api/version":
            self._answer({"version": "0.33.0", **({"puna": "0.1.0"} if fake.kind == "puna" else {})})
        elif self.path == "/":
            self._send(b"Ollama is running" if fake.kind == "ollama" else b"Puna")
        elif self.path == "/api/tags":
            self._answer({"models": fake.installed})
        elif self.path == "/api/ps":
            self._answer({"models": [_ps_row(model) for model in fake.models]})
        elif self.path == "/puna/v1/status" and fake.kind == "puna":
            self._send(_status(fake, fake.models))
        elif self.path == "/puna/v1/events" and fake.kind == "puna":
            self._stream()
        else:
            self._answer({"error": "not found"}, 404)

    def do_POST(self) -> None:
        fake = self.server_state
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with fake.changed:
            fake.calls.append((self.path, body))
            if fake.refusal is None:
                fake.models = _after(fake.models, body)
            fake.changed.notify_all()
        if fake.refusal:
            self._answer({"error": fake.refusal[1]}, fake.refusal[0])
        else:
            self._answer({"done": True})

    def _stream(self) -> None:
        fake = self.server_state
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        told: tuple[RunningModel, ...] | None = None
        while True:
            with fake.changed:
                while not fake.is_stopped and fake.models == told:
                    fake.changed.wait()
                if fake.is_stopped:
                    return
                told = fake.models
            self.wfile.write(b"event: status\ndata: " + _status(fake, told) + b"\n\n")
            self.wfile.flush()

    def _answer(self, value: Any, status: int = 200) -> None:
        self._send(json.dumps(value).encode(), status)

    def _send(self, body: bytes, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


def _status(fake: FakeServer, models: tuple[RunningModel, ...]) -> bytes:
    address = f"127.0.0.1:{fake.port}"
    status = {"state": "ready", "address": address, "version": "0.1.0", "models": models, "memory": {}}
    return msgspec.json.encode(status)


def _after(models: tuple[RunningModel, ...], body: dict[str, Any]) -> tuple[RunningModel, ...]:
    """The models once a request to load, keep or unload one has been answered."""
    name, keep = body["model"], body.get("keep_alive")
    if keep == 0:
        return tuple(model for model in models if model.name != name)
    if all(model.name != name for model in models):
        models = (*models, running(name))
    seconds = -1.0 if keep == -1 else 300.0
    return tuple(
        msgspec.structs.replace(model, keep_alive_seconds=seconds) if model.name == name else model for model in models
    )


def _ps_row(model: RunningModel) -> dict[str, Any]:
    return {
        "name": model.name,
        "size": model.size_bytes,
        "size_vram": model.gpu_bytes,
        "context_length": model.context_tokens,
        "expires_at": "2318-06-01T12:00:00.123456789Z",
    }


class FakeLife:
    """A FakeServer with the life of server.serve.BackgroundServer. `prepare` fills it before it is ready."""

    def __init__(
        self,
        settings: Settings,
        on_change: Callable[[], None],
        prepare: Callable[[FakeServer], None] = lambda fake: None,
    ) -> None:
        self.state: ServerState = "stopped"
        self.error: PunaError | None = None
        self.fake: FakeServer | None = None
        self._settings = settings
        self._on_change = on_change
        self._prepare = prepare
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fake-server")

    @property
    def url(self) -> str:
        return self.fake.url if self.fake else ""

    def start(self) -> None:
        self._become("starting")
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()

    def join(self, timeout: float = 20.0) -> bool:
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            fake = FakeServer(self._settings.port)
        except PunaError as error:
            self.error = error
            self._become("failed")
            return
        self._prepare(fake)
        self.fake = fake
        self._become("ready")
        self._stop.wait()
        self._become("stopping")
        fake.close()
        self._become("stopped")

    def _become(self, state: ServerState) -> None:
        self.state = state
        self._on_change()
