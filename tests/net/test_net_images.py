"""Images by address: from where they are fetched, what is taken for one, and how it may fail."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from server.net.fetch import FetchFailed
from server.net.images import MAX_IMAGE_BYTES, RemoteImages, kind_of_image
from server.version import USER_AGENT
from tests.golden.server import free_port
from tests.pictures import picture, silence
from tests.site import Answer, Site, running

pytestmark = pytest.mark.anyio

PRIVATE = "is, or leads to, an address of this machine or of a private network"
PNG = picture("red")


@pytest.fixture
def site() -> Iterator[Site]:
    with running(Site) as made:
        made.answer = lambda _: Answer(body=PNG, headers={"Content-Type": "text/plain"})
        yield made


async def fetched(url: str, *allowed: str, seconds: float = 5.0) -> tuple[str, bytes]:
    images = RemoteImages(allowed, seconds=seconds)
    try:
        return await images.fetch(url)
    finally:
        await images.close()


async def failure(url: str, *allowed: str, seconds: float = 5.0) -> str:
    with pytest.raises(FetchFailed) as raised:
        await fetched(url, *allowed, seconds=seconds)
    return str(raised.value)


def place(site: Site) -> str:
    return f"127.0.0.1:{site.port}"


# ---- what is an image ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["png", "jpeg", "gif", "webp", "bmp"])
async def test_by_what_is_in_it(site: Site, form: str) -> None:
    """compat-api 14.5: the content is looked at, not what the server calls it."""
    body = picture("green", form)
    site.answer = lambda _: Answer(body=body, headers={"Content-Type": "application/octet-stream"})
    assert await fetched(f"{site.url}/a?b=c", place(site)) == (form, body)
    assert site.asked == ["/a?b=c"]
    assert site.agents == [USER_AGENT]


@pytest.mark.parametrize(
    "body", [b"", b"<svg/>", b"BM", b"BM and other words that are long enough", silence(), b"GIF8"]
)
async def test_what_is_none(site: Site, body: bytes) -> None:
    site.answer = lambda _: Answer(body=body, headers={"Content-Type": "image/png"})
    assert await failure(site.url, place(site)) == "is no PNG, JPEG, WebP, GIF or BMP image"
    assert kind_of_image(body) == ""


# ---- from where ----------------------------------------------------------------------------------------------------


async def test_nothing_but_what_is_allowed(site: Site) -> None:
    for allowed in ((), ("public",), ("127.0.0.1:1",), ("10.0.0.0/8", "public"), ("example.com",)):
        assert await failure(site.url, *allowed) == PRIVATE
    assert site.asked == []
    for allowed in (("127.0.0.1",), ("127.0.0.0/8",), (place(site), "public")):
        assert (await fetched(site.url, *allowed))[0] == "png"
    assert "is, or leads to" in await failure(
        "http://1.1.1.1/", "10.0.0.0/8"
    )  # a list without `public` is all there is


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1", "0177.0.0.1", "127.1",
        "0.0.0.0", "[::]", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "169.254.169.254", "[fe80::1]",
        "[fd00::1]", "224.0.0.1", "[ff02::1]", "240.0.0.1", "255.255.255.255", "192.0.2.1", "[2001:db8::1]",
        "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[4000::1]",
    ],
)  # fmt: skip
async def test_addresses_that_are_not_public(host: str) -> None:
    """Loopback, private, link-local, multicast and reserved ones, however they are written."""
    assert await failure(f"http://{host}:{free_port()}/a.png", "public", seconds=2) == PRIVATE


async def test_a_name_with_a_private_address(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a name means is looked at before anything is dialled; of several addresses only public ones are."""
    answers: dict[str, list[str]] = {
        "one.example": ["10.0.0.5"],
        "two.example": ["192.168.0.1", "fd00::1", "127.0.0.1"],
    }
    asked: list[str] = []

    async def look_up(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in answers[host]]

    monkeypatch.setattr("server.net.network.anyio.getaddrinfo", look_up)
    for host in answers:
        assert await failure(f"http://{host}:{site.port}/", "public") == PRIVATE
    assert asked == list(answers)
    assert site.asked == []
    assert (await fetched(f"http://two.example:{site.port}/", "127.0.0.0/8"))[0] == "png"


async def test_redirects(site: Site) -> None:
    """Each place that a redirect leads to is looked at like the first one; three are followed."""

    def leads(steps: int, to: str = "") -> None:
        """So many redirects within the site, then to there."""
        last = Answer(301, b"", {"Location": to}) if to else Answer(body=PNG)
        pages = {f"/{step}": Answer(302, b"", {"Location": f"/{step + 1}"}) for step in range(steps)}
        site.answer = lambda path: pages.get(path, last)

    async def told() -> str:
        return await failure(f"{site.url}/0", place(site), "public")

    leads(3)
    assert (await fetched(f"{site.url}/0", place(site)))[0] == "png"
    leads(4)
    assert await told() == "redirects more than 3 times"
    with running(Site) as other:
        for to in (other.url, f"http://localhost:{other.port}", "http://169.254.169.254/", "http://[::1]/"):
            leads(0, to)
            assert await told() == PRIVATE
        assert other.asked == []
    for to in ("file:///etc/passwd", "ftp://example.com/a.png", "http://a:b@example.com/"):
        leads(0, to)
        assert await told() == "redirects to where Puna does not follow"


async def test_no_proxy(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy would look names up where nobody here could see their addresses."""
    monkeypatch.setenv("HTTP_PROXY", site.url)
    assert await failure("http://10.0.0.1/a.png", "public") == PRIVATE
    assert site.asked == []


@pytest.mark.parametrize(
    "url",
    ["", "file:///etc/passwd", "ftp://a/b", "http://", "http://a:b@example.com/", "http://a:99999/", "http://[::1/"],
)
async def test_what_is_no_address(url: str) -> None:
    assert "it must be http or https, without a login" in await failure(url, "public")


# ---- limits and failures -------------------------------------------------------------------------------------------


async def test_size(site: Site) -> None:
    site.answer = lambda _: Answer(body=PNG + bytes(MAX_IMAGE_BYTES - len(PNG)))
    assert len((await fetched(site.url, place(site)))[1]) == MAX_IMAGE_BYTES
    site.answer = lambda _: Answer(body=PNG + bytes(MAX_IMAGE_BYTES + 1 - len(PNG)))
    assert await failure(site.url, place(site)) == "sends more than 10 MB"


async def test_time(site: Site) -> None:
    """One limit over all redirects and the body."""
    waits = threading.Event()

    def late(_: str) -> Answer:
        waits.wait(10)
        return Answer(body=PNG)

    site.answer = late
    try:
        assert await failure(site.url, place(site), seconds=0.2) == "did not answer within 0.2 seconds"
    finally:
        waits.set()


async def test_what_else_may_be(site: Site) -> None:
    port = free_port()
    assert await failure(f"http://127.0.0.1:{port}/", "127.0.0.1") == "could not be reached"
    site.answer = lambda _: Answer(404, PNG)
    assert await failure(site.url, place(site)) == "was answered with the status 404"
    site.answer = lambda _: Answer(200, PNG, {"Content-Length": "1000"})
    assert await failure(site.url, place(site), seconds=1) in (
        "could not be reached",
        "did not answer within 1 seconds",
    )
