"""Searching the web for a model, by a provider that the user has named."""

from server.search.provider import SearchProvider, SearchResult

__all__ = ["SearchProvider", "SearchResult"]
