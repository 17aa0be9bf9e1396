"""What a search provider is asked and what it answers. Another one is a class with the same method."""

from __future__ import annotations

from typing import Protocol

import msgspec

MAX_TITLE_CHARACTERS = 200
MAX_URL_CHARACTERS = 2000
MAX_CONTENT_CHARACTERS = 1000
_JOINERS = "\u200c\u200d"  # within words of some scripts, and within emoji


class SearchResult(msgspec.Struct, frozen=True):
    """A page. `content` is an excerpt; all three are one line of printable characters, of bounded length."""

    title: str
    url: str
    content: str = ""


class SearchProvider(Protocol):
    async def search(self, query: str, count: int) -> tuple[SearchResult, ...]:
        """At most `count` results, the best first. Raises SearchFailed."""


def printable(text: str, most_characters: int) -> str:
    """Blanks as single ones, without control characters and what else has no form of its own: a page must not be able
    to say something that only the model sees."""
    words = " ".join(text.split())
    kept = "".join(letter for letter in words if letter.isprintable() or letter in _JOINERS)
    return kept if len(kept) <= most_characters else kept[: most_characters - 1].rstrip() + "…"
