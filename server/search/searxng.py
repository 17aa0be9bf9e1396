"""SearXNG: a search engine that asks other ones, on a server of one's own or of somebody one trusts.

`GET <url>/search?q=…&format=json` answers `{"query", "results": [{"url", "title", "content", …}], …}`. An instance
answers 403 unless `json` stands under `search.formats` in its settings.yml, which it does not from the start.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode, urlsplit

import msgspec

from server.errors import SearchFailed
from server.net.addresses import AddressPolicy
from server.net.fetch import MB, Fetched, FetchFailed, fetch
from server.net.transport import Transport
from server.search.provider import (
    MAX_CONTENT_CHARACTERS,
    MAX_TITLE_CHARACTERS,
    MAX_URL_CHARACTERS,
    SearchResult,
    printable,
)

SEARCH_SECONDS = 20.0
MAX_ANSWER_BYTES = 2 * MB
MAX_QUERY_CHARACTERS = 1000


class SearXNG:
    """`url` is the instance's address as a browser shows it. It may be in a private network, because the user named it;
    other places that it redirects to may not."""

    def __init__(self, url: str, *, seconds: float = SEARCH_SECONDS) -> None:
        self._address = f"{url.rstrip('/').removesuffix('/search')}/search"
        self._seconds = seconds
        parts = urlsplit(url)
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        own = {parts.port or {"http": 80}.get(parts.scheme, 443), 443}  # it may redirect to its own https
        self._transport = Transport(AddressPolicy(f"{host}:{port}" for port in own))

    def __repr__(self) -> str:
        return f"<SearXNG at {self._address}>"

    async def search(self, query: str, count: int) -> tuple[SearchResult, ...]:
        asked = {"q": printable(query, MAX_QUERY_CHARACTERS), "format": "json"}
        try:
            fetched = await fetch(
                self._transport,
                f"{self._address}?{urlencode(asked)}",
                headers={"Accept": "application/json"},
                most_bytes=MAX_ANSWER_BYTES,
                seconds=self._seconds,
            )
        except FetchFailed as error:
            raise SearchFailed(f"The search engine {error}.", log=f"a web search failed: {error.log}") from error
        _check(fetched)
        return _results(fetched.body)[:count]

    async def close(self) -> None:
        await self._transport.close()


def _check(fetched: Fetched) -> None:
    """Raises SearchFailed for anything but success, with a status and code that OpenAI's clients know."""
    if fetched.status == 200:
        return
    if fetched.status == 429:
        raise SearchFailed(
            "The search engine has had too many requests; try again later.", status=429, code="rate_limit_exceeded"
        )
    if fetched.status == 401:
        raise SearchFailed(
            "The search engine wants a login, which Puna does not send.", status=401, code="authentication_error"
        )
    if fetched.status == 403:
        raise SearchFailed(
            "The search engine refuses to answer programs; a SearXNG instance needs `json` under `search.formats` in "
            "its settings.yml."
        )
    raise SearchFailed(f"The search engine answered with the status {fetched.status}.")


def _results(body: bytes) -> tuple[SearchResult, ...]:
    try:
        answer: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        answer = None
    found = answer.get("results") if isinstance(answer, dict) else None
    if not isinstance(found, list):
        raise SearchFailed("The search engine did not answer in the form of SearXNG's JSON; is PUNA_SEARCH_URL right?")
    results = (_result(entry) for entry in found if isinstance(entry, dict))
    return tuple(result for result in results if result is not None)


def _result(entry: dict[str, Any]) -> SearchResult | None:
    """None for what is not a page of the web, such as a magnet link."""
    url = printable(_text(entry, "url"), MAX_URL_CHARACTERS + 1)
    if not url.startswith(("http://", "https://")) or len(url) > MAX_URL_CHARACTERS or " " in url:
        return None
    title = printable(_text(entry, "title"), MAX_TITLE_CHARACTERS) or url
    return SearchResult(title, url, printable(_text(entry, "content"), MAX_CONTENT_CHARACTERS))


def _text(entry: dict[str, Any], name: str) -> str:
    value = entry.get(name)
    return value if isinstance(value, str) else ""
