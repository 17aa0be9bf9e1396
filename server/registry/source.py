"""Where the bytes of one blob come from: the registry itself, or the place that it redirects to."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from server.errors import RegistryError
from server.net.transport import REDIRECTS, NetworkFailure, Reply, redirected, shown
from server.registry.parts import Part
from server.registry.session import MAX_REDIRECTS, Session, check

_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)")
_EXPIRED = frozenset({400, 401, 403, 404, 410})


class LinkExpired(NetworkFailure):
    """The place that the registry had named does not give the file any more; asking again names a new one."""


class NoRanges(RegistryError):
    """The registry sends files in one piece only."""


class BlobSource:
    """Opens ranges. The place of a redirect is remembered for the next range until it refuses, together with the ETag
    it gave: with `If-Range` a place that has changed its mind about the file says so before bytes of two files mix."""

    def __init__(self, session: Session, digest: str, total: int) -> None:
        self._session = session
        self._digest = digest
        self._total = total
        self._direct = ""
        self._etags: dict[str, str] = {}

    @asynccontextmanager
    async def open(self, part: Part) -> AsyncIterator[Reply]:
        """What is missing of a part: the answer to a range, or a whole file where the part is one.

        Raises NetworkFailure for what may pass, NoRanges, RegistryError.
        """
        direct = self._direct
        url = direct or self._session.url(f"blobs/{self._digest}")
        for _ in range(MAX_REDIRECTS + 1):
            fields = {"Range": f"bytes={part.at}-{part.end - 1}"}
            if etag := self._etags.get(_place(url)):
                fields["If-Range"] = etag
            async with self._session.send("GET", url, fields) as reply:
                if reply.status not in REDIRECTS:
                    await self._check(reply, part, had_etag=bool(etag), is_direct=not self._session.is_ours(url))
                    if not self._session.is_ours(url):
                        self._direct = url
                    yield reply
                    return
                url = redirected(reply)
        raise RegistryError(f"maximum redirects exceeded ({MAX_REDIRECTS}) for {shown(url)}")

    async def _check(self, reply: Reply, part: Part, *, had_etag: bool, is_direct: bool) -> None:
        """Before a byte of it is written."""
        if reply.status == 206:
            self._check_range(reply, part)
            self._remember(reply)
        elif reply.status == 200:
            self._check_whole(reply, part, had_etag)
        elif is_direct and reply.status in _EXPIRED:
            self._forget(reply.url)
            raise LinkExpired(f"{shown(reply.url)} answered {reply.status}; its link has expired")
        elif reply.status == 416:
            raise RegistryError(f"{shown(reply.url)} is shorter than the {self._total} bytes that its manifest says")
        else:
            await check(reply)
            raise RegistryError(f"{shown(reply.url)} answered {reply.status}, which no download begins with")

    def _check_range(self, reply: Reply, part: Part) -> None:
        """Exactly what was asked for, of a file of the manifest's size and, where the answer says so, digest."""
        match = _RANGE.fullmatch(reply.headers.get("content-range", "").strip())
        if match is None or int(match[1]) != part.at or int(match[2]) >= part.end:
            raise NetworkFailure(f"{shown(reply.url)} answered with another range than was asked for")
        if match[3] != "*" and int(match[3]) != self._total:
            raise RegistryError(
                f"{shown(reply.url)} has {match[3]} bytes, but its manifest says {self._total}; it was not downloaded"
            )
        self._check_digest(reply)

    def _check_whole(self, reply: Reply, part: Part, had_etag: bool) -> None:
        if had_etag:
            self._forget(reply.url)
            raise LinkExpired(f"the file at {shown(reply.url)} has been replaced while it was downloaded")
        if part.offset or part.size != self._total:
            raise NoRanges(f"{shown(reply.url)} does not send parts of files")
        length = reply.headers.get("content-length", "")
        if length and length != str(self._total):
            raise RegistryError(
                f"{shown(reply.url)} has {length} bytes, but its manifest says {self._total}; it was not downloaded"
            )
        self._check_digest(reply)

    def _check_digest(self, reply: Reply) -> None:
        said = reply.headers.get("docker-content-digest", "")
        if said and said.lower() != self._digest:
            raise RegistryError(f"{shown(reply.url)} offers another file ({said[:80]}) than its manifest names")

    def _remember(self, reply: Reply) -> None:
        etag = reply.headers.get("etag", "")
        if etag.startswith('"') and etag.isprintable():  # a weak one cannot promise equal bytes
            self._etags[_place(reply.url)] = etag

    def _forget(self, url: str) -> None:
        self._etags.pop(_place(url), None)
        self._direct = ""


def _place(url: str) -> str:
    """A link that is signed anew names the same place."""
    return shown(url)
