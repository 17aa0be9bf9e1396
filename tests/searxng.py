"""A search engine that speaks SearXNG's JSON, on a port of its own; and a model that asks for one."""

from __future__ import annotations

import json
import pathlib
import runpy
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.site import Answer, Site, running

MAKER = pathlib.Path(__file__).parent / "models" / "make" / "make_scripted_model.py"


@dataclass
class SearchEngine(Site):
    answer: Callable[[str], Answer] = lambda _: found()

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


def search_engine() -> AbstractContextManager[SearchEngine]:
    return running(SearchEngine)


def write_searching_model(path: pathlib.Path) -> None:
    """A scripted model that searches: SEARCH, SAYSEARCH, BOTH and NOQUERY make it, what a page says may too."""
    maker = runpy.run_path(str(MAKER))
    maker["main"](str(path), scripts=maker["SEARCHES"])
