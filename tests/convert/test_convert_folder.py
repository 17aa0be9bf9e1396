"""Folders: what is missing, what does not fit, and what the family does not know."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from server.convert.conversion import convert
from server.convert.families import OUTLINES
from server.errors import InvalidRequest
from server.messages.conversion import Converted, ConvertOrder, OutputType
from tests.cli.program import ROOT
from tests.convert.tiny import llama_arrays, llama_folder, llama_shapes, safetensors, tokenizer, with_header

INDEX = "model.safetensors.index.json"
# A small process in between: what a child is said to have needed begins with the size of the process that started it.
MEASURE = """
import resource, subprocess, sys
child = subprocess.Popen([sys.executable, "-m", "server.convert"], stdin=subprocess.PIPE)
child.stdin.write(sys.stdin.buffer.readline())
child.stdin.flush()
child.wait()
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
Convert = Callable[..., Converted]


@pytest.fixture
def run(tmp_path: Path) -> Convert:
    """Convert a folder given as names and contents, into tmp_path/out.gguf."""

    def converted(files: Mapping[str, bytes], output_type: OutputType = "") -> Converted:
        return convert(order(tmp_path, files, output_type), lambda completed, total: None)

    return converted


def order(tmp_path: Path, files: Mapping[str, bytes], output_type: OutputType = "") -> ConvertOrder:
    paths: dict[str, str] = {}
    for number, (name, data) in enumerate(files.items()):
        path = tmp_path / f"blob-{number}"
        path.write_bytes(data)
        paths[name] = str(path)
    output = tmp_path / "out.gguf"
    output.write_bytes(b"")
    return ConvertOrder(files=paths, output_path=str(output), output_type=output_type)


def tensors(tmp_path: Path) -> dict[str, Any]:
    reader = gguf.GGUFReader(tmp_path / "out.gguf")
    return {tensor.name: tensor for tensor in reader.tensors}


def value(tmp_path: Path, key: str) -> Any:
    field = gguf.GGUFReader(tmp_path / "out.gguf").get_field(key)
    return None if field is None else field.contents()


@pytest.mark.parametrize(
    ("kind", "wanted", "matrix", "file_type"),
    [
        ("float32", "", "F16", 1),
        ("float16", "", "F16", 1),
        ("uint16", "", "BF16", 32),
        ("float32", "F32", "F32", 0),
        ("uint16", "F16", "F16", 1),
        ("float16", "BF16", "BF16", 32),
    ],
)  # fmt: skip
def test_types(tmp_path: Path, run: Convert, kind: str, wanted: OutputType, matrix: str, file_type: int) -> None:
    """model-store 20: matrices keep 16 bits as they are and lose 16 of 32; all else is F32."""
    run(llama_folder(llama_arrays(kind)), wanted)
    found = tensors(tmp_path)
    assert found["token_embd.weight"].tensor_type.name == matrix
    assert found["blk.0.ffn_down.weight"].tensor_type.name == matrix
    assert found["output_norm.weight"].tensor_type.name == "F32"
    assert value(tmp_path, "general.file_type") == file_type


def test_the_file_is_what_was_said(tmp_path: Path, run: Convert) -> None:
    arrays = llama_arrays()
    outcome = run(llama_folder(arrays), "F32")
    data = (tmp_path / "out.gguf").read_bytes()
    assert (outcome.size, outcome.digest) == (len(data), f"sha256:{hashlib.sha256(data).hexdigest()}")
    found = tensors(tmp_path)
    assert np.array_equal(found["token_embd.weight"].data, arrays["model.embed_tokens.weight"])
    query = arrays["model.layers.0.self_attn.q_proj.weight"]
    assert np.array_equal(found["blk.0.attn_q.weight"].data[:4], query[[0, 16, 1, 17]])  # halves become pairs
    assert np.array_equal(found["blk.0.attn_v.weight"].data, arrays["model.layers.0.self_attn.v_proj.weight"])
    assert value(tmp_path, "tokenizer.chat_template") == "{{ x }}"
    assert value(tmp_path, "tokenizer.ggml.eos_token_id") == 2


def test_the_same_folder_makes_the_same_file(run: Convert) -> None:
    assert run(llama_folder()).digest == run(llama_folder()).digest


