"""A model's tokenizer, from whichever of its files says most about it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from server.convert.folder import Folder
from server.convert.pretokenizers import is_byte_level, pre_tokenizer_name
from server.convert.sentencepiece import SentencePieces, is_sentencepiece, read_pieces
from server.convert.vocabulary import (
    BYTE,
    CONTROL,
    NORMAL,
    UNKNOWN,
    Token,
    Vocabulary,
    added,
    listed_merges,
    padded,
)
from server.errors import InvalidRequest

SPACE = "\u2581"  # stands for a space in sentencepiece's tokens
_BYTE_TOKEN = re.compile(r"<0x[0-9A-F]{2}>")


def read_vocabulary(folder: Folder, size: int) -> Vocabulary:
    """`size`: how many rows the model's embeddings have. Raises InvalidRequest."""
    described = folder.json_if_there("tokenizer.json")
    if folder.has("tokenizer.model") and is_sentencepiece(data := folder.data("tokenizer.model")):
        return _of_pieces(read_pieces(data), folder, described, size)
    if not described:
        raise InvalidRequest(
            "unknown tokenizer format: the folder has no tokenizer.json and no tokenizer.model of sentencepiece; "
            "add the tokenizer's files and create the model again"
        )
    model = described.get("model")
    if not isinstance(model, dict) or not isinstance(model.get("vocab"), (dict, list)):
        raise InvalidRequest("tokenizer.json describes no tokens")
    kind = model.get("type") or ("BPE" if "merges" in model else "")
    if kind == "WordPiece":
        return _of_word_pieces(described, size)
    if kind == "BPE" and isinstance(model["vocab"], dict):
        return _of_bytes(described, size) if is_byte_level(described) else _of_merged_pieces(described, size)
    raise InvalidRequest(
        f"unknown tokenizer format: {str(kind)[:40] or 'no type'}; those that can be converted are BPE and WordPiece"
    )


# ---- sentencepiece's own file --------------------------------------------------------------------------------------


def _of_pieces(pieces: SentencePieces, folder: Folder, described: dict[str, Any], size: int) -> Vocabulary:
    if not pieces.is_bpe:
        raise InvalidRequest("unknown tokenizer format: a unigram tokenizer.model; only those of type BPE can be used")
    tokens = dict(enumerate(pieces.tokens))
    late = {**_late_tokens(folder), **_added_tokens(described)}
    for number, token in late.items():
        # What sentencepiece calls control or unknown is that; other tokens take the later word.
        if number not in tokens or tokens[number].type not in (CONTROL, UNKNOWN):
            tokens[number] = token
    return Vocabulary(
        "llama", padded(tokens, size), add_space_prefix=pieces.add_space_prefix and not _is_bare(described)
    )


def _is_bare(described: dict[str, Any]) -> bool:
    """A tokenizer.json beside it says how the model really uses its pieces: without a space in front."""
    return bool(described) and not _puts_space_in_front(described)


def _late_tokens(folder: Folder) -> dict[int, Token]:
    """Tokens that were added behind sentencepiece's, in the older files."""
    tokens: dict[int, Token] = {}
    for text, number in folder.json_if_there("added_tokens.json").items():
        if type(number) is int:
            tokens[number] = added(text, is_special=False)
    decoder = folder.json_if_there("tokenizer_config.json").get("added_tokens_decoder")
    for number, entry in decoder.items() if isinstance(decoder, dict) else ():
        if number.isdecimal() and isinstance(entry, dict) and isinstance(entry.get("content"), str):
            tokens[int(number)] = added(entry["content"], bool(entry.get("special")))
    return tokens


# ---- tokenizer.json ------------------------------------------------------------------------------------------------


def _added_tokens(described: Mapping[str, Any]) -> dict[int, Token]:
    entries = described.get("added_tokens")
    return {
        entry["id"]: added(entry["content"], bool(entry.get("special")))
        for entry in (entries if isinstance(entries, list) else [])
        if isinstance(entry, dict) and type(entry.get("id")) is int and isinstance(entry.get("content"), str)
    }


def _trained_tokens(model: Mapping[str, Any]) -> dict[int, str]:
    vocabulary = model["vocab"]
    if not isinstance(vocabulary, dict) or not all(type(number) is int for number in vocabulary.values()):
        raise InvalidRequest("tokenizer.json describes its tokens in an unknown way")
    return {number: text for text, number in vocabulary.items()}


