"""Images by address in the OpenAI and Anthropic dialects, before the model is asked (compat-api 14.5)."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import pytest

from server.net.images import RemoteImages
from tests.api.conftest import Connect, Server, Start
from tests.pictures import picture
from tests.site import Answer, Site, running

pytestmark = pytest.mark.anyio

PNG, GIF = picture("red"), picture("blue", "gif")


class Catalog:
    """Two models: one sees, one does not."""

    async def find(self, raw: str, endpoint: Any) -> Any:
        return SimpleNamespace(capabilities=("completion", "vision") if raw == "sees" else ("completion",))


@pytest.fixture
def site() -> Iterator[Site]:
    with running(Site) as made:
        made.answer = lambda path: Answer(body=GIF if path == "/gif" else PNG)
        yield made


@pytest.fixture
async def fetching(start: Start, site: Site) -> AsyncIterator[Server]:
    """A server that may fetch from the site."""
    server = start()
    images = RemoteImages([f"127.0.0.1:{site.port}"])
    catalog: Any = Catalog()
    server.app.state.services = dataclasses.replace(server.services, images=images, catalog=catalog)
    yield server
    await images.close()


def chat(*images: Any) -> tuple[str, dict[str, Any]]:
    content = [{"type": "text", "text": "hi"}, *({"type": "image_url", "image_url": image} for image in images)]
    return "/v1/chat/completions", {"model": "sees", "messages": [{"role": "user", "content": content}]}


def response(*urls: str) -> tuple[str, dict[str, Any]]:
    parts = [{"type": "input_image", "image_url": url} for url in urls]
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "c", "output": parts}
    return "/v1/responses", {"model": "sees", "input": [{"role": "user", "content": parts}, call, output]}


def message(*urls: str) -> tuple[str, dict[str, Any]]:
    parts = [{"type": "image", "source": {"type": "url", "url": url}} for url in urls]
    use = {"type": "tool_use", "id": "c", "name": "f", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "c", "content": parts}
    messages = [
        {"role": "user", "content": parts},
        {"role": "assistant", "content": [use]},
        {"role": "user", "content": [result]},
    ]
    return "/v1/messages", {"model": "sees", "max_tokens": 9, "messages": messages}


def seen(server: Server) -> list[tuple[bytes, ...]]:
    return [message.images for message in server.inference.asked[-1].messages if message.images]


async def test_in_every_dialect(fetching: Server, site: Site) -> None:
    """Each address is fetched once for a request, wherever it stands in it."""
    png, gif = f"{site.url}/png", f"{site.url}/gif"
    for (path, body), images in (
        (chat({"url": png, "detail": "low"}, gif, {"url": png}), [(PNG, GIF, PNG)]),
        (response(png, gif), [(PNG, GIF)] * 2),
        (message(png, gif), [(PNG, GIF)] * 2),
    ):
        site.asked.clear()
        answer = await fetching.post(path, body)
        assert answer.status_code == 200, answer.text
        assert seen(fetching) == images
        assert sorted(site.asked) == ["/gif", "/png"]


async def test_for_counting(fetching: Server, site: Site) -> None:
    for path, body in (chat(site.url), response(site.url), message(site.url)):
        count = {"/v1/messages": "/v1/messages/count_tokens"}.get(path, f"{path}/input_tokens")
        assert (await fetching.post(count, body)).status_code == 200
        assert seen(fetching)[0] == (PNG,)


async def test_a_conversation_that_goes_on_has_the_image(fetching: Server, site: Site) -> None:
    """What is kept is the image, not its address, behind which there may be another one by then."""
    path, body = response(site.url)
    first = (await fetching.post(path, body)).json()["id"]
    asked = {"model": "sees", "input": "and now?", "previous_response_id": first}
    assert (await fetching.post(path, asked)).status_code == 200
    assert (seen(fetching)[0], len(site.asked)) == ((PNG,), 1)


async def test_refusals(fetching: Server, site: Site) -> None:
    """compat-api 14.5: 400 with a sentence and the place; no query of an address is repeated."""
    site.answer = lambda _: Answer(body=b"<html>")
    where = {"chat": "messages[0].content[1].image_url", "response": "input[0].content[0].image_url"}
    for made in (chat, response):
        path, body = made(f"{site.url}/a?secret=1")
        error = (answer := await fetching.post(path, body)).json()["error"]
        assert answer.status_code == 400
        assert error == {
            "message": f"The image at {site.url}/a is no PNG, JPEG, WebP, GIF or BMP image.",
            "type": "invalid_request_error",
            "param": where[made.__name__],
            "code": "invalid_image_url",
        }
    path, body = message("http://10.0.0.1/a.png")
    answer = await fetching.post(path, body)
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")
    assert answer.json()["error"]["message"] == (
        "The image at http://10.0.0.1/a.png is, or leads to, an address of this machine or of a private network."
    )
    for url in ("file:///etc/passwd", "", "http://a:b@127.0.0.1/"):
        path, body = message(url)
        assert "must be http or https" in (await fetching.post(path, body)).json()["error"]["message"]
    assert fetching.inference.asked == []


async def test_limits_of_a_request(fetching: Server, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure ends it; so do too many bytes and too much time, over all images."""
    urls = [f"{site.url}/{at}" for at in range(20)]
    path, body = message(*urls)
    monkeypatch.setattr("server.api.wire_images.MAX_REQUEST_BYTES", 3 * len(PNG))
    told = (await fetching.post(path, body)).json()["error"]["message"]
    assert told == "The images up to this one have more than 0 MB together."
    assert len(site.asked) < 20
    waits = threading.Event()

    def late(path: str) -> Answer:
        if path == "/0":
            return Answer(404)
        waits.wait(10)
        return Answer(body=PNG)

    site.answer = late
    try:
        answer = await fetching.post(path, body)
        assert "/0 was answered with the status 404" in answer.json()["error"]["message"]
        monkeypatch.setattr("server.api.wire_images.REQUEST_SECONDS", 0.2)
        path, body = message(*urls[1:])
        answer = await fetching.post(path, body)
        assert answer.json()["error"]["message"] == "The images did not come within 0.2 seconds."
    finally:
        waits.set()


