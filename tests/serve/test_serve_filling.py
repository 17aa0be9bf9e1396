"""Gaps that editors ask for, on real models (compat-api 338-340)."""

from __future__ import annotations

import pathlib
import struct
from collections.abc import Iterator

import httpx2
import pytest

from server.client import Client, file_digest
from tests.serve.installed import server_with_models
from tests.serve.test_serve_llama import post, refusal, stream

HELLO = "Hello there, how can I help?"
PRE, SUF, MID, SEP, BOS = "<|system|>", "<|user|>", "<|assistant|>", "<|tool|>", "<s>"
# The scripted model's marks of roles, as a code model names its marks: the ids behind those of the bytes.
MARKS = {"fim_pre": 259, "fim_suf": 260, "fim_mid": 261}
PROJECT = {**MARKS, "fim_sep": 262, "fim_rep": 2}
ALIGNMENT_BYTES = 32


def with_marks(source: pathlib.Path, target: pathlib.Path, marks: dict[str, int]) -> pathlib.Path:
    """A copy of a GGUF file that names more tokens. The keys go in front, filled up so that the data stays aligned."""
    data = source.read_bytes()
    magic, version, tensors, keys = struct.unpack_from("<4sIQQ", data)
    added = b"".join(
        _key(f"tokenizer.ggml.{name}_token_id") + struct.pack("<II", 4, id_) for name, id_ in marks.items()
    )
    filler = _key("filler") + struct.pack("<I", 8)
    text = b"x" * (-(len(added) + len(filler) + 8) % ALIGNMENT_BYTES)
    added += filler + struct.pack("<Q", len(text)) + text
    target.write_bytes(struct.pack("<4sIQQ", magic, version, tensors, keys + len(marks) + 1) + added + data[24:])
    return target


def _key(name: str) -> bytes:
    return struct.pack("<Q", len(name)) + name.encode()


@pytest.fixture(scope="module")
def http(models: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    folder = tmp_path_factory.mktemp("fim")
    with server_with_models(models) as running:
        with Client(running.base) as client:
            for name, marks in (("fim", MARKS), ("project", PROJECT)):
                file = with_marks(models / "bare.gguf", folder / f"{name}.gguf", marks)
                digest = file_digest(file)
                client.upload_blob(file, digest)
                with client.create({"model": name, "files": {file.name: digest}}) as progress:
                    assert list(progress)[-1] == {"status": "success"}
        with httpx2.Client(base_url=running.base, trust_env=False, timeout=60) as found:
            yield found


def test_the_marks_stand_around_the_gap(http: httpx2.Client) -> None:
    """compat-api 338"""
    answer = post(http, "/infill", model="fim", input_prefix="def f(", input_suffix="return x", prompt="a, ")
    assert answer["prompt"] == f"{BOS}{PRE}def f(a, {SUF}return x{MID}"
    assert answer["content"] == HELLO
    sentence = refusal(http, "/infill", model="m", input_prefix="a", input_suffix="b")
    assert sentence.startswith(
        "Infill is not supported by this model: prefix token is missing. suffix token is missing."
    )


def test_a_gap_needs_both_sides(http: httpx2.Client) -> None:
    """compat-api 339"""
    assert refusal(http, "/infill", model="fim", input_prefix="a") == '"input_suffix" is required'
    assert refusal(http, "/infill", model="fim", input_suffix="a") == '"input_prefix" is required'
    extra = [{"filename": "x"}]
    words = refusal(http, "/infill", model="fim", input_prefix="a", input_suffix="", input_extra=extra)
    assert words == "'input_extra[0].text' is missing."


def test_a_mark_in_the_code_is_no_mark(http: httpx2.Client) -> None:
    answer = post(http, "/infill", model="fim", input_prefix=f"x = '{SUF}'", input_suffix="", n_predict=1)
    marked = post(http, "/tokenize", model="fim", content=answer["prompt"])["tokens"]
    assert answer["tokens_evaluated"] > len(marked)


def test_other_files_stand_in_front(http: httpx2.Client) -> None:
    extra = [{"filename": "a.py", "text": "import a"}, {"text": "import b"}]
    asked = {"input_prefix": "p", "input_suffix": "s", "input_extra": extra, "n_predict": 1}
    prompt = post(http, "/infill", model="project", **asked)["prompt"]
    assert prompt == (f"{BOS}<|end|>myproject\n{SEP}a.py\nimport a{SEP}tmp\nimport b{SEP}filename\n{PRE}p{SUF}s{MID}")
    plain = post(http, "/infill", model="fim", **asked)["prompt"]
    snippet = "\n\n--- snippet ---\n\n"
    assert plain == f"{BOS}{snippet}import a{snippet}import b{PRE}p{SUF}s{MID}"


def test_what_is_farthest_from_the_gap_is_left_out(http: httpx2.Client) -> None:
    long = {"input_prefix": "a" * 3000 + "!", "input_suffix": "?" + "b" * 3000}
    answer = post(http, "/infill", model="fim", **long, input_extra=[{"text": "x" * 3000}], n_predict=1)
    prompt = answer["prompt"]
    assert f"!{SUF}?" in prompt
    assert 2.5 < prompt.count("a") / prompt.count("b") < 3.5
    assert prompt.count("x") > 100
    assert answer["tokens_evaluated"] < 1024
    assert not answer["truncated"]


def test_a_streamed_gap(http: httpx2.Client) -> None:
    *pieces, last = stream(http, "/infill", model="fim", input_prefix="a", input_suffix="b", n_predict=2)
    assert "".join(piece["content"] for piece in pieces) == "Hello there"
    assert last["stop_type"] == "limit"


def test_fim_completions(http: httpx2.Client) -> None:
    """compat-api 340"""
    asked = {"model": "fim", "prompt": "def f(", "suffix": "return x", "random_seed": 3, "temperature": 0}
    *pieces, end = stream(http, "/v1/fim/completions", **asked)
    assert end == "data: [DONE]"
    assert "".join(piece["choices"][0]["delta"].get("content", "") for piece in pieces) == HELLO
    assert pieces[-1]["choices"][0]["finish_reason"] == "stop"
    whole = post(http, "/v1/fim/completions", **asked, max_tokens=2)
    assert whole["choices"][0]["message"]["content"] == "Hello there"
    assert whole["choices"][0]["finish_reason"] == "length"
    assert refusal(http, "/v1/fim/completions", model="m", prompt="x").startswith("Infill is not supported")
    assert "'prompt' is missing" in refusal(http, "/v1/fim/completions", model="fim")
