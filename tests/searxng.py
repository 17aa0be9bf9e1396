"""A search engine that speaks SearXNG's JSON, on a port of its own; and a model that asks for one."""

from __future__ import annotations

import contextlib
import json
import pathlib
import runpy
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

MAKER = pathlib.Path(__file__).parent / "models" / "make" / "make_scripted_model.py"


@dataclass
class Answer:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class SearchEngine:
    """`answer` makes the answer to each request, whose path and query `asked` keeps."""

    port: int
    asked: list[str] = field(default_factory=list)
    agents: list[str] = field(default_factory=list)
    answer: Callable[[str], Answer] = lambda _: found()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def queries(self) -> list[str]:
        return [parse_qs(urlsplit(path).query)["q"][0] for path in self.asked]

    def finds(self, *contents: str) -> None:
        """Every search from now on finds pages with these excerpts."""
        pages = [page(f"Page {at}", f"https://page{at}.example/", content) for at, content in enumerate(contents, 1)]
        self.answer = lambda _: found(*pages)

    def fails(self, status: int) -> None:
        self.answer = lambda _: Answer(status, b"<h1>no</h1>")


def page(title: Any, url: Any, content: Any = "") -> dict[str, Any]:
    """A result with all members that an instance sends for one of the general category."""
    return {
        "url": url, "title": title, "content": content, "thumbnail": "", "engine": "mojeek", "template": "default.html",
        "parsed_url": ["https", "page", "/", "", "", ""], "img_src": "", "priority": "", "engines": ["mojeek"],
        "positions": [1], "score": 1.0, "category": "general", "publishedDate": None,
    }  # fmt: skip


def found(*pages: dict[str, Any]) -> Answer:
    told = {
        "query": "q", "number_of_results": 0, "results": pages, "answers": [], "corrections": [], "infoboxes": [],
        "suggestions": [], "unresponsive_engines": [["brave", "too many requests"]],
    }  # fmt: skip
    return Answer(body=json.dumps(told).encode(), headers={"Content-Type": "application/json"})


@contextlib.contextmanager
def search_engine() -> Iterator[SearchEngine]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            engine.asked.append(self.path)
            engine.agents.append(self.headers.get("User-Agent", ""))
            answer = engine.answer(self.path)
            with contextlib.suppress(ConnectionError):  # who has read enough leaves
                self.send_response(answer.status)
                for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer.body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        engine = SearchEngine(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield engine
        finally:
            server.shutdown()
            thread.join()


def write_searching_model(path: pathlib.Path) -> None:
    """A scripted model that searches: SEARCH, SAYSEARCH, BOTH and NOQUERY make it, what a page says may too."""
    maker = runpy.run_path(str(MAKER))
    maker["main"](str(path), scripts=maker["SEARCHES"])
