"""A server that answers what a test says, over real HTTP, and remembers what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PATIENCE_SECONDS = 20.0


@dataclass
class Asked:
    method: str
    path: str
    body: bytes
    headers: dict[str, str]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Answer:
    """`lines` are sent one by one as chunks; an Event among them is waited for before the next one is sent, and None
    ends the connection without a proper end."""

    status: int = 200
    body: bytes = b""
    lines: Iterable[Any] | None = None
    content_type: str = "application/json; charset=utf-8"
    headers: dict[str, str] = field(default_factory=dict)


Route = Callable[[Asked], Answer]


def ok(value: Any) -> Route:
    return lambda asked: Answer(body=json.dumps(value).encode())


def failing(status: int, sentence: str) -> Route:
    return lambda asked: Answer(status, json.dumps({"error": sentence}).encode())


def streaming(*lines: Any) -> Route:
    return lambda asked: Answer(lines=lines, content_type="application/x-ndjson")


@dataclass
class FakeServer:
    routes: dict[tuple[str, str], Route] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    client_left: threading.Event = field(default_factory=threading.Event)
    waiting: threading.Event = field(default_factory=threading.Event)
    closing: threading.Event = field(default_factory=threading.Event)
    port: int = 0
    name: str = "fake"  # as its answers tell it

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def bodies(self, path: str) -> list[Any]:
        """The JSON that was sent to a path, in order."""
        return [asked.json for asked in self.asked if asked.path == path]

    def answer(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        route = self.routes.get((asked.method, asked.path))
        return route(asked) if route else Answer(404, b"404 page not found", content_type="text/plain")


@contextmanager
def fake_server(**extra: Any) -> Iterator[FakeServer]:
    fake = FakeServer(**extra)
    fake.routes.setdefault(("HEAD", "/"), lambda asked: Answer())
    fake.routes.setdefault(("GET", "/"), lambda asked: Answer(body=b"Ollama is running", content_type="text/plain"))
    fake.routes.setdefault(("GET", "/api/version"), ok({"version": "0.33.0", "puna": "0.1.0"}))

    class Handler(_Handler):
        server_of_test = fake

    http_server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http_server.daemon_threads = False
    fake.port = http_server.server_address[1]
    thread = threading.Thread(target=http_server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield fake
    finally:
        fake.closing.set()
        http_server.shutdown()
        http_server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_of_test: FakeServer

    def handle_any(self) -> None:
        fake = self.server_of_test
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        # One request per connection, so that no thread waits for a second one when the test is over.
        self.close_connection = True
        answer = fake.answer(Asked(self.command, self.path, body, dict(self.headers.items())))
        self.send_response(answer.status)
        self.send_header("Connection", "close")
        self.send_header("Content-Type", answer.content_type)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.lines is None:
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)
            return
        self._stream(answer.lines)

    do_GET = do_HEAD = do_POST = do_DELETE = handle_any

    def _stream(self, lines: Iterable[Any]) -> None:
        fake = self.server_of_test
        headers_sent = False
        try:
            for line in lines:
                if isinstance(line, threading.Event):
                    fake.waiting.set()
                    if not self._waited(line):
                        return
                    continue
                if not headers_sent:
                    self.send_header("Transfer-Encoding", "chunked")
                    self.end_headers()
                    headers_sent = True
                if line is None:
                    return
                data = line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n"
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
                self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")
        except OSError:
            fake.client_left.set()

    def _waited(self, event: threading.Event) -> bool:
        """True when the event came, False when the client left or the test is over."""
        self.connection.settimeout(0.02)
        while not event.is_set():
            try:
                if not self.connection.recv(1):
                    self.server_of_test.client_left.set()
                    return False
            except TimeoutError:
                if self.server_of_test.closing.is_set():
                    return False
            except OSError:
                self.server_of_test.client_left.set()
                return False
        self.connection.settimeout(None)
        return True

    def version_string(self) -> str:
        return self.server_of_test.name

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the test's output is the test's."""
