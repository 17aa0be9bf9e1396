"""One operation's talk with one registry: the token, the redirects, and what its refusals mean."""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from urllib.parse import urlsplit

import anyio
import anyio.to_thread

from server.errors import RegistryError
from server.messages.names import ModelName
from server.net.transport import MAX_TEXT_BYTES, REDIRECTS, Content, Reply, Transport, redirected, shown
from server.registry.challenge import Challenge, authorization, parse_challenge, same_owner, text_to_sign, token_url
from server.registry.key import RegistryKey
from server.settings import is_loopback
from server.version import REFERENCE_VERSION, VERSION

MAX_REDIRECTS = 10
NOT_FOUND = "file does not exist"
DENIED = "unauthorized: access denied"


class Refused(RegistryError):
    """The registry answered with a status that is no success, kept as `code`; `retry_after_seconds` is what it asks
    for, 0 where it asks for nothing."""

    code = 0
    retry_after_seconds = 0.0


class Session:
    """Sends requests below `/v2/<repository>/`, and to where they are redirected. Redirects to another host are
    followed without the token, and never from https to http."""

    def __init__(self, transport: Transport, key: RegistryKey, name: ModelName, *, insecure: bool = False) -> None:
        self._transport = transport
        self._key = key
        scheme = "http" if insecure else "https"
        self.host = name.host
        self.base = f"{scheme}://{name.host}/v2/{name.namespace}/{name.model}"
        self.is_local = is_loopback(urlsplit(self.base).hostname or "")
        self._token = ""
        self._authorizing = anyio.Lock()

    def __repr__(self) -> str:
        return f"<session with {self.base}>"

    def url(self, path: str) -> str:
        return f"{self.base}/{path}"

    def is_ours(self, url: str) -> bool:
        """Whether the token may be sent there."""
        asked, own = urlsplit(url), urlsplit(self.base)
        return same_owner(asked.netloc, own.netloc) and (asked.scheme == "https" or asked.scheme == own.scheme)

    @asynccontextmanager
    async def send(
        self, method: str, url: str, headers: Mapping[str, str] | None = None, content: Content | None = None
    ) -> AsyncIterator[Reply]:
        """One request, redirects as they come. With the token where the registry itself is asked, and again with a new
        one until that was fetched for this very request; `content` that is an iterator cannot be sent twice and must
        not need a new token.

        Raises RegistryError.
        """
        is_fresh = False
        while True:
            token = self._token if self.is_ours(url) else ""
            async with self._once(method, url, headers, content, token) as reply:
                challenge = self._challenge(reply)
                if challenge is None:
                    yield reply
                    return
            if is_fresh:
                raise refusal(401, "")
            is_fresh = await self._authorize(challenge, reply.url, token)
            if content is not None and not isinstance(content, bytes):
                raise refusal(401, "the token has expired")

    def _once(
        self, method: str, url: str, headers: Mapping[str, str] | None, content: Content | None, token: str
    ) -> AbstractAsyncContextManager[Reply]:
        fields = {"User-Agent": USER_AGENT if self.is_ours(url) else f"puna/{VERSION}", **(headers or {})}
        if token and self.is_ours(url):
            fields["Authorization"] = f"Bearer {token}"
        return self._transport.send(method, url, fields, content, is_local=self.is_local)

    def _challenge(self, reply: Reply) -> Challenge | None:
        """What to do about a 401 of the registry itself. Raises RegistryError where nothing can be done."""
        if reply.status != 401 or not self.is_ours(reply.url):
            return None
        challenge = parse_challenge(reply.headers.get("www-authenticate", ""))
        if challenge is None:
            raise refusal(401, "")
        return challenge

    # ---- the token -------------------------------------------------------------------------------------------------

    async def _authorize(self, challenge: Challenge, url: str, used: str) -> bool:
        """See to another token than `used`; false where somebody else has fetched one since. Raises RegistryError."""
        async with self._authorizing:
            if self._token and self._token != used:
                return False
            nonce = base64.urlsafe_b64encode(secrets.token_bytes(16)).rstrip(b"=").decode()
            address = token_url(challenge, url, nonce, int(time.time()))
            signed = await anyio.to_thread.run_sync(self._signed, address)
            fields = {"User-Agent": USER_AGENT, "Authorization": signed}
            async with self._transport.send("GET", address, fields, is_local=self.is_local) as reply:
                if reply.status != 200:
                    text = await reply.text()
                    raise RegistryError(f"{reply.status}: {text}" if text else f"{reply.status}")
                self._token = _token_in(await reply.read(MAX_TEXT_BYTES))
            return True

    def _signed(self, url: str) -> str:
        return authorization(self._key.public(), self._key.sign(text_to_sign(url)))

    # ---- small answers ---------------------------------------------------------------------------------------------

    async def fetch(
        self, method: str, url: str, headers: Mapping[str, str] | None = None, content: bytes | None = None,
        *, most_bytes: int = MAX_TEXT_BYTES,
    ) -> tuple[Reply, bytes]:  # fmt: skip
        """A successful answer and its body, redirects followed. Raises Refused and other RegistryErrors."""
        for _ in range(MAX_REDIRECTS + 1):
            async with self.send(method, url, headers, content) as reply:
                if reply.status not in REDIRECTS:
                    await check(reply)
                    return reply, b"" if method == "HEAD" else await reply.read(most_bytes)
                url = redirected(reply)
        raise RegistryError(f"maximum redirects exceeded ({MAX_REDIRECTS}) for {shown(url)}")


async def check(reply: Reply) -> None:
    """Raises Refused for a status of 400 and above, in the words that clients know."""
    if reply.status >= 400:
        error = refusal(reply.status, await reply.text())
        error.retry_after_seconds = retry_after(reply)
        raise error


def refusal(status: int, text: str) -> Refused:
    words = {401: DENIED, 404: NOT_FOUND}.get(status) or (f"{status}: {text}" if text else f"{status}")
    error = Refused(words, log=f"{words} {text}" if status in (401, 404) and text else words)
    error.code = status
    return error


def retry_after(reply: Reply) -> float:
    """Seconds; 0 for none, and for a date, which nobody's clock agrees on."""
    text = reply.headers.get("retry-after", "")
    return float(text) if text.isdecimal() and len(text) < 6 else 0.0


def _token_in(body: bytes) -> str:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    found = (answer.get("token") or answer.get("access_token")) if isinstance(answer, dict) else None
    if not isinstance(found, str) or not found.isprintable():
        raise RegistryError("the registry sent no token where it asks for one")
    return found


def _user_agent() -> str:
    """Registries look at the version of Ollama that a client says it is."""
    import platform

    machine = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
    architecture = machine.get(platform.machine().lower(), platform.machine().lower() or "amd64")
    return (
        f"ollama/{REFERENCE_VERSION} ({architecture} {platform.system().lower() or 'linux'}) Go/go1.24.0 puna/{VERSION}"
    )


USER_AGENT = _user_agent()
