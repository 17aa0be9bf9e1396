"""Answers that come line by line: their end, their errors, and leaving them."""

from __future__ import annotations

import threading

import pytest

from server.client import Client, Stream
from server.errors import Cancelled, NotFound, PunaError, ServerNotRunning, ServerUnreachable
from tests.client.fake_server import PATIENCE_SECONDS, Answer, FakeServer, failing, streaming

HELLO = {"response": "Hello", "done": False}
DONE = {"response": "", "done": True}


def test_lines_come_as_values(fake: FakeServer) -> None:
    fake.routes[("POST", "/api/generate")] = streaming(HELLO, DONE)
    with Client(fake.url) as client:
        assert list(client.generate({"model": "a"})) == [HELLO, DONE]
    assert fake.bodies("/api/generate") == [{"model": "a"}]


def test_an_early_error_keeps_its_status(fake: FakeServer) -> None:
    fake.routes[("POST", "/api/chat")] = failing(404, "model 'a' not found")
    with Client(fake.url) as client, pytest.raises(NotFound, match="model 'a' not found"):
        next(client.chat({"model": "a"}))


def test_a_late_error_comes_after_what_was_said(fake: FakeServer) -> None:
    fake.routes[("POST", "/api/chat")] = streaming(HELLO, {"error": "the runner has ended"})
    with Client(fake.url) as client:
        stream = client.chat({"model": "a"})
        assert next(stream) == HELLO
        with pytest.raises(PunaError, match="the runner has ended"):
            next(stream)


def test_a_connection_that_breaks_is_named(fake: FakeServer) -> None:
    fake.routes[("POST", "/api/chat")] = streaming(HELLO, None)
    with Client(fake.url) as client, pytest.raises(ServerUnreachable, match="failed") as caught:
        list(client.chat({"model": "a"}))
    assert str(caught.value).startswith(
        f"the connection to the server at {fake.url} failed before its answer was complete: the server has stopped"
    )


def test_a_line_that_is_no_json_is_named(fake: FakeServer) -> None:
    fake.routes[("POST", "/api/chat")] = streaming(b"<html>\n")
    with Client(fake.url) as client, pytest.raises(PunaError, match="is it a Puna server"):
        list(client.chat({"model": "a"}))


def test_nothing_listens() -> None:
    with Client("http://127.0.0.1:1") as client, pytest.raises(ServerNotRunning):
        next(client.chat({"model": "a"}))


def test_closing_early_ends_the_servers_work(fake: FakeServer) -> None:
    never = threading.Event()
    fake.routes[("POST", "/api/generate")] = streaming(HELLO, never, DONE)
    with Client(fake.url) as client, client.generate({"model": "a"}) as stream:
        assert next(stream) == HELLO
    assert fake.client_left.wait(PATIENCE_SECONDS)


@pytest.mark.parametrize("first", [(), (HELLO,)], ids=["before the first line", "between lines"])
def test_another_thread_can_cancel(first: tuple[object, ...], fake: FakeServer) -> None:
    never = threading.Event()
    fake.routes[("POST", "/api/generate")] = streaming(*first, never, DONE)
    got: list[object] = []

    def read(stream: Stream) -> None:
        try:
            for line in stream:
                got.append(line)
        except Cancelled as error:
            got.append(error)

    with Client(fake.url) as client:
        stream = client.generate({"model": "a"})
        thread = threading.Thread(target=read, args=(stream,))
        thread.start()
        assert fake.waiting.wait(PATIENCE_SECONDS)
        stream.cancel()
        thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive()
    assert got[:-1] == list(first)
    assert isinstance(got[-1], Cancelled)
    assert fake.client_left.wait(PATIENCE_SECONDS)


def test_cancelling_before_the_beginning(fake: FakeServer) -> None:
    fake.routes[("POST", "/api/generate")] = streaming(HELLO)
    with Client(fake.url) as client:
        stream = client.generate({"model": "a"})
        stream.cancel()
        with pytest.raises(Cancelled):
            next(stream)
    assert fake.asked == []


def test_events(fake: FakeServer) -> None:
    text = b': hello\n\nevent: status\ndata: {"state":\ndata:  "ready"}\n\ndata: {"state": "stopping"}\n\n'
    fake.routes[("GET", "/puna/v1/events")] = lambda asked: Answer(body=text, content_type="text/event-stream")
    with Client(fake.url) as client:
        assert list(client.events()) == [{"state": "ready"}, {"state": "stopping"}]
