"""Pictures as the libraries of three dialects send them, to a model that sees."""

from __future__ import annotations

import pathlib
from typing import Any

import anthropic
import ollama
import openai
import pytest

from server.client import Client
from tests.cli.program import Program
from tests.golden.server import RunningServer
from tests.pictures import data_url, encoded, picture

ASKED = "What colors are these images?"
STEADY = {"temperature": 0.0}


def test_ollama(server: RunningServer, tmp_path: pathlib.Path) -> None:
    """native-api 210, 212: a path, bytes, and base64 as text, in a chat and in a completion"""
    (tmp_path / "a.webp").write_bytes(picture("green", "webp"))
    kinds = (tmp_path / "a.webp", picture("green"), encoded("green"))
    with ollama.Client(host=server.base) as client:
        for image in kinds:
            message = ollama.Message(role="user", content=ASKED, images=[ollama.Image(value=image)])
            assert client.chat("vision", [message], options=STEADY).message.content == "green"
            assert client.generate("vision", ASKED, images=[image], options=STEADY).response == "green"
        with pytest.raises(ollama.ResponseError, match="image input is not supported") as refused:
            client.generate("m", "x", images=[picture("red")])
        assert refused.value.status_code == 400
        shown = client.show("vision")
        assert "vision" in (shown.capabilities or ())


def test_openai(server: RunningServer) -> None:
    with openai.OpenAI(base_url=f"{server.base}/v1", api_key="ollama", max_retries=0) as client:
        parts: list[Any] = [
            {"type": "text", "text": ASKED},
            {"type": "image_url", "image_url": {"url": data_url("red"), "detail": "low"}},
            {"type": "image_url", "image_url": {"url": data_url("blue", "jpeg")}},
        ]
        asked: list[Any] = [{"role": "user", "content": parts}]
        answer = client.chat.completions.create(model="vision", messages=asked, temperature=0)
        assert answer.choices[0].message.content == "red, blue"
        chunks = client.chat.completions.create(model="vision", messages=asked, temperature=0, stream=True)
        assert "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices) == "red, blue"
        with pytest.raises(openai.BadRequestError, match='model "m" does not support images'):
            client.chat.completions.create(model="m", messages=asked)
        more: list[Any] = [{"type": "input_image", "image_url": data_url("white"), "detail": "auto"}]
        response = client.responses.create(
            model="vision",
            temperature=0,
            input=[{"role": "user", "content": [*more, {"type": "input_text", "text": ASKED}]}],
        )
        assert response.output_text == "white"


def test_anthropic(server: RunningServer) -> None:
    source: Any = {"type": "base64", "media_type": "image/png", "data": encoded("blue")}
    parts: list[Any] = [{"type": "image", "source": source}, {"type": "text", "text": ASKED}]
    asked: list[Any] = [{"role": "user", "content": parts}]
    with anthropic.Anthropic(base_url=server.base, api_key="puna", max_retries=0) as client:
        answer = client.messages.create(model="vision", max_tokens=20, messages=asked, extra_body=STEADY)
        assert [block.text for block in answer.content if block.type == "text"] == ["blue"]
        read = answer.usage.input_tokens + (answer.usage.cache_read_input_tokens or 0)
        assert client.messages.count_tokens(model="vision", messages=asked).input_tokens == read
        with pytest.raises(anthropic.BadRequestError, match='model "m" does not support images'):
            client.messages.create(model="m", max_tokens=20, messages=asked)
        source["data"] = "aGk="
        with pytest.raises(anthropic.BadRequestError, match="could not be read"):
            client.messages.create(model="vision", max_tokens=20, messages=asked)


def test_the_command_line(server: RunningServer, tmp_path: pathlib.Path) -> None:
    """cli 60"""
    (tmp_path / "a.png").write_bytes(picture("green"))
    with (
        Client(server.base) as client,
        client.create({"model": "steady", "from": "vision", "parameters": {"temperature": 0}}) as progress,
    ):
        assert list(progress)[-1] == {"status": "success"}
    program = Program(tmp_path / "home", server.base)
    result = program.run("run", "steady", "What color is ./a.png", cwd=tmp_path)
    assert (result.stdout, result.stderr) == ("green\n\n", "Added image './a.png'\n")