def _merges(model: Mapping[str, Any]) -> list[tuple[str, str]]:
    merges = model.get("merges")
    try:
        return listed_merges(merges if isinstance(merges, list) else [])
    except ValueError as error:
        raise InvalidRequest(f"tokenizer.json describes its merges in an unknown way: {error}") from error


def _refuse_odd_pieces(model: Mapping[str, Any]) -> None:
    for key in ("continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(key):
            raise InvalidRequest(f'the tokenizer of this model uses "{key}", which llama.cpp does not know')


def _of_bytes(described: dict[str, Any], size: int) -> Vocabulary:
    model = described["model"]
    _refuse_odd_pieces(model)
    tokens = {number: Token(text) for number, text in _trained_tokens(model).items()} | _added_tokens(described)
    # A space within a part would end it; the bytes' own sign for a space is 256 places up.
    merges = tuple(" ".join(part.replace(" ", "\u0120") for part in pair) for pair in _merges(model))
    if not merges:
        raise InvalidRequest("unknown tokenizer format: tokenizer.json lists no merges")
    return Vocabulary("gpt2", padded(tokens, size), pre=pre_tokenizer_name(described), merges=merges)


def _of_merged_pieces(described: dict[str, Any], size: int) -> Vocabulary:
    """Sentencepiece's tokens in a tokenizer.json: what is merged first has the highest score."""
    model = described["model"]
    _refuse_odd_pieces(model)
    _check_pieces(described)
    ranks: dict[str, int] = {}
    for rank, (left, right) in enumerate(_merges(model)):
        ranks.setdefault(left + right, rank)
    lowest = -float(len(ranks) + 1)
    unknown = model.get("unk_token")
    tokens = {
        number: Token(text, _piece_type(text, unknown), -float(ranks[text]) if text in ranks else lowest)
        for number, text in _trained_tokens(model).items()
    }
    for number, token in _added_tokens(described).items():
        if tokens.get(number, token).type != UNKNOWN:
            tokens[number] = token
    return Vocabulary("llama", padded(tokens, size), add_space_prefix=_puts_space_in_front(described))


def _check_pieces(described: dict[str, Any]) -> None:
    model = described["model"]
    is_spaced = any(step.get("type") in ("Metaspace", "Replace") for step in _all_steps(described))
    if not model.get("byte_fallback") or not is_spaced:
        raise InvalidRequest(
            "unknown tokenizer format: BPE that works neither on bytes nor on sentencepiece's pieces; use a GGUF build "
            "of the model"
        )


def _piece_type(text: str, unknown: object) -> int:
    if text == unknown:
        return UNKNOWN
    return BYTE if _BYTE_TOKEN.fullmatch(text) else NORMAL


def _puts_space_in_front(described: Mapping[str, Any]) -> bool:
    return any(
        (step.get("type") == "Prepend" and step.get("prepend") == SPACE)
        or (step.get("type") == "Metaspace" and step.get("prepend_scheme", "always") in ("first", "always"))
        for step in _all_steps(described)
    )


def _all_steps(described: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Of the normalizer and of the pre-tokenizer."""
    steps: list[dict[str, Any]] = []
    waiting = [described.get("normalizer"), described.get("pre_tokenizer")]
    while waiting:
        step = waiting.pop(0)
        if isinstance(step, dict):
            steps.append(step)
            waiting += [item for key in ("normalizers", "pretokenizers") for item in step.get(key) or []]
    return steps


def _of_word_pieces(described: dict[str, Any], size: int) -> Vocabulary:
    """llama.cpp marks where words begin, WordPiece where they go on."""
    model = described["model"]
    prefix = model.get("continuing_subword_prefix") or "##"
    special = _added_tokens(described)
    tokens: dict[int, Token] = {}
    for number, text in _trained_tokens(model).items():
        if number in special:
            continue
        tokens[number] = Token(text.removeprefix(prefix) if text.startswith(prefix) else SPACE + text)
    tokens |= special
    steps = _all_steps(described)
    normalizer = next((step for step in steps if step.get("type") == "BertNormalizer"), {})
    lowercase = bool(normalizer.get("lowercase")) or any(step.get("type") == "Lowercase" for step in steps)
    strips = normalizer.get("strip_accents")
    strips = lowercase if strips is None and normalizer else bool(strips)
    strips = strips or any(step.get("type") == "StripAccents" for step in steps)
    return Vocabulary("bert", padded(tokens, size), lowercase=lowercase, strip_accents=strips)
