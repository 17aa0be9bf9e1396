"""Tokenizer files in the shapes that models on the hub have."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from server.convert.folder import Folder
from server.convert.pooling import CLS, LAST, MEAN, read_pooling
from server.convert.pretokenizers import pre_tokenizer_name
from server.convert.sentencepiece import read_pieces
from server.convert.special import read_special_tokens
from server.convert.tokenizers import read_vocabulary
from server.convert.vocabulary import BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED
from server.errors import InvalidRequest
from tests.convert.tiny import tokenizer

CL100K = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN = CL100K.replace("{1,3}", "")
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
TEKKEN = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}


def folder(tmp_path: Path, files: Mapping[str, Any]) -> Folder:
    """Objects are written as JSON."""
    paths = {}
    for number, (name, content) in enumerate(files.items()):
        path = tmp_path / str(number)
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        paths[name] = str(path)
    return Folder(paths)


def split(pattern: str, behavior: str = "Isolated", invert: bool = False) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": invert}


def sequence(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", "pretokenizers": list(steps)}


@pytest.mark.parametrize(
    ("steps", "ignores_merges", "name"),
    [
        (sequence(split(CL100K), {**BYTES, "use_regex": False}), True, "llama-bpe"),
        (sequence(split(CL100K), {**BYTES, "use_regex": False}), False, "dbrx"),
        (sequence(split(CL100K, "Removed", True), {**BYTES, "use_regex": False}), False, "dbrx"),
        (sequence(split(QWEN), {**BYTES, "use_regex": False}), False, "qwen2"),
        (sequence(split(TEKKEN), {**BYTES, "use_regex": False}), False, "tekken"),
        (BYTES, False, "gpt-2"),
        (sequence({"type": "Digits", "individual_digits": True}, {**BYTES, "use_regex": True}), False, "smollm"),
    ],
)
def test_how_words_are_cut(steps: dict[str, Any], ignores_merges: bool, name: str) -> None:
    assert pre_tokenizer_name({"pre_tokenizer": steps, "model": {"ignore_merges": ignores_merges}}) == name


@pytest.mark.parametrize(
    "steps",
    [
        sequence(split(r"\w+"), {**BYTES, "use_regex": False}),
        sequence(split(CL100K, "MergedWithNext"), {**BYTES, "use_regex": False}),
        sequence(split(CL100K), {**BYTES, "use_regex": True}),
        {**BYTES, "add_prefix_space": True},
        None,
    ],
)
def test_a_cut_that_llama_cpp_does_not_know(steps: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="cuts text by rules"):
        pre_tokenizer_name({"pre_tokenizer": steps, "model": {}})


def byte_tokenizer(merges: list[Any]) -> dict[str, Any]:
    return {
        "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "\u0120": 2, "ab": 3}, "merges": merges},
        "pre_tokenizer": BYTES,
        "added_tokens": [{"id": 5, "content": "<|end|>", "special": False}, {"id": 6, "content": "<tool>"}],
    }


@pytest.mark.parametrize("merges", [["a b"], [["a", "b"]]])
def test_byte_level_tokens(tmp_path: Path, merges: list[Any]) -> None:
    found = read_vocabulary(folder(tmp_path, {"tokenizer.json": byte_tokenizer(merges)}), 8)
    assert (found.model, found.merges) == ("gpt2", ("a b",))
    assert [token.text for token in found.tokens] == ["a", "b", "\u0120", "ab", "[PAD4]", "<|end|>", "<tool>", "[PAD7]"]
    assert [token.type for token in found.tokens][3:] == [NORMAL, UNUSED, CONTROL, USER_DEFINED, UNUSED]


def test_merges_with_spaces_and_broken_ones(tmp_path: Path) -> None:
    assert read_vocabulary(folder(tmp_path, {"tokenizer.json": byte_tokenizer([[" a", "b"]])}), 8).merges == (
        "\u0120a b",
    )
    for merges in ([], ["a b c"], [["a"]], [5]):
        with pytest.raises(InvalidRequest):
            read_vocabulary(folder(tmp_path, {"tokenizer.json": byte_tokenizer(merges)}), 8)


def test_pieces_are_scored_by_when_they_are_merged(tmp_path: Path) -> None:
    found = read_vocabulary(folder(tmp_path, {"tokenizer.json": tokenizer()}), 264)
    types = {token.text: token.type for token in found.tokens}
    scores = {token.text: token.score for token in found.tokens}
    assert (found.model, found.add_space_prefix) == ("llama", True)
    assert (types["<unk>"], types["<s>"], types["<0x0A>"], types["a"]) == (UNKNOWN, CONTROL, BYTE, NORMAL)
    assert scores["\u2581a"] > scores["ab"] > scores["a"]


def field(number: int, kind: int, value: bytes) -> bytes:
    return bytes([number << 3 | kind]) + value


def piece(text: str, score: float, kind: int) -> bytes:
    data = text.encode()
    body = field(1, 2, bytes([len(data)]) + data) + field(2, 5, struct.pack("<f", score)) + field(3, 0, bytes([kind]))
    return field(1, 2, bytes([len(body)]) + body)


def test_sentencepieces() -> None:
    pieces = piece("<unk>", 0, 2) + piece("<s>", 0, 3) + piece("\u2581\u2581", 0, 4) + piece("<0x41>", 0, 6)
    pieces += piece("ab", -1.5, 1) + field(2, 2, b"\x02\x18\x02") + field(3, 2, b"\x02\x18\x00")
    found = read_pieces(pieces)
    assert [token.type for token in found.tokens] == [UNKNOWN, CONTROL, USER_DEFINED, BYTE, NORMAL]
    assert (found.tokens[2].text, found.tokens[4].score) == ("  ", -1.5)
    assert (found.is_bpe, found.add_space_prefix) == (True, False)


def test_damaged_sentencepieces() -> None:
    whole = piece("<unk>", 0, 2) + piece("ab", -1.5, 1)
    for length in range(1, len(whole)):
        if length != len(piece("<unk>", 0, 2)):
            with pytest.raises(InvalidRequest, match="damaged"):
                read_pieces(whole[:length])


def test_a_unigram_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="unigram"):
        read_vocabulary(folder(tmp_path, {"tokenizer.model": piece("a", 0, 1) + field(2, 2, b"\x02\x18\x01")}), 4)


def test_tokens_that_were_added_later(tmp_path: Path) -> None:
    """In the files that older versions wrote."""
    pieces = piece("<unk>", 0, 2) + piece("<s>", 0, 3) + piece("x", -1, 1) + field(2, 2, b"\x02\x18\x02")
    settings = {"added_tokens_decoder": {"4": {"content": "<tool>"}, "5": {"content": "</x>", "special": True}}}
    files = {"tokenizer.model": pieces, "added_tokens.json": {"more": 3}, "tokenizer_config.json": settings}
    found = read_vocabulary(folder(tmp_path, files), 7)
    assert [token.text for token in found.tokens][3:] == ["more", "<tool>", "</x>", "[PAD6]"]
    assert [token.type for token in found.tokens][3:] == [USER_DEFINED, USER_DEFINED, CONTROL, UNUSED]


def test_word_pieces(tmp_path: Path) -> None:
    described = {
        "model": {"type": "WordPiece", "vocab": {"[CLS]": 0, "[SEP]": 1, "a": 2, "##b": 3, "b": 4}},
        "normalizer": {"type": "BertNormalizer", "lowercase": False, "strip_accents": None},
        "added_tokens": [
            {"id": 0, "content": "[CLS]", "special": True},
            {"id": 1, "content": "[SEP]", "special": True},
        ],
    }
    found = read_vocabulary(folder(tmp_path, {"tokenizer.json": described}), 5)
    assert [token.text for token in found.tokens] == ["[CLS]", "[SEP]", "\u2581a", "b", "\u2581b"]
    assert (found.lowercase, found.strip_accents) == (False, False)


def test_special_tokens_in_all_spellings(tmp_path: Path) -> None:
    files = {
        "tokenizer.json": byte_tokenizer(["a b"]),
        "tokenizer_config.json": {"eos_token": {"content": "<|end|>"}, "add_bos_token": True, "bos_token": None},
        "special_tokens_map.json": {"bos_token": "<tool>"},
        "generation_config.json": {"eos_token_id": [5, 6, 99], "pad_token_id": 7},
        "chat_template.jinja": b"{{ messages }}",
    }
    given = folder(tmp_path, files)
    special = read_special_tokens(given, {"unk_token_id": 4}, read_vocabulary(given, 8))
    assert special.ids == {"eos": 5, "bos": 6, "pad": 7, "unk": 4}
    assert special.adds == {"bos": True, "eos": False}
    assert special.chat_template == "{{ messages }}"


def test_the_template_named_default(tmp_path: Path) -> None:
    templates = [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]
    files = {"tokenizer.json": byte_tokenizer(["a b"]), "tokenizer_config.json": {"chat_template": templates}}
    given = folder(tmp_path, files)
    assert read_special_tokens(given, {}, read_vocabulary(given, 8)).chat_template == "D"


@pytest.mark.parametrize(
    ("settings", "mode"),
    [
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, MEAN),
        ({"pooling_mode_cls_token": True}, CLS),
        ({"pooling_mode_lasttoken": True}, LAST),
        ({"pooling_mode": "cls"}, CLS),
    ],
)
def test_pooling(tmp_path: Path, settings: dict[str, Any], mode: int) -> None:
    modules = [{"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"}]
    assert read_pooling(folder(tmp_path, {"modules.json": modules, "1_Pooling/config.json": settings})) == mode


def test_pooling_that_cannot_be(tmp_path: Path) -> None:
    modules = [{"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"}]
    maximum = {"modules.json": modules, "1_Pooling/config.json": {"pooling_mode_max_tokens": True}}
    with pytest.raises(InvalidRequest, match="pooling"):
        read_pooling(folder(tmp_path, maximum))
    with pytest.raises(InvalidRequest, match="dense layer"):
        read_pooling(folder(tmp_path, {"modules.json": [{"type": "sentence_transformers.models.Dense", "path": "2"}]}))
    assert read_pooling(folder(tmp_path, {})) is None
