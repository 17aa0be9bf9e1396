"""Model names: what is one, how it is shortened, and where a model is said to come from."""

from __future__ import annotations

import pytest

from server.errors import InvalidModelName, InvalidRequest
from server.messages.names import ModelName, SourceName, split_source


@pytest.mark.parametrize(
    ("text", "full", "short"),
    [
        ("llama3", "registry.ollama.ai/library/llama3:latest", "llama3:latest"),
        ("user/m", "registry.ollama.ai/user/m:latest", "user/m:latest"),
        ("host.com/user/m:t", "host.com/user/m:t", "host.com/user/m:t"),
        ("localhost:5000/u/m", "localhost:5000/u/m:latest", "localhost:5000/u/m:latest"),
        ("hf.co/some-one/Llama-3.2-1B-GGUF:Q4_K_M",) + ("hf.co/some-one/Llama-3.2-1B-GGUF:Q4_K_M",) * 2,
        ("http://h:1/u/m:t", "h:1/u/m:t", "h:1/u/m:t"),
        ("UPPER/M:T", "registry.ollama.ai/UPPER/M:T", "UPPER/M:T"),
        ("_a", "registry.ollama.ai/library/_a:latest", "_a:latest"),
        ("m.x", "registry.ollama.ai/library/m.x:latest", "m.x:latest"),
        ("registry.ollama.ai/library/x:latest", "registry.ollama.ai/library/x:latest", "x:latest"),
        ("host.com/library/x:t", "host.com/library/x:t", "host.com/library/x:t"),
    ],
)  # fmt: skip
def test_names(text: str, full: str, short: str) -> None:
    """model-store 1 and 4."""
    name = ModelName.parse(text)
    assert (name.full, name.short, str(name)) == (full, short, short)
    assert name.scheme == ("http" if text.startswith("http:") else "https")


@pytest.mark.parametrize(
    "text",
    ["http://h/m", "u.v/m", "hf.co/a.b/c", "h:1/m", "m:t/x", "h/n/m/x:t", "a:b:c", "m@sha256:abc", "m:", "/m", "m/",
     "a//b", "..", "./m", "-a", "a b", "é", "", "m\nx"],
)  # fmt: skip
def test_what_is_no_name(text: str) -> None:
    """model-store 1 and 8."""
    with pytest.raises(InvalidModelName, match=r"^invalid model name$"):
        ModelName.parse(text)


def test_lengths_and_line_ends() -> None:
    """model-store 2 and 8."""
    for part, most in (("namespace", 80), ("model", 80), ("tag", 80), ("host", 350)):
        parts = {"host": "h", "namespace": "n", "model": "m", "tag": "t"}
        assert ModelName(**{**parts, part: "a" * most}).is_valid
        assert not ModelName(**{**parts, part: "a" * (most + 1)}).is_valid
        assert not ModelName(**{**parts, part: "a\n"}).is_valid


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("m-cloud", SourceName("m-cloud")),
        ("m:8b-cloud", SourceName("m:8b", is_cloud=True)),
        ("m:CLOUD", SourceName("m", is_cloud=True)),
        ("m:local", SourceName("m", is_local=True)),
        ("m:8b:local", SourceName("m:8b", is_local=True)),
        (" m:8b ", SourceName("m:8b")),
        ("h:1/u/m-cloud", SourceName("h:1/u/m-cloud")),
    ],
)
def test_sources(text: str, source: SourceName) -> None:
    """model-store 5."""
    assert split_source(text) == source
    with pytest.raises(InvalidRequest, match='use either :local or :cloud, not both: "x:cloud:local"'):
        split_source("x:cloud:local")
