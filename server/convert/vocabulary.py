"""A tokenizer as GGUF files hold it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

# Kinds of tokens, numbered as in sentencepiece.
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
LOWEST_SCORE = -1e9


@dataclass(frozen=True, slots=True)
class Token:
    text: str
    type: int = NORMAL
    score: float = 0.0


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """`model`: gpt2 is byte-level BPE, llama is sentencepiece's BPE, bert is WordPiece. `tokens`: by id, without gaps.
    `pre`: llama.cpp's name of the way text is cut into words. `add_space_prefix`, `lowercase` and `strip_accents` are
    None where the model has no say in them."""

    model: Literal["gpt2", "llama", "bert"]
    tokens: tuple[Token, ...]
    pre: str = "default"
    merges: tuple[str, ...] = ()
    add_space_prefix: bool | None = None
    lowercase: bool | None = None
    strip_accents: bool | None = None


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """`ids`: bos, eos, eot, eom, unk, sep, pad, mask to token ids. `adds`: which of bos, eos, sep are put around a text
    by themselves. `chat_template`: Jinja, "" for none."""

    ids: Mapping[str, int] = field(default_factory=dict)
    adds: Mapping[str, bool] = field(default_factory=dict)
    chat_template: str = ""


def padded(tokens: Mapping[int, Token], size: int) -> tuple[Token, ...]:
    """`size` tokens by id. Gaps, and texts that an earlier token has already, become unused tokens: llama.cpp finds
    tokens by their text, and gives up on a file in which two are alike."""
    texts: set[str] = set()
    filled: list[Token] = []
    reserved = {token.text for token in tokens.values()}
    for number in range(size):
        token = tokens.get(number)
        if token is None or token.text in texts:
            token = Token(_free_text(number, reserved), UNUSED, LOWEST_SCORE)
            reserved.add(token.text)
        texts.add(token.text)
        filled.append(token)
    return tuple(filled)


def _free_text(number: int, taken: set[str]) -> str:
    text = f"[PAD{number}]"
    while text in taken:
        text = f"[{text}]"
    return text


def added(text: str, is_special: bool) -> Token:
    """A token that was added behind the trained ones. It is found in a text as a whole, so a sign that stands for a
    space becomes one."""
    if is_special or _looks_special(text):
        return Token(text, CONTROL, LOWEST_SCORE)
    return Token(text.replace("\u2581", " "), USER_DEFINED, LOWEST_SCORE)


def _looks_special(text: str) -> bool:
    """Some models do not mark tokens that no text of a user may stand for."""
    framed = (("<|", "|>"), ("<｜", "｜>"), ("<unused", ">"))
    return text in ("<pad>", "<mask>", "<2mass>", "[@BOS@]") or any(
        text.startswith(start) and text.endswith(end) for start, end in framed
    )


def listed_merges(merges: Sequence[object]) -> list[tuple[str, str]]:
    """Pairs, from either spelling: "a b" or ["a", "b"]. Raises ValueError."""
    pairs: list[tuple[str, str]] = []
    for merge in merges:
        parts = merge.split(" ") if isinstance(merge, str) else merge
        if not isinstance(parts, list) or len(parts) != 2 or not all(isinstance(part, str) for part in parts):
            raise ValueError(f"{str(merge)[:60]} is no pair")
        pairs.append((parts[0], parts[1]))
    return pairs