async def test_a_client_that_leaves(fetching: Server, site: Site, connect: Connect) -> None:
    """compat-api 14.5: what it asked for is fetched no further."""
    waits, is_asked = threading.Event(), anyio.Event()

    def late(_: str) -> Answer:
        anyio.from_thread.run_sync(is_asked.set, token=token)
        waits.wait(10)
        return Answer(body=PNG)

    site.answer, token = late, anyio.lowlevel.current_token()
    path, body = message(site.url)
    connection = connect(fetching, path, json.dumps(body).encode())
    try:
        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(connection.run)
                await is_asked.wait()
                connection.leave()
    finally:
        waits.set()
    assert fetching.inference.asked == []


async def test_nothing_is_fetched_for_a_model_that_cannot_see(fetching: Server, site: Site) -> None:
    for path, body in (chat(site.url), response(site.url), message(site.url)):
        answer = await fetching.post(path, {**body, "model": "blind"})
        assert (answer.status_code, answer.json()["error"]["message"]) == (400, 'model "blind" does not support images')
        assert (await fetching.post(path, {**body, "model": None})).status_code == 400
    assert site.asked == []


async def test_only_where_images_stand(fetching: Server, site: Site) -> None:
    """Not in the arguments of a call, not in a text, and not in what is no list of parts."""
    like = {"type": "image_url", "image_url": {"url": site.url}}
    source = {"type": "image", "source": {"type": "url", "url": site.url}}
    use = {"type": "tool_use", "id": "c", "name": "f", "input": {"content": [source]}}
    messages: list[Any] = [{"role": "user", "content": site.url}, {"role": "assistant", "content": [use]}]
    assert (await fetching.post("/v1/messages", {**message()[1], "messages": messages})).status_code == 200
    call = {"type": "function", "id": "c", "function": {"name": "f", "arguments": {"content": [like]}}}
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "", "tool_calls": [call]}]
    assert (await fetching.post("/v1/chat/completions", {"model": "sees", "messages": messages})).status_code == 200
    for odd in ("x", 5, [5], [[like]], {"content": [like]}):
        await fetching.post("/v1/chat/completions", {"model": "sees", "messages": odd})
    assert site.asked == []


async def test_switched_off(server: Server, site: Site) -> None:
    """compat-api 282: the sentences stay as they were."""
    sentences = []
    for path, body in (chat({"url": site.url}), response(site.url), message(site.url)):
        answer = await server.post(path, body)
        assert answer.status_code == 400
        sentences.append(answer.json()["error"]["message"])
    assert sentences == [
        *["image URLs are not currently supported, please use base64 encoded data instead"] * 2,
        "invalid image source type: url. Only base64 images are supported.",
    ]
    assert site.asked == []
