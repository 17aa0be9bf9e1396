"""A search engine that speaks SearXNG's JSON: what is asked, what is taken of its answers, and how it may fail."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from server.errors import SearchFailed
from server.search import SearchResult
from server.search.provider import MAX_CONTENT_CHARACTERS, MAX_TITLE_CHARACTERS, printable
from server.search.searxng import MAX_ANSWER_BYTES, MAX_QUERY_CHARACTERS, SearXNG
from server.version import USER_AGENT
from tests.golden.server import free_port
from tests.searxng import SearchEngine, found, page, search_engine
from tests.site import Answer

pytestmark = pytest.mark.anyio


@pytest.fixture
def engine() -> Iterator[SearchEngine]:
    with search_engine() as running:
        yield running


@asynccontextmanager
async def asking(url: str, seconds: float = 5.0) -> AsyncIterator[SearXNG]:
    provider = SearXNG(url, seconds=seconds)
    try:
        yield provider
    finally:
        await provider.close()


async def search(url: str, query: str = "why", count: int = 5, seconds: float = 5.0) -> tuple[SearchResult, ...]:
    async with asking(url, seconds) as provider:
        return await provider.search(query, count)


async def failure(url: str, seconds: float = 5.0) -> SearchFailed:
    with pytest.raises(SearchFailed) as raised:
        await search(url, seconds=seconds)
    return raised.value


# ---- what is asked -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("behind", ["", "/", "/search", "/search/"])
async def test_the_request(engine: SearchEngine, behind: str) -> None:
    await search(f"{engine.url}{behind}", "a&b=ü ?")
    assert engine.asked == ["/search?q=a%26b%3D%C3%BC+%3F&format=json"]
    assert engine.agents == [USER_AGENT]


async def test_an_instance_below_a_path(engine: SearchEngine) -> None:
    await search(f"{engine.url}/searx/")
    assert engine.asked == ["/searx/search?q=why&format=json"]


async def test_a_query_is_one_line_of_bounded_length(engine: SearchEngine) -> None:
    await search(engine.url, "a\r\nb\0c " + "x" * 5000)
    [query] = engine.queries
    assert query.startswith("a bc x")
    assert len(query) == MAX_QUERY_CHARACTERS


# ---- what is taken -------------------------------------------------------------------------------------------------


async def test_results(engine: SearchEngine) -> None:
    engine.answer = lambda _: found(page("T1", "https://a.example/", "C1"), page("T2", "http://b.example/x?y#z"))
    assert await search(engine.url) == (
        SearchResult("T1", "https://a.example/", "C1"),
        SearchResult("T2", "http://b.example/x?y#z", ""),
    )


async def test_only_as_many_as_were_asked_for(engine: SearchEngine) -> None:
    engine.finds(*"abcdefgh")
    assert [result.content for result in await search(engine.url, count=5)] == list("abcde")
    engine.finds()
    assert await search(engine.url) == ()


async def test_control_characters_and_length(engine: SearchEngine) -> None:
    """What a page says is data: one line, nothing invisible, of bounded length."""
    hidden = "a\x00b\x1b[31mc\u202ed\u200be\U000e0041f\nSystem:\tg"
    engine.answer = lambda _: found(page(hidden + "t" * 500, "https://a.example/", hidden + "c" * 5000))
    [result] = await search(engine.url)
    assert result.content.startswith("ab[31mcdef System: gccc")
    assert len(result.content) == MAX_CONTENT_CHARACTERS
    assert len(result.title) == MAX_TITLE_CHARACTERS
    assert printable("\ud800ok \u0646\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", 100).startswith("ok \u0646")


async def test_what_is_no_page_of_the_web(engine: SearchEngine) -> None:
    pages = [
        page("magnet", "magnet:?xt=urn:btih:1"), page("script", "javascript:alert(1)"), page("file", "file:///etc/passwd"),
        page("long", "https://a.example/" + "x" * 5000), page("none", None), page("spaced", "https://a.example/ b"),
    ]  # fmt: skip
    engine.answer = lambda _: found(*pages, page(None, "https://good.example/", None))
    assert await search(engine.url) == (SearchResult("https://good.example/", "https://good.example/", ""),)


# ---- how it may fail -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "told_status", "code", "words"),
    [
        (401, 401, "authentication_error", "wants a login"),
        (403, 502, "api_error", "needs `json` under `search.formats`"),
        (404, 502, "api_error", "the status 404"),
        (429, 429, "rate_limit_exceeded", "too many requests"),
        (500, 502, "api_error", "the status 500"),
    ],
)
async def test_statuses(engine: SearchEngine, status: int, told_status: int, code: str, words: str) -> None:
    """compat-api 9.6"""
    engine.fails(status)
    error = await failure(engine.url)
    assert (error.status, error.code) == (told_status, code)
    assert words in str(error)


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"",
        b"[]",
        b'{"results": {}}',
        b'{"no": []}',
        b'{"results": [',
        b"[" * 200_000,
        b'{"results": "\xff"}',
    ],
)
async def test_another_form(engine: SearchEngine, body: bytes) -> None:
    engine.answer = lambda _: Answer(body=body)
    assert "is PUNA_SEARCH_URL right?" in str(await failure(engine.url))


async def test_an_answer_without_end(engine: SearchEngine) -> None:
    body = json.dumps({"results": [page("T", "https://a.example/", "x" * MAX_ANSWER_BYTES)]}).encode()
    engine.answer = lambda _: Answer(body=body)
    assert str(await failure(engine.url)) == "The search engine sends more than 2 MB."


async def test_nobody_there() -> None:
    """The sentence does not say where: a client of a shared server need not know."""
    port = free_port()
    error = await failure(f"http://127.0.0.1:{port}")
    assert (str(error), error.status) == ("The search engine could not be reached.", 502)
    assert f"127.0.0.1:{port}" in error.log
    assert "why" not in error.log  # nor does the log say what was searched for


async def test_one_that_takes_too_long(engine: SearchEngine) -> None:
    waits = threading.Event()

    def late(_: str) -> Answer:
        waits.wait(10)
        return found()

    engine.answer = late
    try:
        assert str(await failure(engine.url, seconds=0.2)) == "The search engine did not answer within 0.2 seconds."
    finally:
        waits.set()


async def test_redirects(engine: SearchEngine) -> None:
    """To another path of the engine, but to nothing of this network that the user has not named; and not for ever."""

    def leads(to: str) -> None:
        page_there = found(page("T", "https://a.example/"))
        moved = Answer(301, b"", {"Location": to})
        engine.answer = lambda path: page_there if path.startswith("/new") else moved

    leads("/new?q=why&format=json")
    assert len(await search(engine.url)) == 1
    leads("/search")
    assert str(await failure(engine.url)) == "The search engine redirects more than 3 times."
    for to in ("file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1/", "http://me:pw@127.0.0.1/", ""):
        leads(to)
        assert str(await failure(engine.url)) == "The search engine redirects to where Puna does not follow."
    for to in ("http://169.254.169.254/latest/", "http://10.0.0.1/", "http://127.0.0.1:1/", "http://[::1]/"):
        leads(to)
        assert "is, or leads to, an address of this machine" in str(await failure(engine.url))


async def test_an_instance_at_an_address_of_the_other_kind() -> None:
    """In brackets, and with a port that nobody wrote."""
    assert "could not be reached" in str(await failure(f"http://[::1]:{free_port()}"))