def without(name: str) -> dict[str, np.ndarray[Any, Any]]:
    return {key: array for key, array in llama_arrays().items() if key != name}


@pytest.mark.parametrize(
    ("files", "word"),
    [
        ({**llama_folder(), "config.json": b"{}"}, "unknown architecture"),
        ({**llama_folder(), "config.json": b"[]"}, "config.json is no JSON object"),
        ({**llama_folder(), "config.json": b"{"}, "config.json is not valid JSON"),
        ({**llama_folder(), "config.json": b"\xff\xfe"}, "UTF-8"),
        (llama_folder(architectures=["FalconForCausalLM"]), 'unsupported architecture "FalconForCausalLM".*BertModel'),
        (llama_folder(architectures=["NomicBertModel"], moe_every_n_layers=2), "experts"),
        (llama_folder(hidden_size="64"), '"hidden_size" of config.json must be a whole number'),
        (llama_folder(hidden_size=True), "hidden_size"),
        (llama_folder(num_hidden_layers=2**40), "num_hidden_layers"),
        (llama_folder(num_hidden_layers=10_000), "layers.1.input_layernorm.weight is missing"),
        (llama_folder(num_attention_heads=0), "num_attention_heads"),
        (llama_folder(num_attention_heads=3), "num_attention_heads"),
        (llama_folder(num_key_value_heads=64), "num_key_value_heads"),
        (llama_folder(head_dim=2**30), "head_dim"),
        (llama_folder(head_dim=64), "shape .64, 64., and config.json asks for .128, 64."),
        (llama_folder(rms_norm_eps=float("nan")), "rms_norm_eps"),
        (llama_folder(rope_scaling={"type": "dynamic", "factor": 2}), '"dynamic"'),
        (llama_folder(rope_scaling={"type": "linear", "factor": 0}), "factor"),
        (llama_folder(rope_scaling=[]), "rope_parameters"),
        (llama_folder(partial_rotary_factor=0.5), "partial_rotary_factor"),
        (llama_folder(hidden_act="gelu"), "gelu"),
        (llama_folder(tie_word_embeddings=False, arrays=without("lm_head.weight")), "lm_head.weight is missing"),
        (llama_folder(without("model.norm.weight")), "norm.weight is missing"),
        (llama_folder(without("model.embed_tokens.weight")), "embed_tokens.weight is missing"),
        (llama_folder({**llama_arrays(), "model.extra.weight": np.ones(3, np.float32)}), "does not know.*extra.weight"),
        (llama_folder({**llama_arrays(), "norm.weight": np.ones(64, np.float32)}), "twice"),
        (llama_folder({**llama_arrays(), "model.norm.weight": np.ones(64, np.int8)}), "quantized already"),
        ({**llama_folder(), "model-2.safetensors": llama_folder()["model.safetensors"]}, "in two of the files"),
        ({"config.json": llama_folder()["config.json"]}, "no safetensors file"),
        ({"model.safetensors": llama_folder()["model.safetensors"]}, "config.json is missing"),
        ({**llama_folder(), INDEX: b'{"weight_map": {"a": "model-9.safetensors"}}'}, "model-9"),
        ({**llama_folder(), INDEX: b'{"weight_map": {"a": "model.safetensors"}}'}, "a is in no"),
        ({**llama_folder(), "tokenizer.json": b"{}"}, "unknown tokenizer format"),
        ({**llama_folder(), "tokenizer.json": b'{"model": {"type": "Unigram", "vocab": []}}'}, "Unigram"),
        ({**llama_folder(), "tokenizer.model": b"\n\xff\xff\xff\xff\xff"}, "tokenizer.model is damaged"),
        ({**llama_folder(), "model.safetensors": with_header({})}, "embed_tokens.weight is missing"),
    ],
)  # fmt: skip
def test_refusals(tmp_path: Path, run: Convert, files: Mapping[str, bytes], word: str) -> None:
    """A sentence that names what is wrong, before a byte is written."""
    with pytest.raises(InvalidRequest, match=word):
        run(files)
    assert (tmp_path / "out.gguf").read_bytes() == b""


