"""The GGUF reader: what it reads, what it refuses, and that nothing a file holds can hurt it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import struct
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.errors import InvalidGguf
from server.store.gguf import GgufHeader, read_header
from server.store.gguf_reader import MAX_ARRAY_ELEMENTS, MAX_STRING_BYTES, GgufArray
from server.store.gguf_shape import check_loadable
from server.store.gguf_tables import parameter_size
from tests.store.gguf_builder import ARRAY, F32, GgufFile, Numbers, Strings, TensorEntry, small_model

MODELS = Path(__file__).parent.parent / "models"
MIB = 1024 * 1024


def read(tmp_path: Path, file: GgufFile | bytes) -> GgufHeader:
    path = tmp_path / "x.gguf"
    path.write_bytes(file if isinstance(file, bytes) else file.encoded())
    return read_header(path)


def refusal(tmp_path: Path, file: GgufFile | bytes) -> str:
    with pytest.raises(InvalidGguf) as caught:
        read(tmp_path, file)
    return str(caught.value)


def test_reads_a_real_model() -> None:
    header = read_header(MODELS / "scripted.gguf")
    shape = header.shape()
    assert (header.architecture, header.file_type, header.parameter_count) == ("llama", "F16", 1164800)
    assert (shape.block_count, shape.embedding_length, shape.head_count, shape.head_count_kv) == (1, 512, 8, (1,))
    assert (shape.key_length, shape.context_length, shape.vocab_size) == (64, 8192, 512)
    assert shape.weights_bytes == sum(tensor.size for tensor in header.tensors)
    assert shape.layer_bytes == (sum(each.size for each in header.tensors if each.name.startswith("blk.0.")),)
    assert header.chat_template.startswith("{%- if tools %}")
    assert header.get("attention.layer_norm_rms_epsilon") == 1e-05
    assert repr(header) == "<GGUF v3 llama, 12 tensors, F16>"
    assert read_header(MODELS / "embedding.gguf").has_pooling


def test_golden_file_of_one_key(tmp_path: Path) -> None:
    """model-store 27: the first vector."""
    data = GgufFile([("general.architecture", "test")]).encoded()
    assert len(data) == 68
    assert hashlib.sha256(data).hexdigest() == "89a2116c3a82d6a97f59f748d86ed4417214353fd178ee54df418fde32495fad"
    assert read(tmp_path, data).architecture == "test"


@pytest.mark.parametrize(
    ("version", "order", "magic"),
    [(1, "<", b"GGUF"), (2, "<", b"GGUF"), (3, "<", b"GGUF"), (3, ">", b"FUGG"), (3, ">", b"GGUF"), (4, "<", b"GGUF")],
)
def test_versions_and_byte_orders(tmp_path: Path, version: int, order: str, magic: bytes) -> None:
    """model-store 102."""
    file = small_model()
    file.version, file.order, file.magic = version, order, magic
    header = read(tmp_path, file)
    assert (header.version, header.big_endian) == (version, order == ">")
    assert header.get("embedding_length") == 32
    assert header.array("tokenizer.ggml.tokens") == ["a", "b", "c"]
    assert [tensor.name for tensor in header.tensors][:2] == ["token_embd.weight", "blk.0.attn_q.weight"]


LONG = 10**12
BROKEN: list[tuple[str, Any, str]] = [
    ("empty", b"", "invalid file magic"),
    ("text", b"this is not a model\n", "invalid file magic"),
    ("version 0", small_model().encoded().replace(b"GGUF\x03", b"GGUF\x00", 1), "invalid"),
    ("value type", GgufFile(raw_pairs=[GgufFile().raw_pair("k", 13, bytes(64))]), "invalid type: 13"),
    (
        "array type",
        GgufFile(raw_pairs=[GgufFile().raw_pair("k", ARRAY, struct.pack("<IQ", 99, 1) + bytes(64))]),
        "invalid array type: 99",
    ),
    (
        "nested array",
        GgufFile(raw_pairs=[GgufFile().raw_pair("k", ARRAY, struct.pack("<IQ", ARRAY, 1) + bytes(64))]),
        "invalid array type: 9",
    ),
    (
        "long string",
        GgufFile(raw_pairs=[GgufFile().raw_pair("k", 8, struct.pack("<Q", LONG))]),
        f"GGUF string length {LONG} exceeds maximum {MAX_STRING_BYTES}",
    ),
    (
        "long array",
        GgufFile(raw_pairs=[GgufFile().raw_pair("k", ARRAY, struct.pack("<IQ", 0, LONG))]),
        f"GGUF array size {LONG} exceeds maximum {MAX_ARRAY_ELEMENTS}",
    ),
    (
        "array beyond the file",
        GgufFile(raw_pairs=[GgufFile().raw_pair("k", ARRAY, struct.pack("<IQ", 8, MAX_ARRAY_ELEMENTS))]),
        "ends in the middle",
    ),
    ("key count", GgufFile([("a", 1)], key_count=2**63), "keys, more than it can hold"),
    ("tensor count", GgufFile([("a", 1)], tensor_count=2**63), "tensors, more than it can hold"),
    ("twice the same key", GgufFile([("a", 1), ("a", 2)]), 'the key "a" occurs twice'),
    ("key without a name", GgufFile([("", 1)]), "is empty"),
    ("key of no UTF-8", GgufFile(raw_pairs=[GgufFile().pair(b"\xff\xfe", 1)]), "not valid UTF-8"),
    ("alignment 0", small_model(general__alignment=0), "invalid GGUF alignment: 0"),
    ("odd alignment", small_model(general__alignment=48), "invalid GGUF alignment: 48"),
    ("huge alignment", small_model(general__alignment=8192), "invalid GGUF alignment: 8192"),
    ("alignment of text", small_model(general__alignment="x"), "invalid GGUF alignment: x"),
    ("dimensions", GgufFile(tensors=[TensorEntry("t", (1, 1, 1, 1, 1))]), 'tensor "t" dimensions 5 exceeds maximum 4'),
    ("empty dimension", GgufFile(tensors=[TensorEntry("t", (32, 0))]), "empty dimension"),
    ("tensor type", GgufFile(tensors=[TensorEntry("t", kind=4)]), "unknown type 4"),
    ("elements", GgufFile(tensors=[TensorEntry("t", (2**62, 2**62), data_bytes=0)]), 'tensor "t" elements overflow'),
    ("size", GgufFile(tensors=[TensorEntry("t", (2**62,), data_bytes=0)]), 'tensor "t" size overflow'),
    ("rows", GgufFile(tensors=[TensorEntry("t", (33,), 2, data_bytes=64)]), "no multiple of Q4_0's 32"),
    ("name", GgufFile(tensors=[TensorEntry("t" * 65)]), "65 bytes"),
    ("two of a name", GgufFile(tensors=[TensorEntry("t"), TensorEntry("t")]), 'two tensors are named "t"'),
    ("not aligned", GgufFile(tensors=[TensorEntry("t", offset=8)]), "not aligned to 32"),
    ("overlap", GgufFile(tensors=[TensorEntry("t", (64,)), TensorEntry("u", offset=128)]), "lies over another"),
    ("beyond", GgufFile(tensors=[TensorEntry("t", (64,), data_bytes=4)]), "exceeds file size"),
]


@pytest.mark.parametrize(("file", "sentence"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN])
def test_each_limit_has_its_sentence(tmp_path: Path, file: GgufFile | bytes, sentence: str) -> None:
    """model-store 100."""
    tracemalloc.start()
    try:
        assert sentence in refusal(tmp_path, file)
        assert tracemalloc.get_traced_memory()[1] < 8 * MIB
    finally:
        tracemalloc.stop()


def test_strings_of_version_1_end_in_nul(tmp_path: Path) -> None:
    head = b"GGUF" + struct.pack("<III", 1, 0, 1)
    assert refusal(tmp_path, head + struct.pack("<Q", 0) + bytes(16)) == "invalid GGUF v1 string length: 0"
    assert refusal(tmp_path, head + struct.pack("<Q", 3) + b"abcdefghijkl") == "invalid GGUF v1 string terminator"


def test_many_keys_do_not_fill_the_memory(tmp_path: Path) -> None:
    file = GgufFile([(f"k{number}", Numbers(0, [1] * 1024)) for number in range(2000)])
    assert "exceed" in refusal(tmp_path, file)


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    """model-store 101, over every byte of a small file."""
    data = small_model().encoded()
    path = tmp_path / "cut.gguf"
    path.write_bytes(data)
    for length in reversed(range(len(data))):
        os.truncate(path, length)
        with pytest.raises(InvalidGguf):
            read_header(path)


@pytest.mark.parametrize("name", ["scripted", "bare", "embedding"])
def test_truncations_of_real_models_are_refused(tmp_path: Path, name: str) -> None:
    data = (MODELS / f"{name}.gguf").read_bytes()
    lengths = [*random.Random(name).sample(range(20_000), 60), len(data) - 1]
    for length in lengths:
        refusal(tmp_path, data[:length])


HEADS = {name: (MODELS / f"{name}.gguf").read_bytes() for name in ("scripted", "bare", "embedding")}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(sorted(HEADS)),
    flips=st.lists(st.tuples(st.integers(0, 14_000), st.integers(0, 255)), min_size=1, max_size=6),
)
def test_flipped_bytes_raise_nothing_else(tmp_path: Path, name: str, flips: list[tuple[int, int]]) -> None:
    data = bytearray(HEADS[name][:250_000])
    for place, value in flips:
        data[place] = value
    _survives(tmp_path, bytes(data))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(flips=st.lists(st.tuples(st.integers(0, 900), st.integers(0, 255)), min_size=1, max_size=4))
def test_flipped_bytes_of_a_small_file_raise_nothing_else(tmp_path: Path, flips: list[tuple[int, int]]) -> None:
    data = bytearray(small_model().encoded())
    for place, value in flips:
        data[place % len(data)] = value
    _survives(tmp_path, bytes(data))


def _survives(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "flipped.gguf"
    path.write_bytes(data)
    with contextlib.suppress(InvalidGguf):
        header = read_header(path)
        header.shape()
        check_loadable(header)
        assert header.kind in ("model", "adapter", "projector")


def test_a_large_vocabulary_is_quick_and_stays_in_the_file(tmp_path: Path) -> None:
    tokens, merges = [f"token{number}" for number in range(128_256)], [f"a b{number}" for number in range(280_000)]
    file = small_model(
        tokenizer__ggml__tokens=Strings(tokens),
        tokenizer__ggml__scores=Numbers(F32, [0.7] * len(tokens)),
        tokenizer__ggml__merges=Strings(merges),
        tokenizer__chat_template="{{ messages }}",
    )
    path = tmp_path / "large.gguf"
    path.write_bytes(file.encoded())
    seconds = []
    for _ in range(3):
        started = time.process_time()
        header = read_header(path)
        seconds.append(time.process_time() - started)
    assert min(seconds) < 0.3
    assert isinstance(header.metadata["tokenizer.ggml.tokens"], GgufArray)
    assert header.shape().vocab_size == len(tokens)
    assert header.chat_template == "{{ messages }}"
    assert header.array("tokenizer.ggml.tokens") == tokens
    assert header.array("tokenizer.ggml.scores")[:2] == [0.7, 0.7]
    assert header.array("tokenizer.ggml.merges")[-1] == merges[-1]


@pytest.mark.parametrize("seed", range(12))
def test_strings_of_all_lengths_are_passed_over(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    lengths = [0, 1, 7, 8, 9, 500, MIB // 3]
    items = ["x" * chance.choice(lengths[:-1]) for _ in range(chance.randrange(1025, 9000))]
    items += ["y" * chance.choice(lengths) for _ in range(20)] + ["z" * (MIB + chance.randrange(-9, 9)), "last"]
    chance.shuffle(items)
    header = read(tmp_path, small_model(tokenizer__ggml__tokens=Strings(items), own__last="end"))
    assert header.metadata["own.last"] == "end"
    assert header.array("tokenizer.ggml.tokens") == items


@pytest.mark.parametrize("version", [1, 3])
def test_a_string_too_long_in_a_long_array(tmp_path: Path, version: int) -> None:
    file = small_model(tokenizer__ggml__tokens=Strings(["x"] * 2000 + ["y" * (MAX_STRING_BYTES + 1)]))
    file.version = version
    assert "exceeds maximum" in refusal(tmp_path, file)


def test_only_plain_files_are_opened(tmp_path: Path) -> None:
    with pytest.raises(InvalidGguf, match="plain file"):
        read_header(Path("/dev/zero"))
    with pytest.raises((InvalidGguf, OSError)):
        read_header(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_header(tmp_path / "gone.gguf")


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"), (999, "999"), (1500, "2K"), (22713216, "22.71M"), (22_000_000, "22M"), (567_750_000, "567.75M"),
        (7_000_000_000, "7B"), (8030261248, "8.0B"), (3212749888, "3.2B"),
    ],
)  # fmt: skip
def test_parameter_size(count: int, text: str) -> None:
    """model-store 103."""
    assert parameter_size(count) == text


@pytest.mark.parametrize(
    ("number", "name"),
    [(0, "F32"), (15, "Q4_K_M"), (17, "Q5_K_M"), (32, "BF16"), (38, "MXFP4_MOE"), (4, "unknown"), (None, "unknown")],
)
def test_file_types(tmp_path: Path, number: int | None, name: str) -> None:
    """model-store 104."""
    assert read(tmp_path, small_model(general__file_type=number)).file_type == name


def test_numbers_per_layer(tmp_path: Path) -> None:
    header = read(tmp_path, small_model(llama__attention__head_count_kv=Numbers(4, [4, 0])))
    assert header.shape().head_count_kv == (4, 0)
    assert len(header.shape().layer_bytes) == 2
    assert header.shape().layer_bytes == (32 * 4 * 2, 32 * 8 * 4)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"llama__block_count": 0}, "block_count"),
        ({"llama__embedding_length": None}, "embedding_length"),
        ({"llama__attention__head_count": 0}, "head_count"),
        ({"llama__block_count": 10**6}, "block_count"),
        ({"general__architecture": None}, "architecture"),
    ],
)
def test_models_that_cannot_be_loaded(tmp_path: Path, changes: dict[str, Any], word: str) -> None:
    header = read(tmp_path, small_model(**changes))
    with pytest.raises(InvalidGguf, match=word):
        check_loadable(header)


def test_models_for_other_computers_and_times(tmp_path: Path) -> None:
    old, swapped = small_model(), small_model()
    old.version, swapped.order = 1, ">"
    for file, word in ((old, "version 1"), (swapped, "big-endian")):
        with pytest.raises(InvalidGguf, match=word):
            check_loadable(read(tmp_path, file))
