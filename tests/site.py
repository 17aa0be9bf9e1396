"""A web server on a port of its own, which answers as a test says."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypeVar


@dataclass
class Answer:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Site:
    """`answer` makes the answer to each request, whose path and query `asked` keeps, and `agents` who asked."""

    port: int
    asked: list[str] = field(default_factory=list)
    agents: list[str] = field(default_factory=list)
    answer: Callable[[str], Answer] = lambda _: Answer(404)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


Made = TypeVar("Made", bound=Site)


@contextlib.contextmanager
def running(make: Callable[[int], Made]) -> Iterator[Made]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            site.asked.append(self.path)
            site.agents.append(self.headers.get("User-Agent", ""))
            answer = site.answer(self.path)
            with contextlib.suppress(ConnectionError):  # who has read enough leaves
                self.send_response(answer.status)
                for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer.body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        site = make(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield site
        finally:
            server.shutdown()
            thread.join()