def test_the_list_of_families() -> None:
    wanted = {"Llama", "Mistral", "Qwen2", "Qwen3", "Gemma2", "Gemma3", "Phi3"}
    assert {f"{name}ForCausalLM" for name in wanted} | {"BertModel", "NomicBertModel"} <= set(OUTLINES)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in OUTLINES if not name.endswith("Model") and f"`{name}`" not in readme] == []


def test_two_tokens_of_one_text(tmp_path: Path, run: Convert) -> None:
    """llama.cpp would end its process over them."""
    described = tokenizer()
    described["added_tokens"].append({"id": 270, "content": "ab", "special": False})
    described["added_tokens"].append({"id": 271, "content": "[PAD272]", "special": True})
    run({**llama_folder(), "tokenizer.json": json.dumps(described).encode()})
    tokens = value(tmp_path, "tokenizer.ggml.tokens")
    assert len(set(tokens)) == len(tokens) == 280
    assert tokens[270] == "[PAD270]"
    assert tokens[272] == "[[PAD272]]"


def test_names_of_other_versions(tmp_path: Path, run: Convert) -> None:
    """Without a prefix, or inside a model that also sees pictures."""
    for prefix in ("", "model.language_model."):
        arrays = {f"{prefix}{name.removeprefix('model.')}": array for name, array in llama_arrays().items()}
        arrays["model.vision_tower.patch.weight"] = np.ones((2, 2), np.float32)
        run(llama_folder(arrays))
        assert "blk.0.attn_q.weight" in tensors(tmp_path)


# ---- the process ---------------------------------------------------------------------------------------------------


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-m", "server.convert"], stdin=pipe, stdout=pipe, cwd=ROOT) as started:
        yield started
        started.kill()


@pytest.mark.skipif(sys.platform == "win32", reason="there are no named pipes to wait at")
def test_it_ends_with_its_parent(tmp_path: Path, process: subprocess.Popen[bytes]) -> None:
    """In the middle of its work: it waits for a file that never comes, and its input ends."""
    os.mkfifo(tmp_path / "config.json")
    (tmp_path / "out.gguf").touch()
    line = {"files": {"config.json": str(tmp_path / "config.json")}, "output_path": str(tmp_path / "out.gguf")}
    assert process.stdin
    process.stdin.write(json.dumps(line).encode() + b"\n")
    process.stdin.flush()
    process.stdin.close()
    assert process.wait(30) == 3


def test_without_an_order_it_ends(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin
    process.stdin.close()
    assert process.wait(30) == 0


@pytest.mark.skipif(sys.platform == "win32", reason="needs the peak that Unix keeps for a child")
def test_memory_is_bounded_by_pieces_not_by_the_model(tmp_path: Path) -> None:
    """Embeddings of 256 MiB, of which the file system stores nothing."""
    shapes = llama_shapes(width=1024, vocabulary=1 << 16)
    header: dict[str, Any] = {}
    at = 0
    for name, shape in shapes.items():
        size = 4 * int(np.prod(shape))
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    told = order(tmp_path, {**llama_folder(hidden_size=1024), "model.safetensors": with_header(header)})
    path = told.files["model.safetensors"]
    os.truncate(path, os.path.getsize(path) + at)
    line = json.dumps({"files": told.files, "output_path": told.output_path}) + "\n"
    done = subprocess.run(
        [sys.executable, "-c", MEASURE], input=line, capture_output=True, text=True, cwd=ROOT, check=True
    )
    *events, peak = (json.loads(event) for event in done.stdout.splitlines())
    assert events[-1]["type"] == "converted"
    assert [event["completed"] for event in events[:-1]] == sorted(event["completed"] for event in events[:-1])
    assert peak * (1 if sys.platform == "darwin" else 1024) < 230 << 20


def test_damaged_files_never_hang_it(tmp_path: Path, run: Convert) -> None:
    """Any byte of a header may be wrong: the answer is a sentence or a file, nothing else."""
    whole = safetensors(llama_arrays())
    random = np.random.default_rng(5)
    for _ in range(40):
        damaged = bytearray(whole)
        for at in random.integers(0, 1200, 3):
            damaged[at] = random.integers(0, 256)
        try:
            run({**llama_folder(), "model.safetensors": bytes(damaged)})
        except InvalidRequest:
            continue
