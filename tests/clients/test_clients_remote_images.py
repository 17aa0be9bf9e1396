"""Images by address, from a web server on a port of its own to a model that sees (compat-api 14.5)."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from tests.golden.server import RunningServer
from tests.pictures import picture
from tests.serve.installed import VISION, server_with_models
from tests.site import Answer, Site, running

ASKED = "What colors are these images?"


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """`/red.png` is a red picture, and so on."""

    def answer(path: str) -> Answer:
        color, _, form = path.removeprefix("/").partition(".")
        return Answer(body=picture(color, form))

    with running(Site) as made:
        made.answer = answer
        yield made


@pytest.fixture(scope="module")
def server(models: pathlib.Path, site: Site) -> Iterator[RunningServer]:
    with server_with_models(models, VISION, PUNA_REMOTE_IMAGES=f"public,127.0.0.1:{site.port}") as made:
        yield made


def test_openai(server: RunningServer, site: Site) -> None:
    with openai.OpenAI(base_url=f"{server.base}/v1", api_key="ollama", max_retries=0) as client:
        parts: list[Any] = [
            {"type": "text", "text": ASKED},
            {"type": "image_url", "image_url": {"url": f"{site.url}/red.webp"}},
            {"type": "image_url", "image_url": {"url": f"{site.url}/blue.jpeg"}},
        ]
        asked: list[Any] = [{"role": "user", "content": parts}]
        answer = client.chat.completions.create(model="vision", messages=asked, temperature=0)
        assert answer.choices[0].message.content == "red, blue"
        more: list[Any] = [{"type": "input_image", "image_url": f"{site.url}/white.png", "detail": "auto"}]
        asked = [{"role": "user", "content": [*more, {"type": "input_text", "text": ASKED}]}]
        assert client.responses.create(model="vision", temperature=0, input=asked).output_text == "white"
        more[0]["image_url"] = f"http://localhost:{server.port}/api/version"
        asked[0]["content"][0] = more[0]
        with pytest.raises(openai.BadRequestError, match="an address of this machine or of a private network"):
            client.responses.create(model="vision", input=asked)


def test_anthropic(server: RunningServer, site: Site) -> None:
    source: Any = {"type": "url", "url": f"{site.url}/green.gif"}
    asked: Any = [{"role": "user", "content": [{"type": "image", "source": source}, {"type": "text", "text": ASKED}]}]
    with anthropic.Anthropic(base_url=server.base, api_key="puna", max_retries=0) as client:
        answer = client.messages.create(model="vision", max_tokens=20, messages=asked, extra_body={"temperature": 0})
        assert [block.text for block in answer.content if block.type == "text"] == ["green"]
        source["url"] = "https://127.0.0.1/a.png"
        with pytest.raises(anthropic.BadRequestError, match="an address of this machine or of a private network"):
            client.messages.create(model="vision", max_tokens=20, messages=asked)
