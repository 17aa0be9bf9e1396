"""The HTTP client of our own server. Blocking; one object may be used from several threads."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from server.client.credentials import door
from server.client.failures import from_answer, from_exception
from server.client.streams import Reader, Stream, json_lines, server_sent_events
from server.errors import PunaError
from server.messages.files import BEGINNING_BYTES
from server.settings import is_loopback
from server.version import USER_AGENT

if TYPE_CHECKING:
    import httpx2

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 60.0  # for answers that need no model
UPLOAD_CHUNK_BYTES = 1024 * 1024


class Client:
    """`base_url` as server.settings.client_url gives it; a path in it stays in front of every route. What lets it
    into a server that wants keys it finds by itself.

    Every method raises a PunaError: the server's own sentence and status, ServerNotRunning where nothing listens, or
    ServerUnreachable.
    """

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url.rstrip("/")
        parts = urlsplit(self.base_url)
        self.is_loopback = is_loopback(parts.hostname or "")
        self._is_tls = parts.scheme == "https"
        self._shared: httpx2.Client | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._shared is not None:
            self._shared.close()
            self._shared = None

    # ---- inventory ---------------------------------------------------------------------------------------------------

    def probe(self) -> None:
        """Raises unless something answers HTTP at the address."""
        self._call("HEAD", "/")

    def version(self) -> dict[str, Any]:
        """`{"version": …}`, with a key `puna` where it is Puna."""
        return self._json("GET", "/api/version")

    def tags(self) -> list[dict[str, Any]]:
        """Installed models, newest first."""
        return list(self._json("GET", "/api/tags").get("models") or ())

    def ps(self) -> list[dict[str, Any]]:
        """Loaded models, longest remaining time first."""
        return list(self._json("GET", "/api/ps").get("models") or ())

    def show(self, model: str, *, verbose: bool = False) -> dict[str, Any]:
        return self._json("POST", "/api/show", {"model": model, "verbose": verbose})

    def fit(self, model: str, *, num_ctx: int = 0, parallel: int = 0, kv_cache_type: str = "") -> dict[str, Any]:
        """Whether a model fits into the server's memory, with the arithmetic; 0 and "" leave a value as it would be."""
        asked = {"num_ctx": num_ctx, "parallel": parallel, "kv_cache_type": kv_cache_type}
        return self._json("POST", "/puna/v1/fit", {"model": model, **asked})

    def fit_before_pull(self, model: str, *, insecure: bool = False) -> dict[str, Any]:
        """The same of a model as its registry has it, of which only the beginning is fetched."""
        return self._json("POST", "/puna/v1/fit", {"model": model, "pull": True, "insecure": insecure})

    def status(self) -> dict[str, Any]:
        """State, address, versions, running models and memory."""
        return self._json("GET", "/puna/v1/status")

    def events(self) -> Stream:
        """The status again each time it has changed, until it is cancelled."""
        return self._stream("GET", "/puna/v1/events", None, server_sent_events)

    # ---- answers -----------------------------------------------------------------------------------------------------

    def generate(self, body: Mapping[str, Any]) -> Stream:
        return self._stream("POST", "/api/generate", body)

    def chat(self, body: Mapping[str, Any]) -> Stream:
        return self._stream("POST", "/api/chat", body)

    def embed(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return self._json("POST", "/api/embed", body, seconds=None)

    def load(self, model: str, **fields: Any) -> dict[str, Any]:
        """Load a model without asking it anything; `fields` are those of a generate request."""
        return self._json("POST", "/api/generate", {"model": model, "stream": False, **fields}, seconds=None)

    def unload(self, model: str) -> None:
        """Unload it when its requests have ended; no error where it is not loaded."""
        self._json("POST", "/api/generate", {"model": model, "stream": False, "keep_alive": 0}, seconds=None)

    # ---- the store ---------------------------------------------------------------------------------------------------

    def create(self, body: Mapping[str, Any]) -> Stream:
        """Progress objects; the last one's status is "success"."""
        return self._stream("POST", "/api/create", body)

    def pull(self, model: str, *, insecure: bool = False, fit: bool = False) -> Stream:
        """Progress objects; the last one's status is "success". With `fit` one says beforehand whether it will fit."""
        asked = {"model": model, "insecure": insecure}
        return self._stream("POST", "/api/pull", {**asked, "fit": True} if fit else asked)

    def push(self, model: str, *, insecure: bool = False) -> Stream:
        """Progress objects; the last one's status is "success"."""
        return self._stream("POST", "/api/push", {"model": model, "insecure": insecure})

    def downloads(self) -> dict[str, Any]:
        """Running and half-finished downloads, and their limits."""
        return self._json("GET", "/puna/v1/downloads")

    def limit_downloads(self, **limits: int) -> dict[str, Any]:
        """Change `parts` and `bytes_per_second` (0: no limit) until the server stops; what is in force then."""
        return self._json("PATCH", "/puna/v1/downloads/limits", limits)

    def cancel_download(self, digest: str) -> None:
        """For everybody who waits for it; what has come is kept."""
        self._call("POST", f"/puna/v1/downloads/{digest}/cancel")

    def clear_downloads(self, digest: str = "") -> int:
        """Remove what is left of one download that broke off, or of all; the bytes freed."""
        return int(self._json("DELETE", f"/puna/v1/downloads/{digest}".rstrip("/")).get("freed_bytes", 0))

    def copy(self, source: str, destination: str) -> None:
        self._call("POST", "/api/copy", {"source": source, "destination": destination})

    def delete(self, model: str) -> int | None:
        """The bytes that this freed; None where the server does not say, as Ollama does not."""
        freed = self._response("DELETE", "/api/delete", {"model": model}).headers.get("X-Puna-Freed-Bytes", "")
        return int(freed) if freed.isdecimal() else None

    def has_blob(self, digest: str) -> bool:
        """`digest` is `sha256:` and 64 hex digits."""
        try:
            self._call("HEAD", f"/api/blobs/{digest}")
        except PunaError as error:
            if error.status == 404:
                return False
            raise
        return True

    def take_file(self, path: Path, on_progress: Callable[[int], None] = lambda done: None) -> str | None:
        """Let a server on this machine copy the file itself: its digest. None where the server cannot: it is on another
        machine, in a container, another user's, or Ollama."""
        if not self.is_loopback:
            return None
        with path.open("rb") as file:
            beginning = digest_of(file.read(BEGINNING_BYTES))
        body = {"path": str(path.absolute()), "beginning": beginning}
        digest = None
        try:
            with self._stream("POST", "/puna/v1/blobs", body) as updates:
                for update in updates:
                    on_progress(int(update.get("completed", 0)))
                    digest = update.get("digest") or digest
        except PunaError as error:
            if error.status in (403, 404, 405):
                return None
            raise
        return digest

    def upload_blob(self, path: Path, digest: str, on_progress: Callable[[int], None] = lambda sent: None) -> None:
        """Send a file; the server refuses it unless it has that digest. `on_progress` gets the bytes sent so far."""
        with path.open("rb") as file:
            size = path.stat().st_size
            self._call(
                "POST",
                f"/api/blobs/{digest}",
                content=_chunks(file, on_progress),
                headers={"Content-Length": str(size), "Content-Type": "application/octet-stream"},
                seconds=None,
            )

    def preview_import(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """What an import would take (`models`), and what it would not and why (`skipped`)."""
        return self._json("POST", "/puna/v1/import", {**body, "dry_run": True}, seconds=None)

    def import_models(self, body: Mapping[str, Any]) -> Stream:
        """Progress objects; the last one's status is "success"."""
        return self._stream("POST", "/puna/v1/import", body)

    def models_folder(self) -> dict[str, Any]:
        """Where the models are, whether the folder is there, and a move that has begun."""
        return self._json("GET", "/puna/v1/models/folder")

    def move_models(self, path: str) -> Stream:
        """Progress objects; the last one's status is "success"."""
        return self._stream("POST", "/puna/v1/models/move", {"path": path})

    # ---- API keys ----------------------------------------------------------------------------------------------------

    def keys(self) -> dict[str, Any]:
        """What is known of the keys, and whether the server wants one (`required`)."""
        return self._json("GET", "/puna/v1/keys")

    def add_key(self, name: str, scope: str) -> dict[str, Any]:
        """The new key; `key` is its text, which is not told again."""
        return self._json("POST", "/puna/v1/keys", {"name": name, "scope": scope})

    def revoke_key(self, name: str) -> dict[str, Any]:
        return self._json("DELETE", f"/puna/v1/keys/{quote(name, safe='')}")

    # ---- transport ---------------------------------------------------------------------------------------------------

    def _json(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, seconds: float | None = ANSWER_SECONDS
    ) -> dict[str, Any]:
        content = self._call(method, path, body, seconds=seconds)
        try:
            answer = json.loads(content)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise PunaError(f"{self.base_url} does not answer as a Puna server does; what listens there?")
        return answer

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None, **more: Any) -> bytes:
        return self._response(method, path, body, **more).content

    def _response(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        content: Iterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        seconds: float | None = ANSWER_SECONDS,
    ) -> httpx2.Response:
        import httpx2

        with self._lock:  # threads that come at once must not make one each
            shared = self._shared = self._shared or self._connect()
        timeout = httpx2.Timeout(seconds, connect=CONNECT_SECONDS)
        way = door(self.base_url)
        headers = {**way.headers, **(headers or {})}
        try:
            response = shared.request(
                method, way.url + path, json=body, content=content, headers=headers, timeout=timeout
            )
        except httpx2.HTTPError as error:
            raise from_exception(error, self.base_url) from error
        if response.status_code >= 400:
            raise from_answer(response.status_code, response.reason_phrase, response.content)
        return response

    def _stream(self, method: str, path: str, body: Mapping[str, Any] | None, reader: Reader = json_lines) -> Stream:
        import httpx2

        client = self._connect()
        timeout = httpx2.Timeout(None, connect=CONNECT_SECONDS)
        way = door(self.base_url)
        request = client.build_request(method, way.url + path, json=body, headers=way.headers, timeout=timeout)
        return Stream(client, request, reader, self.base_url)

    def _connect(self) -> httpx2.Client:
        import httpx2

        return httpx2.Client(
            # A proxy set for the internet must not carry what goes to this machine.
            trust_env=not self.is_loopback,
            # Reading the certificates takes longer than a request; without TLS nobody needs them.
            verify=self._is_tls,
            headers={"User-Agent": USER_AGENT},
        )


def _chunks(file: Any, on_progress: Callable[[int], None]) -> Iterator[bytes]:
    sent = 0
    while chunk := file.read(UPLOAD_CHUNK_BYTES):
        yield chunk
        sent += len(chunk)
        on_progress(sent)


def digest_of(data: bytes) -> str:
    import hashlib

    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def file_digest(path: Path, on_progress: Callable[[int], None] = lambda read: None) -> str:
    """`sha256:` and 64 hex digits. `on_progress` gets the bytes read so far."""
    import hashlib

    digest, read = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(UPLOAD_CHUNK_BYTES):
            digest.update(chunk)
            read += len(chunk)
            on_progress(read)
    return f"sha256:{digest.hexdigest()}"
