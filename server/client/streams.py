"""An answer that comes line by line, and that another thread can stop."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any

from server.client.failures import from_answer, from_exception, sentence_of
from server.errors import Cancelled, PunaError

if TYPE_CHECKING:
    import httpx2

Reader = Callable[[Iterable[str]], Iterator[Any]]


class Stream:
    """Iterate it once, in one thread; `cancel` may come from any other. Closing it early ends the server's work too.

    The request is sent when iteration begins. Raises the server's error, whether it came as a status or as a line,
    and Cancelled after `cancel`.
    """

    def __init__(self, client: httpx2.Client, request: httpx2.Request, reader: Reader, base_url: str) -> None:
        # The connection is this stream's own: before the first line, which may take as long as a model loads, closing
        # its socket is the only way to leave.
        request.extensions = {**request.extensions, "trace": self._watch}
        self._client = client
        self._request = request
        self._base_url = base_url
        self._lines = self._read(reader)
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._is_cancelled = False

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return next(self._lines)

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """From the thread that iterates."""
        self._lines.close()
        self._client.close()

    def cancel(self) -> None:
        """From any thread: the one that iterates gets Cancelled, even while it waits."""
        with self._lock:
            self._is_cancelled = True
            self._shut_down()

    def _shut_down(self) -> None:
        """Not closed: closing would not wake a thread that reads."""
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def _watch(self, event: str, info: dict[str, Any]) -> None:
        """httpcore's trace: a connection was made, or wrapped in TLS (which makes another socket of it)."""
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            with self._lock:
                self._socket = info["return_value"].get_extra_info("socket")
                if self._is_cancelled:
                    self._shut_down()

    def _read(self, reader: Reader) -> Generator[Any, None, None]:
        import httpx2

        try:
            response = self._client.send(self._request, stream=True)
            try:
                if response.status_code >= 400:
                    raise from_answer(response.status_code, response.reason_phrase, response.read())
                for item in reader(response.iter_lines()):
                    if sentence := sentence_of(item):
                        raise PunaError(sentence)
                    yield item
            finally:
                response.close()
        except (httpx2.HTTPError, httpx2.StreamError) as error:
            with self._lock:
                if self._is_cancelled:
                    raise Cancelled() from error
            raise from_exception(error, self._base_url) from error
        finally:
            with self._lock:
                self._socket = None
            self._client.close()
        if self._is_cancelled:
            raise Cancelled()


def json_lines(lines: Iterable[str]) -> Iterator[Any]:
    """One JSON value per line."""
    for line in lines:
        if line:
            yield _parsed(line)


def server_sent_events(lines: Iterable[str]) -> Iterator[Any]:
    """The JSON data of each event; comments that keep the connection alive are left out."""
    data: list[str] = []
    for line in lines:
        if line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
        elif not line and data:
            yield _parsed("\n".join(data))
            data = []


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise PunaError(f"the server's answer cannot be understood: {text[:80]!r}; is it a Puna server?") from error
